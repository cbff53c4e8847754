"""Whichever row of the read side is changed or goes, `finance projection verify --all` names the table, or nobody is
answered at all.

FOUND has every column of every table of the schemas; a new one must be entered, here or with a reason in HARMLESS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from finance.settings.deployment import Settings
from finance.wiring.projection_compared import ComparedPart, compare_projection
from finance.workshop.sample_data import synthetic
from ledger_core.errors import Refused
from ledger_core.findings import Finding
from producers.kafka.publisher import KafkaPublisher
from schemas.wire.settlements import encode_settlement
from tests.support.kafka import tls
from tests.support.route import ROOT, Ledger
from tests.support.waits import PATIENCE_SECONDS, until

pytestmark = pytest.mark.services

ENTRIES: Final = 800
MORE: Final = "{} + 1000"
OTHER: Final = "'other'"
HASH: Final = "sha256('other')"
UUID: Final = "'11111111-1111-4111-8111-111111111111'"
DAY: Final = "{} + 1"
LATER: Final = "{} + interval '1 second'"

# (table, column) -> what one row is changed to, and the table that is named.
FOUND: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("shards", "seq"): (MORE, "shards"),
    ("shards", "head"): (HASH, "shards"),
    ("shards", "known_us"): (MORE, "shards"),
    ("shards", "next_offset"): ("0", "shards"),
    ("shards", "series"): (MORE, "shards"),
    ("series", "shard"): (MORE, "shard"),
    ("series", "series_no"): (MORE, "series"),
    ("series", "first_chunk"): (MORE, "series"),
    ("series", "last_chunk"): (MORE, "series"),
    ("series", "account"): (OTHER, "legs"),
    ("series", "currency"): ("'XXX'", "legs"),
    ("chunks", "shard"): (MORE, "shard"),
    ("chunks", "chunk"): (MORE, "chunks"),
    ("chunks", "known_month"): ("{} + 1", "chunks"),
    ("chunks", "slot"): (MORE, "chunks"),
    **{("entries", name): (to, name) for name, to in {
        "source_offset": MORE, "effective_day": DAY,
        "event_id": UUID, "reverses": UUID, "entry_hash": HASH, "event_type": OTHER, "settlement_id": OTHER,
        "order_id": OTHER, "provider": OTHER, "reference": OTHER,
    }.items()},
    ("entries", "seq"): (MORE, "entry"),
    ("entries", "shard"): ("{} + 100", "shard"),
    ("entries", "occurred_at"): (LATER, "occurred_us"),
    ("entries", "recorded_at"): (LATER, "recorded_us"),
    ("entries", "known_at"): (LATER, "entries"),
    ("entries", "known_month"): ("known_month", "chunks"),
    ("entries", "event_key"): (MORE, "entries"),
    ("entries", "settlement_key"): (MORE, "entries"),
    ("entries", "order_key"): (MORE, "entries"),
    ("entries", "reference_key"): ("7", "entries"),
    ("entries", "series_nos"): ("ARRAY[1, 1]", "legs"),
    ("entries", "amounts_minor"): ("ARRAY[1, -1]", "legs"),
    ("lines", "seq"): (MORE, "lines"),
    ("lines", "position"): (MORE, "lines"),
    ("lines", "amount_minor"): (MORE, "lines"),
    ("lines", "slot"): (MORE, "lines"),
    ("lines", "series_no"): (MORE, "lines"),
    ("lines", "effective_day"): (DAY, "lines"),
    ("lines", "line_no"): (MORE, "lines"),
    ("lines", "known_month"): ("known_month", "lines"),
    ("ends", "shard"): (MORE, "shard"),
    ("ends", "series_no"): (MORE, "ends"),
    ("ends", "seq"): (MORE, "ends"),
    ("ends", "line_no"): (MORE, "ends"),
    ("ends", "block_no"): (MORE, "ends"),
    ("blocks", "shard"): (MORE, "shard"),
    ("blocks", "series_no"): (MORE, "blocks"),
    ("blocks", "level"): ("{} + 1", "blocks"),
    ("blocks", "block_no"): (MORE, "blocks"),
    ("blocks", "day"): (DAY, "blocks"),
    ("blocks", "debits"): (MORE, "blocks"),
    ("blocks", "credits"): (MORE, "blocks"),
    ("totals", "shard"): (MORE, "shard"),
    ("totals", "level"): ("{} + 1", "totals"),
    ("totals", "block_no"): (MORE, "totals"),
    ("totals", "type"): (OTHER, "totals"),
    ("totals", "currency"): ("'XXX'", "totals"),
    ("totals", "day"): (DAY, "totals"),
    ("totals", "debits"): (MORE, "totals"),
    ("totals", "credits"): (MORE, "totals"),
    ("moments", "shard"): (MORE, "shard"),
    ("moments", "known_us"): (MORE, "moments"),
    ("moments", "seq"): (MORE, "moments"),
    ("closings", "shard"): (MORE, "shard"),
    ("closings", "range_no"): (MORE, "closings"),
    ("closings", "first_seq"): (MORE, "closings"),
    ("closings", "last_seq"): (MORE, "closings"),
    ("closings", "proof_hash"): (HASH, "closings"),
    ("proofs", "proof_hash"): (HASH, "proofs"),
    ("proofs", "proof_id"): (OTHER, "proofs"),
    ("objects", "shard"): (MORE, "shard"),
    ("objects", "range_no"): (MORE, "objects"),
    ("objects", "object_key"): (OTHER, "objects"),
    ("objects", "version_id"): (OTHER, "objects"),
    ("outcomes", "shard"): (MORE, "shard"),
    ("outcomes", "decided"): (MORE, "outcomes"),
    ("outcomes", "complete_from"): (MORE, "outcomes"),
    ("verdicts", "shard"): (MORE, "shard"),
    ("verdicts", "source_offset"): (MORE, "verdicts"),
    ("verdicts", "event_id"): (UUID, "verdicts"),
    ("verdicts", "settlement_id"): (OTHER, "verdicts"),
    ("verdicts", "verdict"): (OTHER, "verdicts"),
    ("verdicts", "reason"): (OTHER, "verdicts"),
    ("kept_times", "shard"): (MORE, "shard"),
    ("kept_times", "seq"): ("1", "entries"),
    ("kept_times", "why"): ("'ahead'", "shards"),
    ("kept_times", "known_us"): ("1", "shards"),
    ("belongs", "env"): (OTHER, "belongs"),
    ("belongs", "domain"): (OTHER, "belongs"),
    ("belongs", "prefix"): (OTHER, "belongs"),
}  # fmt: skip
# What makes a question Refused, so no answer can be wrong.
NOT_ASKED: Final = {
    ("shards", "shard"): MORE,
    ("projections", "place"): "'reading_9'",
    ("projections", "version"): MORE,
    ("projections", "asked"): "false",
}
# What no answer depends on.
HARMLESS: Final = {
    ("announced", "partition"): "how far a topic was read: read again, it changes nothing",
    ("announced", "next_offset"): "the same; events that were passed over are links that are missing",
    ("outcomes", "next_offset"): "the same of outcomes; the gap moves complete_from, and verdicts are compared",
    ("projections", "number"): "who writes holds it: a projector takes up the projection anew",
    ("projections", "building"): "of a rebuild, which is run again",
    ("projections", "made_at"): "for people",
    ("belongs", "singleton"): "has one value, by its constraint",
}


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(environ, tmp_path, {"range_idle_seconds": 1, "audit_export_idle_seconds": 1})
    yield found
    found.end()


# Rows that go: of each table the first in this order. What was heard last may still come, so it is never missed.
GONE: Final[Mapping[str, tuple[str, str]]] = {
    "series": ("series_no", "legs"),
    "chunks": ("chunk", "chunks"),
    "entries": ("shard, seq", "entry"),
    "lines": ("slot, seq", "lines"),
    "ends": ("shard, series_no", "ends"),
    "blocks": ("shard, series_no, level, block_no, day", "blocks"),
    "totals": ("shard, level, block_no, day", "totals"),
    "moments": ("shard, seq", "moments"),
    "closings": ("shard, range_no", "closings"),
    "proofs": ("(SELECT (shard, range_no) FROM reading_1.closings c WHERE c.proof_hash = proofs.proof_hash)", "proofs"),
    "objects": ("shard, range_no", "objects"),
    "outcomes": ("shard", "verdicts"),
    "verdicts": ("shard, source_offset", "verdicts"),
    "kept_times": ("shard, seq", "shards"),
    "belongs": ("env", "belongs"),
}


def fill(ledger: Ledger) -> None:
    """Entries with full blocks, two ranges of a shard with all that belongs to them, a record that came again, and the
    projector ended."""
    processes = ledger.start_all()
    ledger.publish(ENTRIES)
    ledger.wait_finished()
    (again,) = synthetic(1, first=0)
    publisher = KafkaPublisher(ledger.environ["KAFKA_BROKERS"], tls(ledger.environ["KAFKA_BROKERS"]))
    topic = ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    publisher.publish(topic, 0, key=again.settlement_id.encode(), value=encode_settlement(again))
    publisher.flush(PATIENCE_SECONDS)
    publisher.close()
    ledger.published += 1
    ledger.wait_finished()
    for heard in (
        "SELECT count(*) = 2 FROM reading_1.shards JOIN shards USING (shard, seq)",
        "SELECT count(*) > 0 FROM reading_1.verdicts",
        "SELECT count(*) > 0 FROM reading_1.objects WHERE (shard, range_no) = (0, 2)",
        "SELECT count(*) > 0 FROM reading_1.blocks",
        "SELECT count(*) > 1 FROM reading.kept_times",
    ):
        until(heard, lambda heard=heard: ledger.ask(heard) == (True,))  # type: ignore[misc]
    for process in processes.values():
        process.stop()


class Compared:
    """A projection that is compared with its ledger, changed in one place, and put back."""

    def __init__(self, ledger: Ledger, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.settings = Settings.from_env(ledger.environ, ROOT)
        self.connection = connection
        rows = connection.execute(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns "
            "WHERE table_schema IN ('reading', 'reading_1') AND table_name !~ '_[0-9]{4}_[0-9]{2}$'"
        ).fetchall()
        self.columns = {(table, column) for _, table, column in rows}
        self.places = {table: f"{schema}.{table}" for schema, table, _ in rows}
        connection.execute("CREATE SCHEMA kept")

    def findings(self) -> list[Finding]:
        """What is found. Raises Refused where nothing is compared, as nobody is answered."""
        everything = ComparedPart(0, 10, everything=True)
        report = compare_projection(self.settings, everything, wait_seconds=0, begin=lambda _total: lambda _count: None)
        return list(report.findings)

    @contextmanager
    def kept(self, table: str) -> Iterator[str]:
        """Where a table stands; afterwards it has the rows of before."""
        place, names = self.places[table], ", ".join(column for of, column in sorted(self.columns) if of == table)
        self.connection.execute(f"CREATE TABLE kept.{table} AS TABLE {place}".encode())
        yield place
        self.connection.execute(f"TRUNCATE {place}".encode())
        back = f"INSERT INTO {place} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM kept.{table}"
        self.connection.execute(back.encode())
        self.connection.execute(f"DROP TABLE kept.{table}".encode())

    def change(self, place: str, column: str, to: str) -> None:
        """Of one row, the first by all of its columns."""
        if to == column:  # a partition takes no row of another month: one is made
            made = f"CREATE TABLE IF NOT EXISTS {place}_0001_01 PARTITION OF {place} FOR VALUES IN (12)"
            self.connection.execute(made.encode())
            to = "12"
        name = place.rpartition(".")[2]
        done = self.connection.execute(
            f"UPDATE {place} AS t SET {column} = {to.format(column)} FROM ("
            f"SELECT tableoid AS at, ctid AS row FROM {place} ORDER BY {name}::text LIMIT 1) AS one "
            "WHERE t.tableoid = one.at AND t.ctid = one.row".encode()
        )
        assert done.rowcount == 1, (place, column)

    def remove(self, place: str, order: str) -> None:
        done = self.connection.execute(
            f"DELETE FROM {place} AS t USING (SELECT tableoid AS at, ctid AS row FROM {place} ORDER BY {order} LIMIT 1"
            ") AS one WHERE t.tableoid = one.at AND t.ctid = one.row".encode()
        )
        assert done.rowcount == 1, place


def test_every_row_that_answers_read_is_compared(ledger: Ledger) -> None:
    fill(ledger)
    with psycopg.connect(ledger.environ["DATABASE_URL"], autocommit=True) as connection:
        compared = Compared(ledger, connection)
        assert compared.columns == {*FOUND, *NOT_ASKED, *HARMLESS}
        assert {*GONE, "shards", "projections", "announced"} == set(compared.places)
        assert compared.findings() == []
        missed: dict[str, list[str]] = {}
        for (table, column), (to, named) in FOUND.items():
            with compared.kept(table) as place:
                compared.change(place, column, to)
                found = compared.findings()
                if not any(named in _names(it) for it in found):
                    missed[f"{table}.{column}"] = list(map(str, found))
        for table, (order, named) in GONE.items():
            with compared.kept(table) as place:
                compared.remove(place, order)
                found = compared.findings()
                if not any(named in _names(it) for it in found):
                    missed[f"a row of {table}"] = list(map(str, found))
        assert not missed, missed
        for (table, column), to in NOT_ASKED.items():
            with compared.kept(table) as place:
                compared.change(place, column, to)
                with pytest.raises(Refused):
                    compared.findings()
        for table, order in {"shards": "shard", "projections": "place"}.items():
            with compared.kept(table) as place:
                compared.remove(place, order)
                with pytest.raises(Refused):
                    compared.findings()
        assert compared.findings() == []
    done = ledger.command("projection", "verify", "--all", "--wait", "0")
    assert done.returncode == 0, done.stdout


def _names(finding: Finding) -> tuple[str | None, ...]:
    return finding.place, finding.field, finding.code.removeprefix("projection.")
