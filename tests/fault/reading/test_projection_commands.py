"""`finance projection` on the whole route: built anew beside the running one, compared with the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.read_side import await_posted
from tests.support.route import Ledger
from tests.support.waits import until

pytestmark = pytest.mark.services

ASKED = "SELECT place, number FROM reading.projections WHERE asked"


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(environ, tmp_path, {"range_idle_seconds": 1, "audit_export_idle_seconds": 1})
    yield found
    found.end()


def command(ledger: Ledger, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = ledger.command("projection", *arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def sound(ledger: Ledger) -> None:
    told = command(ledger, "verify", "--all")
    assert told["counts"]["entries"] == ledger.published
    assert told["findings"] == []


def behind(ledger: Ledger) -> int:
    return sum(int(shard["behind"]) for shard in command(ledger, "status")["shards"])


def test_a_projection_is_built_anew_beside_the_running_one_and_is_sound(ledger: Ledger) -> None:
    ledger.start("poster")
    projector = ledger.start("projector")
    ledger.publish(900)
    until("it was made", lambda: ledger.ask("SELECT to_regclass('reading.projections') IS NOT NULL") == (True,))
    await_posted(ledger, 900)
    sound(ledger)
    before = ledger.ask(ASKED)
    told = command(ledger, "rebuild")
    assert (told["place"], told["number"]) == ledger.ask(ASKED) != before
    assert told["records"] >= 900
    assert told["cleared"]
    assert ledger.ask(f"SELECT count(*) FROM pg_tables WHERE schemaname = '{before[0]}'") == (0,)
    ledger.publish(300)
    await_posted(ledger, 1200)
    sound(ledger)  # waits for the projector, which found out by itself
    assert behind(ledger) == 0
    assert projector.running
    assert projector.said("service.unavailable", what="postgres")


TAMPERED = {
    "UPDATE {}.entries SET order_id = 'another' WHERE shard = 0 AND seq = 7": ("projection.entry", "7", "order_id"),
    "DELETE FROM {}.entries WHERE shard = 0 AND seq = 9": ("projection.count", None, None),
    "UPDATE {}.entries SET amounts_minor[1] = 1, amounts_minor[2] = -1 WHERE shard = 0 AND seq = 3": (
        "projection.entry", "3", "legs",
    ),
    "UPDATE {}.lines SET amount_minor = amount_minor + 1 WHERE seq = 5 AND line_no = 1": (
        "projection.lines", "5", None,
    ),
    "UPDATE {}.totals SET debits = debits + 1": ("projection.trial", None, None),
    "UPDATE {}.shards SET seq = seq WHERE false": None,
    "UPDATE {}.entries SET entry_hash = sha256('x') WHERE shard = 0 AND seq = (SELECT seq FROM {}.shards "
    "WHERE shard = 0)": ("projection.head", None, None),
}  # fmt: skip


def test_what_is_not_as_in_the_ledger_is_named(ledger: Ledger) -> None:
    ledger.start("poster")
    projector = ledger.start("projector")
    ledger.publish(600)
    await_posted(ledger, 600)
    until("it was made", lambda: ledger.ask("SELECT to_regclass('reading.projections') IS NOT NULL") == (True,))
    sound(ledger)
    projector.stop()
    (place, _) = ledger.ask(ASKED)
    for statement, wanted in TAMPERED.items():
        with psycopg.connect(ledger.environ["DATABASE_URL"], autocommit=True) as connection:
            connection.execute("BEGIN")
            connection.execute("CREATE SCHEMA kept")
            for table in ("entries", "lines", "totals", "shards"):
                connection.execute(f"CREATE TABLE kept.{table} AS TABLE {place}.{table}".encode())
            connection.execute(statement.format(place, place).encode())
            connection.execute("COMMIT")
            told = command(ledger, "verify", "--all", code=0 if wanted is None else 1)
            found = [(it["code"], it["seq"], it["field"]) for it in told["findings"]]
            if wanted is not None:
                code, seq, field = wanted
                assert any(
                    it[0] == code and (seq is None or it[1] == seq) and (field is None or it[2] == field)
                    for it in found
                ), (statement, found)
            connection.execute("BEGIN")
            for table in ("entries", "lines", "totals", "shards"):
                connection.execute(f"TRUNCATE {place}.{table}".encode())
                connection.execute(f"INSERT INTO {place}.{table} SELECT * FROM kept.{table}".encode())
            connection.execute("DROP SCHEMA kept CASCADE")
            connection.execute("COMMIT")
    sound(ledger)


def test_a_projection_that_is_behind_is_not_compared_and_says_the_remedy(ledger: Ledger) -> None:
    ledger.start("poster")
    projector = ledger.start("projector")
    ledger.publish(50)
    await_posted(ledger, 50)
    until("it was made", lambda: ledger.ask("SELECT to_regclass('reading.projections') IS NOT NULL") == (True,))
    sound(ledger)
    projector.stop()
    ledger.publish(50)
    await_posted(ledger, 100)
    done = ledger.command("projection", "verify", "--wait", "0")
    assert done.returncode == 3
    assert "50 entries behind" in done.stderr
    assert "finance run projector" in done.stderr
    assert behind(ledger) == 50
