"""What the backup commands are put together from: settings become places, tools, recipients and terms.

Guarantees: a command gets only what it needs: no signer for `list`, no private identity for anything but a restore.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from finance.recovery.backup.base.cluster import server_owner
from finance.recovery.backup.base.create import Terms
from finance.recovery.backup.base.plan import check_restorable
from finance.recovery.backup.base.restore import RestoreTerms
from finance.recovery.backup.place.catalogue import Catalogue, only_system, read_catalogue
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.seal import read_identities, read_recipients
from finance.recovery.backup.streaming.spool import Spool
from finance.recovery.backup.streaming.stream import StreamMetrics, StreamTerms, WalStream
from finance.recovery.backup.streaming.wal_signing import SigningTerms
from finance.recovery.backup.tools import Tools
from finance.settings import clock
from finance.settings.backup import backup_settings
from finance.settings.child_environment import inherited
from finance.settings.deployment import Settings
from finance.wiring import services
from finance.wiring.registry_file import read_registry
from finance.wiring.signers import open_signer
from ledger_core.errors import FinanceError, Refused
from ledger_core.signing.purposes import SIGNED_BY
from schemas.topology.model import Topology


def tools_of(settings: Settings) -> Tools:
    return Tools(backup_settings(settings).tools, {**inherited(lambda name: name.startswith("PG")), "TZ": "UTC"})


def copies_of(settings: Settings, also: Sequence[str]) -> Copies:
    """The place, and further copies of it by their addresses. Raises Refused."""
    addresses = (backup_settings(settings).place, *also)
    return Copies([services.open_backup_place(address, settings) for address in addresses])


def catalogue_of(settings: Settings, copies: Copies, system: str | None, *, everywhere: bool = False) -> Catalogue:
    """The one cluster of the place, or the one that is named; see `read_catalogue`. Raises Refused."""
    registry = read_registry(settings.signers_path)
    return read_catalogue(copies, only_system(copies, system), registry, everywhere=everywhere)


def restorable(settings: Settings, copies: Copies, system: str | None) -> Catalogue:
    """The same, to restore from: of this environment, under a clock that can be right. Raises Refused."""
    catalogue = catalogue_of(settings, copies, system)
    check_restorable(catalogue, settings.env, clock.utc_now(), copies.name)
    return catalogue


@contextmanager
def create_terms(settings: Settings, topology: Topology, also: Sequence[str]) -> Iterator[Terms]:
    registry = read_registry(settings.signers_path)
    signer = open_signer(settings, topology, registry, signs=SIGNED_BY["backup"])
    try:
        signer.pin()  # before the work, not after it
        yield Terms(
            dsn=settings.database_url("backup"),
            env=settings.env,
            tools=tools_of(settings),
            copies=copies_of(settings, also),
            recipients=read_recipients(settings.needed("BACKUP_RECIPIENTS")),
            signer=signer,
            registry=registry,
            clock=clock.utc_now,
            new_id=clock.new_suffix,
        )
    finally:
        signer.close()


def open_stream(settings: Settings, topology: Topology, also: Sequence[str], metrics: StreamMetrics) -> WalStream:
    """Raises Refused, Unavailable; counted in the metrics."""
    try:
        return _stream(settings, topology, also, metrics)
    except FinanceError:
        metrics.backup_failed("stream")
        raise


def _stream(settings: Settings, topology: Topology, also: Sequence[str], metrics: StreamMetrics) -> WalStream:
    chosen = backup_settings(settings)
    registry = read_registry(settings.signers_path)
    return WalStream(
        StreamTerms(
            dsn=settings.database_url("backup"),
            slot=chosen.slot,
            tools=tools_of(settings),
            copies=copies_of(settings, also),
            recipients=read_recipients(settings.needed("BACKUP_RECIPIENTS")),
            registry=registry,
            spool=chosen.spool,
            partial_seconds=chosen.partial_seconds,
            clock=clock.utc_now,
            monotonic=time.monotonic,
            metrics=metrics,
            signing=SigningTerms(
                env=settings.env,
                open_signer=lambda: open_signer(settings, topology, registry, signs=SIGNED_BY["backup"]),
                clock=clock.utc_now,
                monotonic=time.monotonic,
                on_failure=lambda: metrics.backup_failed("sign"),
            ),
        )
    )


def restore_terms(settings: Settings, copies: Copies, advance: Callable[[int], None]) -> RestoreTerms:
    return RestoreTerms(
        copies=copies,
        identities=read_identities(Path(settings.needed("BACKUP_IDENTITY_FILE"))),
        tools=tools_of(settings),
        owner=server_owner(),
        advance=advance,
    )


def drain_spool(settings: Settings, copies: Copies, system: str) -> bool:
    """Store what the stream left on this host when the server was lost. False: nothing there, or a stream works."""
    chosen = backup_settings(settings)
    if not (chosen.spool / system).is_dir() or not settings.values.get("BACKUP_RECIPIENTS"):
        return False
    recipients = read_recipients(settings.needed("BACKUP_RECIPIENTS"))
    try:
        spool = Spool(
            chosen.spool, system, copies, lambda: catalogue_of(settings, copies, system), recipients, clock.utc_now
        )
    except Refused:
        return False
    try:
        worked = spool.store_complete()
        return spool.store_partial(0) or worked
    finally:
        spool.close()
