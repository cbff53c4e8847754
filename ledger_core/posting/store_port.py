"""What the poster asks of its store, and the four ways in which a commit can say no without being broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from ledger_core.errors import FinanceError
from ledger_core.ports import AuditIntent
from ledger_core.posting.plans import Known, Plan, ShardHead, Verdict


class Fenced(FinanceError):
    """Another process moved this shard's head: forget the batch, read the head again."""


class Halted(FinanceError):
    """The halt flag is set: nothing was written."""


class EventIdTaken(FinanceError):
    """Another shard posted one of the batch's event ids meanwhile: nothing was written; look up and plan again."""


class BatchFailed(FinanceError):
    """The database refuses something in the batch, and would again: nothing was written; find the record."""


class Unrelayed(msgspec.Struct, frozen=True, gc=False):
    """One offset whose results may not have been published: an entry (seq, event id, hash, body), or a verdict."""

    offset: int
    entry: tuple[int, str, bytes, bytes] | None
    verdict: Verdict | None


class PosterStore(Protocol):
    """See postgres.posting.poster_store, which says what each method guarantees. All may raise Unavailable."""

    def open_shard(self, shard: int, topic: str) -> ShardHead: ...

    def is_halted(self) -> bool: ...

    def halt(self, reason: str, intent: AuditIntent) -> None: ...

    def commit(
        self,
        head: ShardHead,
        event_ids: Sequence[str],
        rejects_first: bool,
        make_plan: Callable[[dict[str, Known]], Plan],
        relayed_offset: int,
    ) -> Plan: ...

    def note_relayed(self, shard: int, relayed_offset: int) -> None: ...

    def unrelayed(self, head: ShardHead, upto_offset: int) -> list[Unrelayed]: ...

    def close(self) -> None: ...
