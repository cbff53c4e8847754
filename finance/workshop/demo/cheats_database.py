"""Cheating in the database: as the service's own role, as the owner, and as the superuser who switches the guards off.

Guarantees: every row that an attempt changes is put back, also when the attempt was not caught.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import errors

from finance.workshop.demo.cheat import by_verification, dearer
from finance.workshop.demo.cheats_rewind import cut_newest_entry
from finance.workshop.demo.ledger import DemoLedger, FindingReport
from finance.workshop.demo.model import Cheat
from ledger_core.books.entries import decode_entry

Connection = psycopg.Connection[tuple[Any, ...]]

ENTRY: Final = """
SELECT shard, seq, body FROM entries
 WHERE shard = (SELECT shard FROM shards WHERE seq > 0 ORDER BY shard LIMIT 1)
 ORDER BY abs(seq - (SELECT seq / 2 FROM shards s WHERE s.shard = entries.shard)) LIMIT 1"""
REFUSALS: Final = (
    ("poster", "UPDATE entries SET body = body WHERE seq = 1", "the poster's role updates an entry"),
    ("poster", "DELETE FROM lines WHERE seq = 1", "the poster's role deletes lines"),
    ("owner", "UPDATE entries SET body = body WHERE seq = 1", "the owner of the tables updates an entry"),
)


@dataclass(frozen=True, slots=True)
class Victim:
    """An entry in the middle of a chain."""

    shard: int
    seq: int
    body: bytes


def cheat_database(ledger: DemoLedger) -> Iterator[Cheat]:
    """Every attempt in the database, one after the other. Raises LookupError when the ledger is empty."""
    for role, statement, tried in REFUSALS:
        yield _refused(ledger, role, statement, tried)
    with _guards_off(ledger) as connection:
        row = connection.execute(ENTRY).fetchone()
        if row is None:
            raise LookupError("the ledger has no entry to tamper with")
        victim = Victim(row[0], row[1], bytes(row[2]))
        yield _edit_body(ledger, connection, victim)
        yield _edit_line(ledger, connection, victim)
        yield cut_newest_entry(ledger, connection)
        yield _edit_audit_event(ledger, connection)
        yield _cut_audit_chain(ledger, connection)


def _refused(ledger: DemoLedger, role: str, statement: str, tried: str) -> Cheat:
    """The database itself says no: by privilege, or by trigger."""
    url = ledger.owner_url if role == "owner" else ledger.settings.database_url(role)
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(statement)
        except errors.InsufficientPrivilege as error:
            said = " ".join((error.diag.message_primary or str(error)).split())
            by = "trigger" if role == "owner" else "grants"
            return Cheat(tried, f"Postgres, by {by}", None, f"SQLSTATE {error.sqlstate}: {said}", caught=True)
    return Cheat(tried, "nothing", None, "the statement succeeded", caught=False)


@contextmanager
def _guards_off(ledger: DemoLedger) -> Iterator[Connection]:
    """A superuser's connection on which no trigger fires."""
    with psycopg.connect(ledger.owner_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def _edit_body(ledger: DemoLedger, connection: Connection, victim: Victim) -> Cheat:
    """A clever edit: the entry stays canonical and balanced."""
    statement = "UPDATE entries SET body = %s WHERE shard = %s AND seq = %s"
    connection.execute(statement, (dearer(decode_entry(victim.body)), victim.shard, victim.seq))
    try:
        return by_verification(
            f"a superuser switches the triggers off and adds $100 to entry {victim.seq} of shard {victim.shard}",
            ledger,
            ("ledger",),
            lambda found: _names(found, victim) and found.field is not None,
        )
    finally:
        connection.execute(statement, (victim.body, victim.shard, victim.seq))


def _edit_line(ledger: DemoLedger, connection: Connection, victim: Victim) -> Cheat:
    """The entry is left alone, but the row that sums are made of says one cent more."""
    statement = "UPDATE lines SET amount_minor = amount_minor + %s WHERE shard = %s AND seq = %s AND line_no = 1"
    connection.execute(statement, (1, victim.shard, victim.seq))
    try:
        return by_verification(
            f"a superuser adds one cent to line 1 of entry {victim.seq}, shard {victim.shard}",
            ledger,
            ("ledger",),
            lambda found: _names(found, victim) and found.field is not None,
        )
    finally:
        connection.execute(statement, (-1, victim.shard, victim.seq))


def _edit_audit_event(ledger: DemoLedger, connection: Connection) -> Cheat:
    """Somebody else is to have done it: the actor in column and payload, in the middle of the audit chain."""
    row = connection.execute(
        "SELECT seq, actor_id, payload::text FROM audit_events "
        "ORDER BY abs(seq - (SELECT max(seq) / 2 FROM audit_events)) LIMIT 1"
    ).fetchone()
    if row is None:
        raise LookupError("there is no audit event to tamper with")
    seq, actor_id, payload = row
    connection.execute(
        "UPDATE audit_events SET actor_id = %(actor)s, "
        "payload = jsonb_set(payload, '{actor_id}', to_jsonb(%(actor)s::text)) WHERE seq = %(seq)s",
        {"actor": "operator:mallory", "seq": seq},
    )
    try:
        return by_verification(
            f"a superuser changes who stands on audit event {seq}",
            ledger,
            ("audit",),
            lambda found: found.seq == str(seq) or str(seq) in found.message,
        )
    finally:
        connection.execute(
            "UPDATE audit_events SET actor_id = %s, payload = %s::jsonb WHERE seq = %s", (actor_id, payload, seq)
        )


def _cut_audit_chain(ledger: DemoLedger, connection: Connection) -> Cheat:
    """The newest event is gone: what is left is a flawless chain, but Kafka has heard of more."""
    connection.execute("CREATE TEMP TABLE newest AS SELECT * FROM audit_events ORDER BY seq DESC LIMIT 1")
    connection.execute("DELETE FROM audit_events WHERE seq = (SELECT seq FROM newest)")
    try:
        return by_verification(
            "a superuser cuts the newest event off the audit chain", ledger, ("audit",), lambda _found: True
        )
    finally:
        connection.execute("INSERT INTO audit_events SELECT * FROM newest")
        connection.execute("DROP TABLE newest")


def _names(found: FindingReport, victim: Victim) -> bool:
    return found.shard == victim.shard and found.seq == str(victim.seq)
