"""Where the comparison of one shard stands, in memory and between two runs.

Guarantees: pure; what is written reads back as it was. Does not: say whether the place is right: whoever goes on from
one compares its head with the ledger's first (`finance.recovery.replay_beside`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ledger_core.books.rule_versions import FIRST_RULES
from ledger_core.posting.plans import ShardHead
from ledger_core.tree import CompactRange


@dataclass(slots=True)
class ReplayPlace:
    """Where a shard's comparison stands. `whole` False: it began in the middle, so sums and counts are not known."""

    head: ShardHead
    tree: CompactRange = field(default_factory=CompactRange)
    whole: bool = True
    sums: dict[str, list[int]] = field(default_factory=dict)  # "<currency> <account type>" -> [debits, credits]

    def to_json(self) -> dict[str, Any]:
        head = self.head
        return {
            "topic": head.topic,
            "first_offset": str(head.first_offset),
            "next_offset": str(head.next_offset),
            "seq": str(head.seq),
            "head_hash": None if head.head_hash is None else head.head_hash.hex(),
            "duplicates": str(head.duplicates),
            "rejected": str(head.rejected),
            "rules": head.rules,
            "tree": self.tree.to_bytes().hex(),
            "whole": self.whole,
            "sums": {name: [str(amount) for amount in pair] for name, pair in self.sums.items()},
        }

    @staticmethod
    def from_json(shard: int, told: dict[str, Any]) -> ReplayPlace:
        """The inverse. Raises KeyError, TypeError and ValueError on anything else."""
        seq = int(told["seq"])
        digest = told["head_hash"]
        head = place_head(
            shard,
            told["topic"],
            first_offset=int(told["first_offset"]),
            next_offset=int(told["next_offset"]),
            seq=seq,
            head_hash=None if digest is None else bytes.fromhex(digest),
            duplicates=int(told["duplicates"]),
            rejected=int(told["rejected"]),
            rules=int(told["rules"]),
        )
        tree = CompactRange.from_bytes(seq, bytes.fromhex(told["tree"]))
        sums = {name: [int(amount) for amount in pair] for name, pair in told["sums"].items()}
        return ReplayPlace(head, tree, bool(told["whole"]), sums)


def place_head(
    shard: int,
    topic: str,
    *,
    first_offset: int = 0,
    next_offset: int = 0,
    seq: int = 0,
    head_hash: bytes | None = None,
    duplicates: int = 0,
    rejected: int = 0,
    rules: int = FIRST_RULES,
) -> ShardHead:
    """A head without what only a database has."""
    return ShardHead(
        shard=shard,
        topic=topic,
        first_offset=first_offset,
        next_offset=next_offset,
        seq=seq,
        head_hash=head_hash,
        accounts=0,
        posted=seq,
        duplicates=duplicates,
        rejected=rejected,
        relayed_offset=first_offset,
        rules=rules,
    )
