"""The database that a replay fills: what it is before anything is written, and how it becomes a replay's.

Guarantees: `inspect` changes nothing; `claim` migrates a database that holds nothing, begins the epoch that says what
it is (`replay`, or `what-if`: not the ledger, for ever), and is the same when it is called again. One replay at a time
works on a database: the lock goes with the session, however it ends.
Does not: judge whether what stands there is a prefix of the replay (`finance.recovery.replay_checks` does).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger_core.errors import Refused
from ledger_core.postgres.holders import hold_advisory
from ledger_core.postgres.posting.plan_writer import HEAD_COLUMNS
from ledger_core.postgres.recovery.epochs import Epoch, EpochKind, begin_epoch, read_epoch
from ledger_core.postgres.schema.authority import ROLES
from ledger_core.postgres.schema.migrate import migrate, pending
from ledger_core.postgres.session import Session, translated
from ledger_core.posting.plans import ShardHead

REPLAY_LOCK: Final = 0x5245504C4159  # "REPLAY", in the advisory lock space of the target
PROCESS_LOGINS: Final = tuple(f"finance_{role}" for role in ROLES)
EMPTY_REMEDY: Final = "give an empty database to --into (`createdb`), or drop this one first"

OUR_TABLE: Final = "SELECT to_regclass('schema_migrations') IS NOT NULL"
TABLES: Final = "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
STRAYS: Final = "SELECT EXISTS (SELECT 1 FROM entries) OR EXISTS (SELECT 1 FROM verdicts)"
# A lock of another session in this very database: whoever sees it is connected to the database that the replay fills.
# Any role may take an advisory lock: what a process's role holds is none of ours.
LOCK_SEEN: Final = """
SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                  JOIN pg_stat_activity a ON a.pid = l.pid
                WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted
                  AND a.usename <> ALL (%s)
                  AND (l.classid::bigint << 32 | l.objid::bigint) = %s)"""


@dataclass(frozen=True, slots=True)
class TargetState:
    """What stands in the target. `epoch` None: no ledger was ever made here."""

    epoch: Epoch | None
    heads: tuple[ShardHead, ...]  # in order of shard

    def head_of(self, shard: int) -> ShardHead | None:
        return next((head for head in self.heads if head.shard == shard), None)

    @property
    def empty(self) -> bool:
        return all(head.next_offset == head.first_offset for head in self.heads)


@translated()
def lock(connection: Session) -> None:
    """Become the only replay on this database. Raises Refused."""
    hold_advisory(connection, REPLAY_LOCK, "another replay works on this database")


@translated()
def is_locked(connection: Session) -> bool:
    """Whether this session is connected to a database that a replay fills."""
    row = connection.execute(LOCK_SEEN, (list(PROCESS_LOGINS), REPLAY_LOCK)).fetchone()
    return bool(row and row[0])


@translated()
def inspect(connection: Session, dsn: str) -> TargetState:
    """What the target is. Raises Refused when it can take no replay: other tables, an outdated schema with a ledger."""
    ours = _flag(connection, OUR_TABLE)
    if not ours:
        row = connection.execute(TABLES).fetchone()
        if row is not None and row[0]:
            raise Refused(f"the target has {row[0]} tables that are not ours", remedy=EMPTY_REMEDY)
        return TargetState(None, ())
    missing = pending(dsn)
    if missing:
        if _flag(connection, "SELECT to_regclass('shards') IS NOT NULL") and _flag(
            connection, "SELECT EXISTS (SELECT 1 FROM shards)"
        ):
            raise Refused(f"the target lacks {', '.join(missing)}", remedy="run `finance migrate` on it first")
        return TargetState(None, ())  # a start that was killed while it migrated
    heads = read_heads(connection)
    if not heads and _flag(connection, STRAYS):
        raise Refused("the target has entries or verdicts that belong to no shard", remedy=EMPTY_REMEDY)
    return TargetState(read_epoch(connection), tuple(heads))


@translated()
def claim(
    connection: Session, dsn: str, *, kind: EpochKind, reason: str, epoch_id: str, actor_id: str, trace_id: str
) -> None:
    """Make the target this replay's: its schema and its epoch. Safe to call again."""
    migrate(dsn)
    if not _is_of(read_epoch(connection), kind, reason):
        begin_epoch(connection, kind=kind, epoch_id=epoch_id, actor_id=actor_id, reason=reason, trace_id=trace_id)


def check_claimable(state: TargetState, *, kind: EpochKind, reason: str) -> None:
    """Raise Refused unless the target is empty, or was begun by this very replay."""
    epoch = state.epoch
    if epoch is None or _is_of(epoch, kind, reason):
        return
    if state.empty and (epoch.kind == "genesis" or kind == "what-if"):
        return
    raise Refused(
        f"the target is not empty: epoch {epoch.epoch_no} is {epoch.kind} ({epoch.reason})"
        if not state.empty
        else f"the target was begun as {epoch.kind} ({epoch.reason})",
        remedy=f"{EMPTY_REMEDY}; a ledger that is only behind its topic is continued by its poster",
    )


def read_heads(connection: Session) -> Sequence[ShardHead]:
    """The heads of all shards, in order."""
    names = [name.strip() for name in HEAD_COLUMNS.split(",")]
    rows = connection.execute(f"SELECT {HEAD_COLUMNS} FROM shards ORDER BY shard")
    return [ShardHead(**dict(zip(names, row, strict=True))) for row in rows]


@translated()
def hash_at(connection: Session, shard: int, seq: int) -> bytes | None:
    """The entry hash at one position of a shard's chain; None where there is none."""
    row = connection.execute("SELECT entry_hash FROM entries WHERE shard = %s AND seq = %s", (shard, seq)).fetchone()
    return None if row is None else bytes(row[0])


def _is_of(epoch: Epoch, kind: EpochKind, reason: str) -> bool:
    return epoch.kind == kind and (kind == "replay" or epoch.reason == reason)


def _flag(connection: Session, query: str) -> bool:
    row = connection.execute(query).fetchone()
    return bool(row and row[0])
