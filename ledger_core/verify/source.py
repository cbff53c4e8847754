"""Comparing the records of a settlements partition with what an archive says became of them. Pure.

An entry and a verdict line commit to their record: offset, key, SHA-256 of the value, the broker's time, verdict. So
whoever reads the topic again finds what was dropped, added, changed or put in another order since, and, because the
rules are public, what was judged otherwise than they say.
Guarantees: every offset of a range is compared once, in order; offsets in a row that lack their record are one finding.
Does not: judge what depends on other records: whether a repeat was one, and whether what is reversed was posted. The
archive's own check follows these references, and a replay makes the whole ledger again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from ledger_core.books.entries import EntryFields
from ledger_core.books.rule_versions import FIRST_RULES, RuleSet, rules_of
from ledger_core.errors import RejectReason
from ledger_core.findings import Collector
from ledger_core.ports import Record
from ledger_core.posting.entry_bytes import entry_bytes
from ledger_core.posting.plans import Activation, Decided, Draft, Rejection
from ledger_core.posting.rules import content_hash, content_of
from ledger_core.posting.verdicts import NOTHING_READ, VerdictLine, activated_rules, activation_reason
from ledger_core.times import format_time_us
from ledger_core.verify.archive_walk import VerifiedRange

Decide = Callable[[Record, RuleSet], Decided]
"""What becomes of a record by itself where these rules are in force."""

# What an event that is well-formed can still come to: it depends on others.
_BY_OTHERS: Final = frozenset({RejectReason.CONFLICT.value, RejectReason.UNKNOWN_REVERSAL.value})


class SourcePlace(NamedTuple):
    """One place of the topic."""

    offset: int  # settlements offset
    record: Record | None  # None: there is something that nobody can read


class SourceCheck:
    """One shard, range by range in order from its first. `decide` applies the posting rules to one record."""

    def __init__(self, shard: int, decide: Decide, found: Collector) -> None:
        self._shard = shard
        self._decide = decide
        self._found = found
        self._rules = FIRST_RULES
        self._topic = ""
        self._activating: frozenset[int] = frozenset()

    def activated(self, _shard: int, offset: int) -> bool:
        """Whether the archive says of this offset that it put rules in force: for `RulesJudge.told`, so that a key
        revoked later changes no verdict."""
        return offset in self._activating

    def take(self, verified: VerifiedRange, reads: Iterable[SourcePlace]) -> None:
        """Compare one range with what the topic holds from its first offset up to its next. Needs the range's lines.

        Raises UnknownRules where this version of finance does not know the rules in force.
        """
        source, lines = verified.proof.shards[0].source, verified.lines
        assert lines is not None  # noqa: S101  # whoever compares asked the walk to keep them
        self._topic = source.topic
        said: dict[int, tuple[EntryFields | None, bytes, VerdictLine | None]] = {}
        for entry, body in zip(lines.entries, lines.bodies, strict=True):
            assert entry is not None  # noqa: S101  # the range was verified: each of its lines is an entry
            said[int(entry.source.offset)] = (entry, body, None)
        said.update({int(verdict.offset): (None, b"", verdict) for verdict in lines.verdicts})
        self._activating = frozenset(int(it.offset) for it in lines.verdicts if activated_rules(it.reason) is not None)
        for read in self._in_step(int(source.first_offset), int(source.next_offset), reads, said):
            entry, body, verdict = said[read.offset]
            self._found.count("records", 1)
            if entry is not None:
                self._posted(entry, body, read)
            elif verdict is not None:
                self._not_posted(verdict, read)
                self._rules = activated_rules(verdict.reason) or self._rules

    def _in_step(
        self,
        first: int,
        end: int,
        reads: Iterable[SourcePlace],
        said: dict[int, tuple[EntryFields | None, bytes, VerdictLine | None]],
    ) -> Iterator[SourcePlace]:
        """Every place of the topic; between them, what should have a record and has none is found."""
        due = first
        for read in reads:
            self._dropped(due, read.offset, said)
            yield read
            due = read.offset + 1
        self._dropped(due, end, said)

    def _dropped(
        self, first: int, end: int, said: dict[int, tuple[EntryFields | None, bytes, VerdictLine | None]]
    ) -> None:
        start = None
        for offset in range(first, end + 1):
            verdict = said[offset][2] if offset < end else None
            lacks = offset < end and (verdict is None or verdict.reason != RejectReason.NO_RECORD)
            if lacks and start is None:
                start = offset
            elif not lacks and start is not None:
                offsets = f"offset {start}" if offset == start + 1 else f"offsets {start} to {offset - 1}"
                self._add("source.dropped", start, None, f"{offsets}: what was judged there is in the topic no more")
                start = None
            if verdict is not None:
                self._rules = activated_rules(verdict.reason) or self._rules
            if offset < end and not lacks:
                self._found.count("offsets_without_a_record", 1)

    def _posted(self, entry: EntryFields, body: bytes, read: SourcePlace) -> None:
        record, seq = read.record, int(entry.seq)
        if record is None:
            self._add("source.changed", read.offset, seq, "nobody can read the record that was posted")
            return
        if self._differs(
            record, entry.source.value_sha256, hashlib.sha256(entry.settlement_id.encode()).hexdigest(), seq
        ):
            return
        if format_time_us(record.timestamp_ms * 1000) != entry.recorded_at:
            self._add("source.changed", read.offset, seq, f"another time than {entry.recorded_at}", "recorded_at")
            return
        outcome = self._decide(record, rules_of(self._rules)).outcome
        if not isinstance(outcome, Draft):
            self._add(
                "source.verdict", read.offset, seq, f"it was posted, and the rules say: {_words(outcome)}", "verdict"
            )
        elif entry_bytes(outcome, self._shard, seq, record) != body:
            self._add("source.verdict", read.offset, seq, "the rules make another entry of the record", "entry")

    def _not_posted(self, verdict: VerdictLine, read: SourcePlace) -> None:
        record, reason = read.record, verdict.reason
        if reason in NOTHING_READ:
            if reason == RejectReason.NO_RECORD or record is not None:
                self._add("source.added", read.offset, None, f"a record stands where the verdict is {reason}", "value")
            return
        if record is None:
            self._add("source.changed", read.offset, None, "nobody can read the record that was judged")
            return
        if not self._differs(record, verdict.value_sha256, verdict.key_sha256, None):
            outcome = self._decide(record, rules_of(self._rules)).outcome
            fault = _fault(verdict, outcome)
            if fault is not None:
                self._add("source.verdict", read.offset, None, fault, "verdict")

    def _differs(self, record: Record, value_sha256: str | None, key_sha256: str | None, seq: int | None) -> bool:
        for name, have, wanted in (("value", record.value, value_sha256), ("key", record.key, key_sha256)):
            if (None if have is None else hashlib.sha256(have).hexdigest()) != wanted:
                self._add("source.changed", record.offset, seq, f"the record has another {name}", name)
                return True
        return False

    def _add(self, code: str, offset: int, seq: int | None, message: str, field: str | None = None) -> None:
        place = f"{self._topic} [{self._shard}] offset {offset}"
        self._found.add(code, message, seq=seq, field=field, place=place)


def _fault(verdict: VerdictLine, outcome: Draft | Rejection | Activation) -> str | None:
    """What the rules say of the record that its verdict does not."""
    if isinstance(outcome, Draft):
        if verdict.verdict == "rejected" and verdict.reason not in _BY_OTHERS:
            return f"it was rejected as {verdict.reason}, and no rule is broken"
        event_id, digest = outcome.event_id, content_hash(content_of(outcome))
    elif isinstance(outcome, Rejection):
        if (verdict.verdict, verdict.reason) != ("rejected", outcome.reason.value):
            return f"it was {verdict.verdict} ({verdict.reason}), and the rules say: {_words(outcome)}"
        event_id, digest = outcome.event_id or "", outcome.content_hash
    else:
        if verdict.reason != activation_reason(outcome.rules):
            return f"it was {verdict.verdict} ({verdict.reason}), and puts rules {outcome.rules} in force"
        event_id, digest = "", outcome.content_hash
    if (verdict.event_id or "", verdict.content_hash) != (event_id, digest.hex()):
        return "the verdict names another event id or another content"
    return None


def _words(outcome: Draft | Rejection | Activation) -> str:
    if isinstance(outcome, Rejection):
        return f"rejected, {outcome.reason.value}: {outcome.detail}"
    return "an entry" if isinstance(outcome, Draft) else f"rules {outcome.rules} are in force behind it"
