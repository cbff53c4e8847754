"""A database put back to any point between two commit points, whatever had left by then: one proof for each id, and on.

The live ledger takes one step at a time, each by the one process that takes it; a copy of the database is made in front
of the second batch. Then the database is lost, the copy goes on with other limits, so that a range closed anew would be
another one, and the oracle judges.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ledger_core.postgres.recovery.epochs import begin_epoch
from ledger_core.postgres.session import session
from tests.support import databases
from tests.support.backups import finance
from tests.support.route import Ledger, with_limit
from tests.support.waits import until

ROOT = Path(__file__).parents[3]
LIMITS = {"range_entries_max": 8, "range_idle_seconds": 1}
OTHER_LIMITS = {"range_entries_max": 13, "range_idle_seconds": 1}
BATCH = 40


def number(url: str, query: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0] or 0)


def posted(url: str, events: int) -> bool:
    return number(url, "SELECT sum(next_offset) FROM shards WHERE relayed_offset = next_offset") == events


def closed(url: str, events: int) -> bool:
    return number(url, "SELECT sum(next_offset - first_offset) FROM ranges") == events


def announced(url: str, _events: int) -> bool:
    behind = "SELECT (SELECT max(seq) FROM audit_events) - (SELECT published_seq FROM notary_cursor)"
    return number(url, "SELECT count(*) FROM audit_outbox") == 0 and number(url, behind) == 0


def signed(url: str, events: int) -> bool:
    query = "SELECT sum(next_offset - first_offset) FROM ranges JOIN proofs USING (shard, range_no)"
    return number(url, query) == events


def listed(url: str, _events: int) -> bool:
    return number(url, "SELECT (SELECT count(*) FROM ranges) - (SELECT count(*) FROM manifests)") == 0


# The steps of a batch: the one process that takes it, and how the database shows that it is taken.
STEPS: dict[str, tuple[str, Callable[[str, int], bool]]] = {
    "posted": ("poster", posted),
    "closed": ("prover", closed),
    "announced": ("notary", announced),
    "signed": ("prover", signed),
    "listed": ("archiver", listed),
}


def take(ledger: Ledger, url: str, events: int, step: str) -> None:
    """One step: its process runs until the database shows that so many events have taken it."""
    name, taken = STEPS[step]
    process = ledger.start(name)
    try:
        until(f"{events} events are {step}", lambda: taken(url, events))
    finally:
        process.stop()


def proofs(url: str) -> set[tuple[str, bytes]]:
    with psycopg.connect(url) as connection:
        return set(connection.execute("SELECT proof_id, proof FROM proofs").fetchall())


def on_copy(environ: dict[str, str], folder: Path) -> dict[str, str]:
    """The settings of the ledger on a copy of its database as it is now, and with other limits."""
    live = environ["DATABASE_URL"]
    copy = databases.create_database(live, urlsplit(live).path.lstrip("/"))
    name = urlsplit(copy).path.lstrip("/")
    addresses = {key: value for key, value in environ.items() if key.startswith("DATABASE_URL")}
    text = (ROOT / "topology.yaml").read_text()
    for limit, value in OTHER_LIMITS.items():
        text = with_limit(text, limit, value)
    topology = folder / f"topology-{name}.yaml"
    topology.write_text(text)
    roles = {key: databases.database_at(value, name) for key, value in addresses.items()}
    return {**environ, **roles, "FINANCE_TOPOLOGY": str(topology)}


def put_back(environ: dict[str, str]) -> None:
    """What `backup restore` leaves behind: another epoch."""
    with session(environ["DATABASE_URL"], application_name="test") as connection:
        begin_epoch(
            connection, kind="restore", epoch_id=str(uuid.uuid4()), actor_id="operator:t", reason="lost", trace_id="t"
        )


def go_on(environ: dict[str, str], events: int) -> None:
    """The chain comes back, the topic is posted again, new events follow, and the oracle finds nothing."""
    put_back(environ)
    finance(environ, "audit", "restore", "--from", "topic")
    finance(environ, "publish", "--synthetic", str(events), "--seed", str(uuid.uuid4().int % 10**9))
    finance(environ, "run", "all", "--until-idle")
    for what in ("ledger", "archive", "audit"):
        assert finance(environ, "verify", what)["ok"]


# In front of the first of them nothing of the batch has left, and behind the last everything: the test below has both.
@pytest.mark.parametrize("lost_at", ["closed", "announced", "signed"])
def test_a_database_put_back_to_before_a_batch_signs_no_second_proof(
    environ: dict[str, str], tmp_path: Path, lost_at: str
) -> None:
    url = environ["DATABASE_URL"]
    ledger = Ledger(environ, tmp_path, LIMITS)
    finance(environ, "publish", "--synthetic", str(BATCH), "--seed", "7")
    finance(environ, "run", "all", "--until-idle")
    back = on_copy(environ, tmp_path)
    ledger.publish(BATCH)
    for step in list(STEPS)[: list(STEPS).index(lost_at) + 1]:
        take(ledger, url, 2 * BATCH, step)
    left = proofs(url)

    go_on(back, BATCH)

    here = proofs(back["DATABASE_URL"])
    assert left <= here, "a proof that had been signed is not the one that stands here"
    assert len({proof_id for proof_id, _ in here | left}) == len(here | left)
    databases.drop_database(url, back["DATABASE_URL"])


def test_while_the_notary_is_away_nothing_of_a_range_leaves(environ: dict[str, str], tmp_path: Path) -> None:
    url = environ["DATABASE_URL"]
    ledger = Ledger(environ, tmp_path, LIMITS)
    ledger.publish(BATCH)
    running = [ledger.start(name) for name in ("poster", "prover", "archiver")]
    until("the ranges are closed", lambda: closed(url, BATCH))
    ledger.publish(BATCH)  # when these are closed, the prover has had its turn to sign the ones before
    until("later ranges are closed", lambda: closed(url, 2 * BATCH))
    assert number(url, "SELECT count(*) FROM proofs") == 0
    notary = ledger.start("notary")
    until("announced, signed, stored and listed", lambda: signed(url, 2 * BATCH) and listed(url, 2 * BATCH))
    for process in (*running, notary):
        process.stop()


def test_each_earlier_point_leads_on_though_later_ones_have_left(environ: dict[str, str], tmp_path: Path) -> None:
    """Copies between the steps of one batch; each goes on in turn, the newest first, and all that those before it did
    has left by then."""
    url = environ["DATABASE_URL"]
    ledger = Ledger(environ, tmp_path, LIMITS)
    ledger.publish(BATCH)
    copies: list[dict[str, str]] = []
    for step in STEPS:
        take(ledger, url, BATCH, step)
        if step in ("posted", "announced", "listed"):
            copies.append(on_copy(environ, tmp_path))
    everything = proofs(url)
    for copy in reversed(copies):
        go_on(copy, 10)
        here = proofs(copy["DATABASE_URL"])
        assert everything <= here
        everything = here
        databases.drop_database(url, copy["DATABASE_URL"])
