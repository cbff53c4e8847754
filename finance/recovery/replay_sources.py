"""Where a replay finds what it is compared with: the live ledger's database, or the archive; both hold a verdict log.

Guarantees: read-only. Raises Unavailable and Refused. Which one is used is chosen once, and reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from consumers.recovery.archive_log import ArchiveLog
from finance.settings.deployment import Settings
from finance.wiring.mac_keys import trusted_registry
from finance.wiring.services import open_archive
from finance.wiring.stores import open_verdict_log
from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.recovery.replay_target import is_locked, read_heads
from ledger_core.postgres.session import session
from ledger_core.recovery.replay_port import VerdictLog
from ledger_core.signing.registry import SignerRegistry

Source = Literal["database", "archive", "nothing"]
APPLICATION = "finance replay"


@contextmanager
def open_log(source: Source, settings: Settings) -> Iterator[VerdictLog | None]:
    """The verdict log of the source; None for `nothing`."""
    if source == "nothing":
        yield None
    elif source == "archive":
        yield open_archive_log(settings, trusted_registry(settings))
    else:
        with open_verdict_log(settings, APPLICATION) as log:
            yield log


def open_archive_log(settings: Settings, registry: SignerRegistry) -> ArchiveLog:
    """The archive of this environment, as a log and as a source of proofs."""
    return ArchiveLog(open_archive(settings), settings.env, registry)


def choose_source(asked: Source | None, settings: Settings) -> Source:
    """What was asked for; else the database if it answers and holds a ledger that is not being filled, else the archive
    if there are settings for one."""
    if asked is not None:
        return asked
    try:
        with session(settings.database_url("auditor"), application_name=APPLICATION, read_only=True) as connection:
            if not is_locked(connection) and read_heads(connection):
                return "database"
    except (Unavailable, Refused):
        pass
    try:
        settings.archive()
    except Refused:
        return "nothing"
    return "archive"
