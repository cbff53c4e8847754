"""The stores that commands of operators work on: opened here, closed at the end of the caller's `with`.

Guarantees: nobody else names a store; what is a ledger's own is refused on a what-if database. A question that one
session answers needs no store: rooms of operators ask it of `ledger_core.postgres` themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from finance.settings.deployment import Settings
from ledger_core.postgres.audit.restore_store import PostgresAuditRestoreStore
from ledger_core.postgres.connection import connect
from ledger_core.postgres.posting.poster_store import PosterStore
from ledger_core.postgres.proving.on_demand_store import PostgresOnDemandStore
from ledger_core.postgres.recovery.epochs import not_the_ledger, read_epoch
from ledger_core.postgres.recovery.fill_store import FillStore
from ledger_core.postgres.recovery.rebuild_store import RebuildStore
from ledger_core.postgres.recovery.verdict_log import PostgresVerdictLog
from ledger_core.postgres.session import Session, session
from ledger_core.postgres.verify.ledger_reader import open_ledger_reader

__all__ = [
    "check_is_ledger",
    "fill_store",
    "open_audit_restore_store",
    "open_ledger_reader",
    "open_on_demand_store",
    "open_poster_store",
    "open_rebuild_store",
    "open_verdict_log",
]


def check_is_ledger(dsn: str) -> None:
    """Refuse a database that is marked as a what-if: nothing of it may be posted on, signed or archived."""
    with session(dsn, application_name="finance epoch", read_only=True) as connection:
        epoch = read_epoch(connection)
    if epoch.kind == "what-if":
        raise not_the_ledger(epoch)


@contextmanager
def open_on_demand_store(settings: Settings) -> Iterator[PostgresOnDemandStore]:
    """What proofs on demand are made from, as the role of operators. Raises Refused on a what-if database."""
    check_is_ledger(settings.database_url("api"))
    connection = connect(settings.database_url("api"), application_name="finance-prove")
    try:
        yield PostgresOnDemandStore(connection)
    finally:
        connection.close()


@contextmanager
def open_verdict_log(settings: Settings, application_name: str) -> Iterator[PostgresVerdictLog]:
    """The verdicts of the live ledger, for a replay. Raises Unavailable and Refused."""
    with session(settings.database_url("auditor"), application_name=application_name, read_only=True) as connection:
        yield PostgresVerdictLog(connection)


def open_poster_store(dsn: str) -> closing[PosterStore]:
    """Where a replay writes what the poster wrote."""
    return closing(PosterStore(dsn))


def open_rebuild_store(dsn: str) -> closing[RebuildStore]:
    """Where a rebuild puts back what the archive holds."""
    return closing(RebuildStore(dsn))


def open_audit_restore_store(dsn: str) -> closing[PostgresAuditRestoreStore]:
    """Where the audit chain is put back. It locks out every notary while it is open."""
    return closing(PostgresAuditRestoreStore(dsn))


def fill_store(connection: Session) -> FillStore:
    """What a rebuild fills from the topic; the session is the caller's."""
    return FillStore(connection)
