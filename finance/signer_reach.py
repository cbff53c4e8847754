"""How far a key's signatures reached, from what the database holds: for which interval it counts once it is retired.

Guarantees: pure; everything that the key signed lies inside, and of a chain nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger_core.errors import Refused
from ledger_core.postgres.signer_uses import SignerUse
from ledger_core.signer_validity import NOTHING, Interval, Validity

ANY_HISTORY = "operator proof"  # may speak of sequences older than its key


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
