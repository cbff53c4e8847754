"""Where the live ledger stands as a drill begins: what a restored one is measured against.

Guarantees: one snapshot, read-only, as the auditor; taken before any copy is read, so that a copy is never reported as
behind by what came during the drill.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from finance.settings.deployment import Settings
from finance.wiring.stores import open_ledger_reader
from ledger_core.errors import Refused
from ledger_core.postgres.reading.progress import audit_reach
from ledger_core.postgres.session import session
from ledger_core.verify.ledger_rows import LedgerReader, ShardRow

APPLICATION = "finance drill"
OWNER = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"


@dataclass(frozen=True, slots=True)
class Live:
    """Heads by shard, when their newest entries were recorded, and how far the audit chain is published and exported.

    `owner`: the database's owner, whose name a restored copy knows too.
    """

    heads: dict[int, ShardRow]  # by shard
    recorded: dict[int, dt.datetime]  # by shard: recorded_at of the head's entry, UTC
    published_seq: int  # audit events up to it are on the topic, inclusive
    exported_seq: int  # audit events up to it are locked objects, inclusive
    owner: str


def read_live(settings: Settings) -> Live:
    """Raises Unavailable, Refused (also for a ledger without an entry: nothing could be proved)."""
    url = settings.database_url("auditor")
    with session(url, application_name=APPLICATION, read_only=True) as connection:
        exported, published = audit_reach(connection)
        row = connection.execute(OWNER).fetchone()
    with open_ledger_reader(url) as reader:
        heads = {head.shard: head for head in reader.shards()}
        recorded = recorded_of(reader, list(heads.values()))
    if not recorded:
        raise Refused(
            "this ledger has no entry", remedy="see `finance status`: is DATABASE_URL_AUDITOR the right database?"
        )
    return Live(heads, recorded, published, exported, str(row[0]) if row else "postgres")


def recorded_of(reader: LedgerReader, heads: list[ShardRow]) -> dict[int, dt.datetime]:
    """recorded_at of the newest entry of each shard that has one."""
    newest = {head.shard: reader.entries(head.shard, head.seq, head.seq) for head in heads if head.seq}
    return {shard: rows[0].recorded_at for shard, rows in newest.items() if rows}
