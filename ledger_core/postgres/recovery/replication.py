"""What a backup must know of the server it copies, and the slot that makes the server keep its WAL.

Guarantees: read from the server itself, so that a backup of another cluster is never taken for one of ours; the slot
keeps WAL from the moment it is made. Needs a role with REPLICATION and
pg_read_all_stats (finance_backup).
Does not: copy anything. Postgres's own tools do.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import errors

from ledger_core.errors import Refused
from ledger_core.postgres.holders import held, slot_words
from ledger_core.postgres.session import Session

# One backup, or one pruning, of a cluster at a time holds a slot of this name. It keeps no WAL, ends with its session,
# and needs a role with REPLICATION: an advisory lock could be anybody's.
BACKUP_SLOT = "finance_backup_at_work"

IDENTITY = """
SELECT s.system_identifier::text, c.timeline_id, pg_size_bytes(current_setting('wal_segment_size')),
       current_setting('server_version_num')::int, pg_current_wal_flush_lsn() - '0/0'::pg_lsn
  FROM pg_control_system() s, pg_control_checkpoint() c"""


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """One cluster as it stands. `flush_lsn` is a byte position of its WAL."""

    system_identifier: str  # decimal text, made by initdb; the same in every copy of a cluster
    timeline: int  # Postgres's number of the timeline, from 1
    segment_bytes: int  # size of a WAL segment
    version: int  # server_version_num, such as 180000
    flush_lsn: int


def identify(connection: Session) -> ServerIdentity:
    """Raises Refused on a server that is itself being restored, and for a role that sees too little."""
    row = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('wal_level'), pg_has_role('pg_read_all_stats', 'usage')"
    ).fetchone()
    if row is None or row[0]:
        raise Refused("the server is a standby, or still in recovery", remedy="wait for its promotion")
    if row[1] not in ("replica", "logical"):
        raise Refused(f"wal_level is {row[1]}", remedy="set wal_level = replica in postgresql.conf, and restart it")
    if not row[2]:  # without it the server does not say how far a receiver has come
        raise Refused("the backup role may not read statistics", remedy="GRANT pg_read_all_stats TO finance_backup")
    found = connection.execute(IDENTITY).fetchone()
    assert found is not None  # noqa: S101  # both functions give one row
    system_identifier, timeline, segment_bytes, version, lsn = found
    return ServerIdentity(system_identifier, timeline, int(segment_bytes), version, int(lsn))


def ensure_slot(connection: Session, slot: str) -> None:
    """Make the physical slot when it is missing; from then on the server keeps what its receiver has not got."""
    connection.execute(
        "SELECT pg_create_physical_replication_slot(%(slot)s, true) "
        "WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(slot)s)",
        {"slot": slot},
    )


def received_lsn(connection: Session, slot: str) -> int:
    """How far the slot's receiver says to have written, in bytes of WAL; 0 while there is none."""
    row = connection.execute(
        "SELECT r.write_lsn - '0/0'::pg_lsn FROM pg_replication_slots s "
        "JOIN pg_stat_replication r ON r.pid = s.active_pid WHERE s.slot_name = %s AND r.write_lsn IS NOT NULL",
        (slot,),
    ).fetchone()
    return 0 if row is None else int(row[0])


def hold_backup_lock(connection: Session) -> None:
    """Hold the lock until the session ends. Raises Refused while another backup or pruning works."""
    try:
        connection.execute("SELECT pg_create_physical_replication_slot(%s, false, true)", (BACKUP_SLOT,))
    except errors.DuplicateObject as error:
        who = slot_words(connection, BACKUP_SLOT)
        raise held("another backup or pruning of this cluster is at work", who) from error
