"""The heads that keys which are over left behind: a history that such a key signed must lead to them.

A thief who has an old key can sign another history below the end of its interval, whole and consistent in itself. The
registry pins the head at that end (`signer_validity`), and every chained history is bound by its later heads.
Guarantees: a shard in which the key signed anything has that head at that sequence; where the key was revoked, the
history must reach it.
Does not: judge a statement alone, below the pinned sequence: only the chain shows where it leads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger_core.findings import Collector
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry


@dataclass(slots=True)
class PinnedHeads:
    """One shard's history, range by range. `start`: the sequence behind which it is seen."""

    registry: SignerRegistry
    shard: int
    start: int = 0
    _wanted: dict[int, list[tuple[RegisteredSigner, str]]] = field(init=False)
    _passed: dict[int, str | None] = field(default_factory=dict)
    _kids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._wanted = {}
        for signer in self.registry.signers:
            end = None if signer.validity is None else signer.validity.shard(self.shard)
            if end is not None and end.to_seq is not None and end.head_hash is not None and end.to_seq > self.start:
                self._wanted.setdefault(end.to_seq, []).append((signer, end.head_hash))

    def signed(self, *kids: str) -> None:
        """These keys signed something of the shard."""
        self._kids.update(kids)

    def passed(self, last_seq: int, head_hash: str | None) -> None:
        """A range ends here."""
        if last_seq in self._wanted:
            self._passed[last_seq] = head_hash

    def finish(self, seq: int, found: Collector) -> None:
        """The history ends at `seq`: say what it does not lead to."""
        for to_seq, pins in self._wanted.items():
            for signer, wanted in pins:
                has = self._passed.get(to_seq)
                short = seq < to_seq
                if signer.kid not in self._kids or has == wanted or (short and signer.revoked_at is None):
                    continue
                what = f"has head {has} there" if has else "has no range ending there"
                what = f"ends at seq {seq}" if short else what
                message = f"signer {signer.kid} counts for what leads to head {wanted} at seq {to_seq}; this {what}"
                found.add("signer.pinned_head", message, shard=self.shard, seq=to_seq, field="head_hash")
