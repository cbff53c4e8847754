"""What the poster asks of its store, and the six ways in which a batch can be turned away without a fault."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import msgspec

from ledger_core.errors import FinanceError, Refused
from ledger_core.posting.plans import Known, Plan, ShardHead, Verdict


class Fenced(FinanceError):
    """Another process moved this shard's head: forget the batch, read the head again."""


class Halted(FinanceError):
    """All posting is halted, or this shard is: nothing was written."""


class EventIdTaken(FinanceError):
    """Another shard posted one of the batch's event ids meanwhile: nothing was written; look up and plan again."""


class FirstRejections(FinanceError):
    """The plan gives rejections as first verdicts, and other shards may post meanwhile: nothing was written; plan those
    records again, alone. `offsets`: where they stand."""

    def __init__(self, offsets: frozenset[int]) -> None:
        super().__init__(
            f"{len(offsets)} first rejections, from offset {min(offsets)}, want no other shard beside them"
        )
        self.offsets = offsets


class BatchFailed(FinanceError):
    """The database refuses something in the batch, and would again: nothing was written; find the record. `taken`: a
    row stands where the batch would write one, though the shard's head says that nothing does."""

    def __init__(self, message: str, *, taken: bool = False) -> None:
        super().__init__(message)
        self.taken = taken


class RecordRefused(Refused):
    """The rules post this record, and the database does not take it: a fault of ours, which must not stop others."""

    def __init__(self, shard: int, offset: int, why: str) -> None:
        super().__init__(
            f"shard {shard}: offset {offset} cannot be posted: {why}",
            remedy="install a version of finance that mends it (RUNBOOK, section 13 E)",
        )
        self.offset = offset


class HeavyLookUp(FinanceError):
    """The entries that the batch must be compared with weigh too much to be read at once: nothing was written; plan
    fewer records. Never raised for one record."""


HaltKind = Literal["dead_letters", "unreadable", "refused"]


class ShardHalt(msgspec.Struct, frozen=True, gc=False):
    """The newest halt of one shard, and what became of it. Set by the store."""

    shard: int  # number of the shard
    halt_id: int  # number of the halt; a later one is larger
    kind: HaltKind  # beyond the dead-letter limit, before what no reader can read, or before what Postgres refuses
    at_offset: int  # of the settlements partition: not posted
    detail: str  # why, for people
    halted_at: dt.datetime  # UTC; the database's clock
    resumed: bool  # whether an operator ended it
    set_aside_offset: int | None  # up to which, exclusive, the operator set aside what cannot be read
    allowed_offset: int  # of the shard, not of this halt: rejections below do not count towards the limit


class Unrelayed(msgspec.Struct, frozen=True, gc=False):
    """One offset whose results may not have been published: an entry, or else a verdict. Set by the store."""

    offset: int  # of the settlements partition
    entry: tuple[int, str, bytes, bytes] | None  # seq, event id, entry hash, body
    verdict: Verdict | None  # of the same offset; None where the entry says all


def check_alone(plan: Plan, *, alone: bool) -> None:
    """Raise FirstRejections unless the plan may be written so. An entry has its event id by itself: the database lets
    no second one in; a rejection, which stands in another table, only because nobody posts beside it."""
    offsets = frozenset(v.offset for v in plan.verdicts if v.first_verdict and v.event_id is not None)
    if offsets and not alone:
        raise FirstRejections(offsets)


class BatchTransaction(Protocol):
    """One batch's transaction, open on the very head it was asked for."""

    def look_up(self, compared: Sequence[str], named: Sequence[str]) -> dict[str, Known]:
        """The first verdict of each event id that has one, of any shard; of the `compared` ones that are posted with
        the body. Raises HeavyLookUp."""
        ...

    def write(self, plan: Plan, *, relayed_offset: int) -> Plan:
        """Write the plan and move the head, once. `relayed_offset`: everything below was acknowledged downstream; it
        moves along. Raises FirstRejections for a plan that must be alone, in a transaction that is not. Returns the
        plan as written: its `after` has the accounts opened and `relayed_offset`."""
        ...


class PosterStore(Protocol):
    """See postgres.posting.poster_store, which says what each method guarantees. All may raise Unavailable."""

    def open_shard(self, shard: int, topic: str) -> ShardHead: ...

    def is_halted(self) -> bool: ...

    def shard_halts(self, shards: Iterable[int]) -> dict[int, ShardHalt]:
        """The newest halt of each of these shards that had one."""
        ...

    def halt_shard(self, shard: int, kind: HaltKind, at_offset: int, detail: str) -> None:
        """Halt one shard, with its audit event; nothing when it is halted."""
        ...

    def batch(self, head: ShardHead, *, alone: bool) -> AbstractContextManager[BatchTransaction]: ...

    def note_relayed(self, shard: int, relayed_offset: int) -> None: ...

    def unrelayed_end(self, head: ShardHead, upto_offset: int, bytes_max: int) -> int: ...

    def unrelayed(self, head: ShardHead, upto_offset: int) -> list[Unrelayed]: ...

    def close(self) -> None: ...
