"""The rules that need one record alone: decode, then draft. Pure: the same record gives the same decision.

Guarantees: each record is judged by the rules in force where it stands: those of the shard's head, until a control
record among the records puts the next ones in force. Where batches are cut changes nothing.
Does not: judge what stands behind rules that this version of finance does not know: there the records end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from ledger_core.books.event_rules import check_recorded_at
from ledger_core.books.rule_versions import RULES_1, VERSIONS, RuleSet
from ledger_core.errors import Rejected, RejectReason
from ledger_core.ports import Record
from ledger_core.posting.activation import is_control
from ledger_core.posting.plans import Activation, Decided, Rejection
from ledger_core.posting.rules import claimed_event_id, draft
from schemas.wire.settlements import decode_settlement

UNREADABLE_DETAIL: Final = "no reader can read what is there; set aside by a decision of an operator"


def set_aside(topic: str, shard: int, offset: int) -> Decided:
    """What an offset becomes that nothing can read: the same wherever it is decided, by the poster or at a replay."""
    nothing = Record(topic, shard, offset, 0, None, None)
    return Decided(nothing, Rejection(RejectReason.UNREADABLE, UNREADABLE_DETAIL, None, b""))


class Judge(Protocol):
    """Who judges control records: `ledger_core.posting.activation.RulesJudge`."""

    def judge(self, record: Record, rules: int) -> Activation:
        """The activation that the record is, where these rules are in force. Raises Rejected."""
        ...


Decide = Callable[[Record, RuleSet], Decided]
"""What becomes of one record where these rules are in force."""


def decide(record: Record, rules: RuleSet = RULES_1, judge: Judge | None = None) -> Decided:
    """A draft of its entry, the rules that it puts in force, or the reason why there will be neither. Without a judge a
    control record is what it is as an event: malformed."""
    fields = None
    try:
        check_recorded_at(record.timestamp_ms)
        fields = decode_settlement(record.value)
        return Decided(record, draft(fields, record.key, rules))
    except Rejected as rejected:
        if judge is not None and rejected.reason is RejectReason.MALFORMED and is_control(record.value):
            return _judged(record, rules, judge)
        event_id = None if fields is None else claimed_event_id(fields)
        return Decided(record, Rejection(rejected.reason, rejected.detail, event_id, _digest(record)))


def decisions(records: Iterable[Record], rules: int, decide_one: Decide) -> Iterator[Decided]:
    """What becomes of records that follow each other, where `rules` are in force before the first of them. Ends behind
    the control record of rules that are not known; where such are in force already, there is nothing."""
    in_force = VERSIONS.get(rules)
    if in_force is None:
        return
    for record in records:
        item = decide_one(record, in_force)
        yield item
        outcome = item.outcome
        if isinstance(outcome, Activation):
            in_force = VERSIONS.get(outcome.rules)
            if in_force is None:
                return


def _judged(record: Record, rules: RuleSet, judge: Judge) -> Decided:
    try:
        return Decided(record, judge.judge(record, rules.number))
    except Rejected as rejected:
        return Decided(record, Rejection(rejected.reason, rejected.detail, None, _digest(record)))


def _digest(record: Record) -> bytes:
    return hashlib.sha256(record.value or b"").digest()
