"""Asking the oracle about what Postgres and Kafka hold: opens the readers, moves the progress bar, closes them.

Guarantees: each check reads one snapshot of the database. Raises Unavailable and Refused; findings are in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from finance.settings.deployment import Settings
from finance.wiring.kafka import newest_audit_event
from ledger_core.findings import Report
from ledger_core.postgres.reading.progress import manifest_heads
from ledger_core.postgres.schema.guard import check_schema
from ledger_core.postgres.session import session
from ledger_core.postgres.verify.ledger_reader import open_ledger_reader
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.ledger_rows import EntryRow, LedgerReader
from ledger_core.verify.oracle import ArchiveHead, AuditHead, verify_audit, verify_ledger
from schemas.topology.model import Topology

EVENTS_TOLD_AT_ONCE = 1000
PARTITION = 0  # one chain, one partition

T = TypeVar("T")
Advance = Callable[[int], None]


class _Watched:
    """A ledger reader that reports how many entries were read, and is the given one in everything else."""

    def __init__(self, reader: LedgerReader, advance: Advance) -> None:
        self._entries = reader.entries
        self._advance = advance
        self.shards = reader.shards
        self.totals = reader.totals
        self.not_held = reader.not_held
        self.lines = reader.lines
        self.verdicts = reader.verdicts
        self.accounts = reader.accounts
        self.balances = reader.balances
        self.ranges = reader.ranges
        self.checkpoints = reader.checkpoints
        self.live_notes = reader.live_notes
        self.operator_proofs = reader.operator_proofs
        self.leaves_kept = reader.leaves_kept
        self.tiles_kept = reader.tiles_kept
        self.tiles = reader.tiles

    def entries(self, shard: int, first_seq: int, last_seq: int, bytes_max: int | None = None) -> Sequence[EntryRow]:
        rows = self._entries(shard, first_seq, last_seq, bytes_max)
        self._advance(len(rows))
        return rows


def watched(reader: LedgerReader, advance: Advance) -> LedgerReader:
    """The reader, calling `advance` with how many entries were read."""
    return _Watched(reader, advance)


def check_ledger_of(settings: Settings, registry: SignerRegistry, advance: Advance) -> Report:
    """The oracle on the ledger of this deployment, and on the guards that keep its database append-only."""
    url = settings.database_url("auditor")
    with session(url, application_name="finance verify", read_only=True) as connection:
        guards = check_schema(connection)
    with open_ledger_reader(url) as reader:
        return guards.joined(verify_ledger(_Watched(reader, advance), registry))


def archive_heads(settings: Settings) -> list[ArchiveHead]:
    """Where the manifest chains must reach, as the database says."""
    with session(settings.database_url("auditor"), application_name="finance verify", read_only=True) as connection:
        return [ArchiveHead(shard, number, digest.hex()) for shard, number, digest in manifest_heads(connection)]


def check_audit_of(settings: Settings, topology: Topology | None, registry: SignerRegistry, advance: Advance) -> Report:
    """The oracle on the audit chain. With a topology, the newest event of the audit topic must stand on the chain."""
    published = None if topology is None else _newest_published(settings, topology, registry)
    with open_ledger_reader(settings.database_url("auditor")) as reader:
        expected = [AuditHead(reader.published_seq())] + ([published] if published else [])
        return verify_audit(_told(reader.audit_events(), advance), registry, expected=expected)


def _newest_published(settings: Settings, topology: Topology, registry: SignerRegistry) -> AuditHead | None:
    """Asked before the database, which therefore is never behind it."""
    event = newest_audit_event(settings, topology, registry, "auditor")
    return None if event is None else AuditHead(event.seq, event.hash)


def _told(items: Iterable[T], advance: Advance) -> Iterator[T]:
    waiting = 0
    for item in items:
        yield item
        waiting += 1
        if waiting == EVENTS_TOLD_AT_ONCE:
            advance(waiting)
            waiting = 0
    advance(waiting)
