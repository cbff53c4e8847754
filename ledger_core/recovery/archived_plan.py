"""A verified range of the archive on top of a shard's head: the plan that posting it made. Pure.

Guarantees: the plan holds exactly what of the range the head does not hold yet, entry by entry and verdict by verdict,
and its `after` is the head that the range's proof names; a head that is not a prefix of the range is Refused.
Does not: have what the archive leaves out on purpose: personal data, the originals of rejected records, and the words
beside a rejection. Its verdicts carry no record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from ledger_core.books.entries import EntryFields
from ledger_core.errors import Corrupt, Refused, RejectReason
from ledger_core.ports import Record
from ledger_core.posting.plans import Draft, Known, Plan, Posted, ShardHead, Verdict
from ledger_core.posting.verdicts import NOTHING_READ, VerdictLine, activated_rules
from ledger_core.times import parse_time
from ledger_core.verify.archive_walk import VerifiedRange

NO_RECORD_DETAIL: Final = "no committed record at this offset"  # as `ledger_core.posting.sequencing` says it
NOT_HELD: Final = ""  # the detail of a rejection: for people, and not in the archive
NEVER_FIRST: Final = NOTHING_READ | {RejectReason.CONFLICT.value}


def event_ids_to_look_up(verified: VerifiedRange) -> tuple[list[str], bool]:
    """The event ids of its verdicts, and whether one of them may be the first verdict of its event id."""
    verdicts = verified.lines.verdicts if verified.lines is not None else []
    ids = [verdict.event_id for verdict in verdicts if verdict.event_id is not None]
    return ids, any(_may_be_first(verdict) for verdict in verdicts)


def plan_of(head: ShardHead, verified: VerifiedRange, known: Mapping[str, Known]) -> Plan:
    """The plan of what `head` lacks of the range. `known`: first verdicts of `event_ids_to_look_up`.

    Raises Refused when the head is not a prefix of the range (or not of what is before it), Corrupt for an entry that
    the tables cannot store.
    """
    part, lines = verified.proof.shards[0], verified.lines
    assert lines is not None  # noqa: S101  # whoever plans asked the walk to keep them
    check_prefix(head, verified)
    first_seq = int(part.first_seq)
    start = max(0, head.seq + 1 - first_seq)
    posted = [
        _posted(seq, entry, body, entry_hash)
        for seq, (entry, body, entry_hash) in enumerate(
            zip(lines.entries[start:], lines.bodies[start:], lines.hashes[start:], strict=True), first_seq + start
        )
    ]
    verdicts = _Verdicts(verified.shard, posted, known).of(
        [
            (verdict, line)
            for verdict, line in zip(lines.verdicts, lines.verdict_lines, strict=True)
            if int(verdict.offset) >= head.next_offset
        ]
    )
    rejected = sum(verdict.kind == "rejected" for verdict in verdicts)
    after = ShardHead(
        shard=head.shard,
        topic=head.topic,
        first_offset=head.first_offset,
        next_offset=max(head.next_offset, int(part.source.next_offset)),
        seq=head.seq + len(posted),
        head_hash=posted[-1].entry_hash if posted else head.head_hash,
        accounts=head.accounts,
        posted=head.posted + len(posted),
        duplicates=head.duplicates + len(verdicts) - rejected,
        rejected=head.rejected + rejected,
        relayed_offset=head.relayed_offset,
        rules=max((n for v in verdicts if (n := activated_rules(v.reason)) is not None), default=head.rules),
    )
    return Plan(head, after, posted, verdicts)


def check_prefix(head: ShardHead, verified: VerifiedRange) -> None:
    """Raise Refused unless the history up to `head`, as far as the range reaches, is that of the archive."""
    part, lines = verified.proof.shards[0], verified.lines
    source = part.source
    first_seq, last_seq = int(part.first_seq), int(part.last_seq)
    place = f"shard {head.shard}, archive range {verified.range_no} (seq {first_seq}..{last_seq})"
    if head.topic != source.topic:
        raise not_a_prefix(f"{place} grew from topic {source.topic}, the database's from {head.topic}")
    if head.seq < first_seq - 1 or head.next_offset < int(source.first_offset):
        raise not_a_prefix(f"{place} begins after the database's head {head.seq}, offset {head.next_offset}")
    if head.seq > last_seq or lines is None:
        return  # the head lies behind this range: `held_hash` is asked instead
    expected = part.prev_hash if head.seq == first_seq - 1 else lines.hashes[head.seq - first_seq].hex()
    if (head.head_hash.hex() if head.head_hash else None) != expected:
        raise not_a_prefix(f"{place} has another entry at seq {head.seq} than the database")
    if head.next_offset <= int(source.next_offset):
        posted = [int(entry.source.offset) for entry in lines.entries if entry is not None]
        if sum(offset < head.next_offset for offset in posted) != head.seq - first_seq + 1:
            raise not_a_prefix(f"{place} posted other offsets below {head.next_offset} than the database")


def not_a_prefix(message: str) -> Refused:
    """What a database hears that holds something else than the archive."""
    return Refused(
        f"this database is not a prefix of the archive: {message}",
        remedy="rebuild into an empty database; keep this one until you know what it contains",
    )


def _posted(seq: int, entry: EntryFields | None, body: bytes, entry_hash: bytes) -> Posted:
    if entry is None or len(entry.event_id) != 36:
        raise Corrupt(f"seq {seq}: the archive's entry has no event id that is a UUID")
    source = entry.source
    record = Record(source.topic, source.partition, int(source.offset), _timestamp_ms(entry.recorded_at), None, None)
    return Posted(seq, record, entry_hash, body, _draft(entry))


@lru_cache(maxsize=4096)  # the broker's append time: one batch of records shares few
def _timestamp_ms(recorded_at: str) -> int:
    return round(parse_time(recorded_at).timestamp() * 1000)


def _draft(entry: EntryFields) -> Draft:
    return Draft(
        event_id=entry.event_id,
        event_type=entry.event_type,
        settlement_id=entry.settlement_id,
        order_id=entry.order_id,
        occurred_at_us=0,  # stands in the body; nothing writes it
        lines=[(leg.account, leg.side, int(leg.amount_minor), leg.currency, None) for leg in entry.lines],
        metadata=entry.metadata,
        provider=None,  # likewise
        reverses=entry.reverses,
        pii_digest=entry.pii_digest,
    )


def _may_be_first(verdict: VerdictLine) -> bool:
    return verdict.verdict == "rejected" and verdict.event_id is not None and verdict.reason not in NEVER_FIRST


class _Verdicts:
    """Verdict lines as rows. A rejection is its event id's first verdict when nothing had the id before it."""

    def __init__(self, shard: int, posted: Sequence[Posted], known: Mapping[str, Known]) -> None:
        self._shard = shard
        self._known = known
        self._here = {entry.draft.event_id: (entry.record.offset, entry.seq) for entry in posted}
        self._first: set[str] = set()

    def of(self, lines: Sequence[tuple[VerdictLine, bytes]]) -> list[Verdict]:
        return [self._verdict(verdict, line) for verdict, line in lines]

    def _verdict(self, verdict: VerdictLine, line: bytes) -> Verdict:
        event_id, offset = verdict.event_id, int(verdict.offset)
        digest = None if verdict.content_hash is None else bytes.fromhex(verdict.content_hash)
        seq = 0
        detail = NO_RECORD_DETAIL if verdict.reason == RejectReason.NO_RECORD else NOT_HELD
        if verdict.verdict == "duplicate" and event_id is not None:
            seq = self._seq_of(event_id)
            detail = f"posted before as seq {seq}"
        first = event_id is not None and _may_be_first(verdict) and self._is_free(event_id, offset)
        if first and event_id is not None:
            self._first.add(event_id)
        return Verdict(offset, verdict.verdict, verdict.reason, event_id, digest, first, detail, line, None, seq)

    def _seq_of(self, event_id: str) -> int:
        if event_id in self._here:
            return self._here[event_id][1]
        known = self._known.get(event_id)
        if known is None or known.shard != self._shard or not known.is_posted:
            raise Corrupt(f"shard {self._shard}: the archive calls {event_id} a duplicate, and no entry has that id")
        return known.seq

    def _is_free(self, event_id: str, offset: int) -> bool:
        here = self._here.get(event_id)
        return event_id not in self._known and event_id not in self._first and (here is None or here[0] > offset)
