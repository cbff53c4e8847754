"""What the projector reads beside the journal: outcomes (verdicts that posted nothing) and audit events (links).

Guarantees: each topic has cursors of its own, in the transaction of its rows. A record that has not the
form of an audit event says nothing. Does not: judge what the topics say (decision 123).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from ledger_core.audit.events import AuditEvent
from ledger_core.errors import Corrupt
from ledger_core.ports import Record
from ledger_core.reading.links import Links, links_of
from ledger_core.reading.verdicts import HeardOutcome, OutcomeReach, OutcomesRead, read_outcomes
from schemas.wire.outcomes import decode_outcome


class VerdictPort(Protocol):
    """See `ledger_core.postgres.reading.projection_verdicts`. Every method may raise Unavailable("postgres")."""

    def reach(self, shard: int) -> OutcomeReach: ...

    def write(self, before: OutcomeReach, read: OutcomesRead) -> None: ...


class LinkPort(Protocol):
    """See `ledger_core.postgres.reading.projection_links`. Every method may raise Unavailable("postgres")."""

    def next_offset(self, partition: int) -> int: ...

    def write(self, partition: int, before: int, after: int, links: Links) -> None: ...


class AuditReach(NamedTuple):
    """How far the audit topic was read."""

    partition: int  # of the audit topic
    next_offset: int  # behind the newest record that was taken


def take_outcomes(store: VerdictPort, before: OutcomeReach, records: Sequence[Record]) -> OutcomeReach:
    """Commit what records of one partition of the outcomes topic say; the place behind them. Raises Fenced, Corrupt,
    Unavailable."""
    read = read_outcomes(before, list(_heard(records)))
    store.write(before, read)
    return read.reach


def take_events(store: LinkPort, before: AuditReach, records: Sequence[Record]) -> AuditReach:
    """Commit what records of the audit topic say; the place behind them. Raises Fenced, Unavailable."""
    after = AuditReach(before.partition, records[-1].offset + 1)
    store.write(before.partition, before.next_offset, after.next_offset, links_of(_events(records)))
    return after


def _heard(records: Iterable[Record]) -> Iterator[HeardOutcome]:
    for record in records:
        place = f"{record.topic} [{record.partition}] offset {record.offset}"
        if record.value is None:
            raise Corrupt(f"{place}: no value")
        it = decode_outcome(record.value)
        if it.shard != record.partition:
            raise Corrupt(f"{place}: an outcome of shard {it.shard}")
        yield HeardOutcome(record.offset, it.offset, it.event_id, it.settlement_id, it.verdict, it.reason)


def _events(records: Iterable[Record]) -> Iterator[AuditEvent]:
    for record in records:
        try:
            yield AuditEvent.from_json(record.value or b"")
        except ValueError:
            continue
