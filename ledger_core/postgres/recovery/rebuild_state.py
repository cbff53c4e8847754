"""What a database holds of a ledger before it is rebuilt: heads, newest manifests, and ranges beyond them.

Guarantees: read-only, one snapshot for each call. Does not: judge it (`ledger_core.recovery.rebuild_checks` does).
"""

from __future__ import annotations

from typing import Any, Final

from psycopg import Cursor

from ledger_core.postgres.posting.plan_writer import HEAD_COLUMNS
from ledger_core.postgres.recovery.rebuild_store import held_hash
from ledger_core.postgres.schema.migrate import pending
from ledger_core.postgres.session import Session, session
from ledger_core.postgres.verify.not_held import count_not_held
from ledger_core.posting.plans import ShardHead
from ledger_core.recovery.rebuild_checks import HeldManifest, HeldShard, not_empty

NEWEST_MANIFEST: Final = """
SELECT m.manifest_no, encode(m.hash, 'hex'), r.last_seq, r.next_offset, r.tree, r.verdict_tree, p.proof
  FROM manifests m JOIN ranges r ON r.shard = m.shard AND r.range_no = m.manifest_no
  JOIN proofs p ON p.shard = m.shard AND p.range_no = m.manifest_no
 WHERE m.shard = %s ORDER BY m.manifest_no DESC LIMIT 1"""

RANGES_BEYOND: Final = """
SELECT range_no, encode(hash, 'hex') FROM ranges WHERE shard = %s AND range_no > %s ORDER BY range_no"""

STRAYS: Final = """
SELECT EXISTS (SELECT FROM entries t WHERE NOT EXISTS (SELECT FROM shards s WHERE s.shard = t.shard))
    OR EXISTS (SELECT FROM ranges t WHERE NOT EXISTS (SELECT FROM shards s WHERE s.shard = t.shard))"""


def is_empty(dsn: str) -> bool:
    """Whether the database has no table at all, or only what a migration that was interrupted left, and no shard.

    Raises Refused for one that is neither empty nor of this version.
    """
    missing = pending(dsn)
    if not missing:
        return False
    with session(dsn, application_name="finance rebuild", read_only=True) as connection:
        tables = {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        begun = "shards" in tables and connection.execute("SELECT FROM shards LIMIT 1").fetchone() is not None
    if begun or (tables and "schema_migrations" not in tables):
        raise not_empty(missing)
    return True


def held_shards(connection: Session) -> list[HeldShard]:
    """Every shard that the database knows, in order. Raises Refused when rows stand there without their shard."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        strays = cursor.execute(STRAYS).fetchone()
        if strays is not None and strays[0]:
            raise not_empty([])
        rows = cursor.execute(f"SELECT {HEAD_COLUMNS} FROM shards ORDER BY shard").fetchall()
        return [_held(cursor, ShardHead(**dict(zip(HEAD_COLUMNS.split(", "), row, strict=True)))) for row in rows]


def entry_hash(connection: Session, shard: int, seq: int) -> bytes | None:
    """The entry hash that a shard holds at a sequence."""
    with connection.cursor() as cursor:
        return held_hash(cursor, shard, seq)


def not_held(connection: Session) -> dict[str, int]:
    """What a rebuilt ledger lacks because the archive leaves it out."""
    return count_not_held(lambda statement: connection.execute(statement.encode()).fetchone() or ())


def _held(cursor: Cursor[Any], head: ShardHead) -> HeldShard:
    row = cursor.execute(NEWEST_MANIFEST, (head.shard,)).fetchone()
    newest = None if row is None else HeldManifest(*row)
    beyond = cursor.execute(RANGES_BEYOND, (head.shard, 0 if newest is None else newest.number)).fetchall()
    return HeldShard(head, newest, dict(beyond))
