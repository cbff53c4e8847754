"""What the topics hold of a shard already, and so what of a rebuilt ledger must still be published. Pure.

Guarantees: at least once. An offset counts as relayed only when its journal entry, its outcome and its dead letter are
known to be published; a cursor over the journal never lies behind the first record that is still needed.
Does not: ask the topics (`consumers.recovery.topic_ends` does).
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger_core.posting.plans import ShardHead
from ledger_core.posting.verdicts import has_original
from ledger_core.verify.archive_walk import VerifiedRange


@dataclass(frozen=True, slots=True)
class Published:
    """One shard in the topics. Nothing known is the default: everything is published again.

    `journal_seq`: the journal holds every entry up to it. `journal_first_seq` and `journal_low`: its oldest record;
    `journal_high`: the offset after its newest. `outcome_offset` and `dead_letter_offset`: every settlement offset
    below has its outcome, its dead letter; None when the topic cannot say, having forgotten what it held.
    """

    journal_seq: int = 0
    journal_first_seq: int = 1
    journal_low: int = 0
    journal_high: int = 0
    outcome_offset: int | None = 0
    dead_letter_offset: int | None = 0

    def journal_offset(self, last_seq: int) -> int:
        """Where in the journal a reader goes on that has every entry up to `last_seq`: never after the next one.

        Each entry takes a record at least, so entry `last_seq + 1` cannot stand before this offset.
        """
        return min(self.journal_high, self.journal_low + max(0, last_seq + 1 - self.journal_first_seq))

    def relayed_offset(self, head: ShardHead, verified: VerifiedRange) -> int:
        """The shard's `relayed_offset` once the range stands on top of `head`."""
        if (
            self.journal_seq < head.seq
            or (self.outcome_offset is not None and self.outcome_offset < head.next_offset)
            or (self.dead_letter_offset is not None and head.relayed_offset < head.next_offset)
        ):
            return head.relayed_offset  # something below waits already
        part, lines = verified.proof.shards[0], verified.lines
        bounds = [int(part.source.next_offset)]
        if lines is not None and self.journal_seq < int(part.last_seq):
            waiting = lines.entries[max(0, self.journal_seq + 1 - int(part.first_seq))]
            bounds.append(head.relayed_offset if waiting is None else int(waiting.source.offset))
        if self.outcome_offset is not None:
            bounds.append(self.outcome_offset)
        if lines is not None and self.dead_letter_offset is not None:
            bounds += [
                int(verdict.offset)
                for verdict in lines.verdicts
                if has_original(verdict) and int(verdict.offset) >= self.dead_letter_offset
            ][:1]
        return max(head.relayed_offset, min(bounds))
