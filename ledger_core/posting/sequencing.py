"""Giving a batch of one shard its verdicts, its places in the chain and the shard its new head. Pure.

Guarantees: every offset from the head's `next_offset` on gets exactly one verdict (G3); one event id keeps the verdict
it got first, inside a batch as across batches (G2); the outcome does not depend on where batches are cut.
Does not: ask the database. The caller hands in what is `known` of the event ids of the batch, and commits the plan with
a compare-and-swap of the head it was made from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from ledger_core.books.entries import decode_entry
from ledger_core.chain import link
from ledger_core.errors import Corrupt, RejectReason
from ledger_core.ports import Record
from ledger_core.posting.entry_bytes import entry_bytes
from ledger_core.posting.plans import Activation, Decided, Draft, Known, Plan, Posted, Rejection, ShardHead, Verdict
from ledger_core.posting.rules import content_hash, content_of, differing_fields
from ledger_core.posting.verdicts import ALREADY_POSTED, VerdictLine, activation_reason, encode_verdict, for_people


def event_ids(batch: Sequence[Decided]) -> tuple[list[str], list[str]]:
    """The event ids whose first verdict must be looked up: those whose content is compared with what was posted, and
    those that are only named (by a reversal, or by a record that is bad by itself). May hold repeats."""
    compared, named = [], []
    for item in batch:
        outcome = item.outcome
        if isinstance(outcome, Draft):
            compared.append(outcome.event_id)
            if outcome.reverses is not None:
                named.append(outcome.reverses)
        elif isinstance(outcome, Rejection) and outcome.event_id is not None:
            named.append(outcome.event_id)
    return compared, named


def sequence(head: ShardHead, batch: Sequence[Decided], known: Mapping[str, Known], *, upto: int | None = None) -> Plan:
    """Plan the batch on top of `head`, then the offsets without a record below `upto`. `batch` is in offset order and
    starts at or after `head.next_offset`.

    `known` maps event ids (those of `event_ids`, both lists) to their first verdict, where they have one; those of the
    first list, if posted, with the body.
    Raises Corrupt when an offset is below one that was taken: readers give each offset once, in order.
    """
    builder = _Builder(head, known)
    for item in batch:
        builder.skip_to(item.record.offset)
        builder.take(item)
    if upto is not None:
        builder.skip_to(upto)
    return builder.plan()


class _Builder:
    def __init__(self, head: ShardHead, known: Mapping[str, Known]) -> None:
        self.head = head
        self.known = known
        self.seq = head.seq
        self.prev = head.head_hash
        self.next_offset = head.next_offset
        self.rules = head.rules
        self.posted: list[Posted] = []
        self.verdicts: list[Verdict] = []
        self.duplicates = 0
        # First verdicts given in this batch.
        self.posted_here: dict[str, Posted] = {}
        self.rejected_here: dict[str, Known] = {}

    def skip_to(self, offset: int) -> None:
        """Account for offsets that hold no record: markers and records of aborted transactions."""
        if offset < self.next_offset:
            raise Corrupt(f"shard {self.head.shard}: offset {offset} came where {self.next_offset} was due")
        for missing in range(self.next_offset, offset):
            detail = "no committed record at this offset"
            self._reject(missing, RejectReason.NO_RECORD, detail, None, None, record=None, first=False)
        self.next_offset = offset

    def take(self, item: Decided) -> None:
        record, outcome = item.record, item.outcome
        if isinstance(outcome, Draft):
            first = self._first(outcome.event_id)
            if first is not None:
                self._again(record, outcome, first)
            elif outcome.reverses is not None and not self._is_posted_here(outcome.reverses):
                detail = f"reverses {outcome.reverses}, which this shard has not posted"
                digest = content_hash(content_of(outcome))
                self._reject(
                    record.offset, RejectReason.UNKNOWN_REVERSAL, detail, outcome.event_id, digest, record, first=True
                )
            else:
                self._post(record, outcome)
        elif isinstance(outcome, Activation):
            self._activate(record, outcome)
        else:
            event_id = outcome.event_id
            if outcome.reason is RejectReason.UNREADABLE:
                self._reject(record.offset, outcome.reason, outcome.detail, None, None, record=None, first=False)
                self.next_offset = record.offset + 1
                return
            is_first = event_id is not None and self._first(event_id) is None
            self._reject(
                record.offset, outcome.reason, outcome.detail, event_id, outcome.content_hash, record, first=is_first
            )
        self.next_offset = record.offset + 1

    def _post(self, record: Record, draft: Draft) -> None:
        self.seq += 1
        body = entry_bytes(draft, self.head.shard, self.seq, record)
        entry_hash = link(body, self.prev)
        self.prev = entry_hash
        posted = Posted(self.seq, record, entry_hash, body, draft)
        self.posted.append(posted)
        self.posted_here[draft.event_id] = posted

    def _again(self, record: Record, draft: Draft, first: Known) -> None:
        """The event id has its verdict: the same content gets the same answer, other content is a conflict."""
        content = content_of(draft)
        digest = content_hash(content)
        if not first.is_posted:
            if first.content_hash == digest:
                detail = "the same event was rejected before; an event id keeps its verdict"
                self._reject(
                    record.offset, RejectReason(first.reason), detail, draft.event_id, digest, record, first=False
                )
                return
            detail = f"event id was rejected before ({first.reason}); send a corrected event under a new event id"
        else:
            assert first.body is not None  # noqa: S101  # it is one of those to compare (`event_ids`)
            original = content_of(decode_entry(first.body))
            differing = differing_fields(content, original)
            if not differing and first.shard == self.head.shard:
                self._duplicate(record, draft.event_id, digest, first.seq)
                return
            detail = f"event id is posted already (shard {first.shard}, seq {first.seq}) with other content: " + (
                ", ".join(differing) or "another shard"
            )
        self._reject(record.offset, RejectReason.CONFLICT, detail, draft.event_id, digest, record, first=False)

    def _duplicate(self, record: Record, event_id: str, digest: bytes, seq: int) -> None:
        self.duplicates += 1
        reason = ALREADY_POSTED
        line = _line("duplicate", record.offset, reason, event_id, digest, record)
        detail = f"posted before as seq {seq}"
        self.verdicts.append(
            Verdict(record.offset, "duplicate", reason, event_id, digest, False, detail, line, record, seq)
        )

    def _activate(self, record: Record, activation: Activation) -> None:
        """From the next offset on other rules judge. The offset itself posts nothing, and has no dead letter."""
        if activation.rules != self.rules + 1:
            raise Corrupt(
                f"shard {self.head.shard}, offset {record.offset}: rules {activation.rules} were activated where rules "
                f"{self.rules} are in force"
            )
        self.rules = activation.rules
        reason, digest = activation_reason(activation.rules), activation.content_hash
        line = _line("rejected", record.offset, reason, None, digest, record)
        self.verdicts.append(
            Verdict(
                record.offset, "rejected", reason, None, digest, False, for_people(activation.detail), line, None, 0
            )
        )

    def _reject(
        self,
        offset: int,
        reason: RejectReason,
        detail: str,
        event_id: str | None,
        digest: bytes | None,
        record: Record | None,
        *,
        first: bool,
    ) -> None:
        line = _line("rejected", offset, reason.value, event_id, digest, record)
        self.verdicts.append(
            Verdict(offset, "rejected", reason.value, event_id, digest, first, for_people(detail), line, record, 0)
        )
        if first and event_id is not None:
            self.rejected_here[event_id] = Known(self.head.shard, 0, None, digest, reason.value)

    def _first(self, event_id: str) -> Known | None:
        """The verdict that the event id has already, from before this batch or in it."""
        posted = self.posted_here.get(event_id)
        if posted is not None:
            return Known(self.head.shard, posted.seq, posted.body)
        return self.known.get(event_id) or self.rejected_here.get(event_id)

    def _is_posted_here(self, event_id: str) -> bool:
        first = self._first(event_id)
        return first is not None and first.is_posted and first.shard == self.head.shard

    def plan(self) -> Plan:
        head = self.head
        posted, rejected = len(self.posted), len(self.verdicts) - self.duplicates
        after = ShardHead(
            shard=head.shard,
            topic=head.topic,
            first_offset=head.first_offset,
            next_offset=self.next_offset,
            seq=self.seq,
            head_hash=self.prev,
            accounts=head.accounts,  # the store opens accounts, in the order of the lines
            posted=head.posted + posted,
            duplicates=head.duplicates + self.duplicates,
            rejected=head.rejected + rejected,
            relayed_offset=head.relayed_offset,
            rules=self.rules,
        )
        return Plan(head, after, self.posted, self.verdicts)


def _line(
    kind: Literal["duplicate", "rejected"],
    offset: int,
    reason: str,
    event_id: str | None,
    digest: bytes | None,
    record: Record | None,
) -> bytes:
    return encode_verdict(
        VerdictLine(
            content_hash=None if digest is None else digest.hex(),
            event_id=event_id,
            key_sha256=None if record is None else _sha256(record.key),
            offset=str(offset),
            reason=reason,
            value_sha256=None if record is None else _sha256(record.value),
            verdict=kind,
        )
    )


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
