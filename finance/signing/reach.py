"""How far a key's signatures reached, from what the database holds: for which interval it counts once it is retired.

Guarantees: pure; everything that the key signed lies inside, and of a chain nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ledger_core.errors import Refused
from ledger_core.postgres.signing.signer_uses import SignerUse
from ledger_core.signing.validity import NOTHING, Interval, Validity

ANY_HISTORY = "operator proof"  # may speak of sequences older than its key


class Heads(Protocol):
    """See ledger_core.postgres.signing.signer_uses."""

    def range_end(self, shard: int, seq: int) -> tuple[int, str | None] | None: ...

    def event_hash(self, seq: int) -> str | None: ...


def reach(own: Sequence[SignerUse]) -> Validity:
    """The intervals that hold what a key signed, or has to sign still, by its own uses."""
    shards: dict[int, Interval] = {}
    for shard in {use.shard for use in own if use.shard is not None}:
        here = [use for use in own if use.shard == shard]
        last = max(use.last_seq for use in here)
        chained = [use.first_seq for use in here if use.what != ANY_HISTORY]
        shards[shard] = Interval(min(chained, default=last + 1), last)
    events = [use for use in own if use.shard is None]
    audit = Interval(min(u.first_seq for u in events), max(u.last_seq for u in events)) if events else NOTHING
    return Validity(shards, audit)


def cut(validity: Validity, to_seq: Mapping[int, int], audit_to_seq: int | None) -> Validity:
    """A validity that ends earlier: what the key signed beyond, a thief signed. Raises Refused when it ends later."""
    shards = dict(validity.shards or {})
    for shard, seq in to_seq.items():
        shards[shard] = _cut(shards.get(shard, NOTHING), seq, f"shard {shard}")
    audit = validity.audit or NOTHING
    return Validity(shards, audit if audit_to_seq is None else _cut(audit, audit_to_seq, "the audit chain"))


def _cut(interval: Interval, seq: int, where: str) -> Interval:
    if interval.to_seq is not None and seq > interval.to_seq:
        raise Refused(
            f"the key signed up to seq {interval.to_seq} of {where}, not to {seq}",
            remedy="name the last sequence that it is still trusted for, or none",
        )
    return Interval(min(interval.from_seq, seq + 1), seq)


def pinned(validity: Validity, held: Heads) -> Validity:
    """The same intervals, each with the head at its end, so that another history below it does not count."""
    shards = {}
    for shard, it in (validity.shards or {}).items():
        end = None if it.to_seq is None or it.to_seq < it.from_seq else held.range_end(shard, it.to_seq)
        at_end = end is not None and end[0] == it.to_seq
        shards[shard] = Interval(it.from_seq, it.to_seq, end[1] if end and at_end else None)
    audit = validity.audit or NOTHING
    if audit.to_seq is not None and audit.to_seq >= audit.from_seq:
        audit = Interval(audit.from_seq, audit.to_seq, held.event_hash(audit.to_seq))
    return Validity(shards, audit)


def range_ends(to_seq: Mapping[int, int], held: Heads) -> dict[int, int]:
    """Each sequence moved down to where a range ends: nothing of the ledger ends in between, but a thief's could."""
    ends = {shard: held.range_end(shard, seq) for shard, seq in to_seq.items()}
    return {shard: end[0] if end is not None else 0 for shard, end in ends.items()}
