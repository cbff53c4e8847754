"""Who came first where two shards saw one event id: the plan of a batch that takes this one fact from a verdict log.

Guarantees: pure. Everything else of a verdict is computed again from the record; what two shards both claim, and no log
decides, is Refused and never guessed.
Does not: read a log: a replay asks the ledger or the archive, a poster after a restore the outcomes topic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ledger_core.errors import Refused, RejectReason
from ledger_core.posting.plans import Decided, Known, Plan, Rejection, ShardHead, Verdict
from ledger_core.posting.sequencing import sequence

ELSEWHERE: Final = -1  # a log that does not say which shard came first


class FirstVerdicts:
    """Who came first, for the event ids of one batch: this shard as far as it has come, or another as the log says."""

    def __init__(
        self,
        shard: int,
        known: Mapping[str, Known],
        taken: Mapping[int, tuple[str, Known]],
        *,
        knows_first: bool,
    ) -> None:
        self.shard = shard
        self.foreign = {event_id: first for event_id, first in known.items() if first.shard != shard}
        self.taken = taken
        self.knows_first = knows_first
        self.known = {event_id: first for event_id, first in known.items() if first.shard == shard}
        self.elsewhere: dict[str, Known] = {}
        if knows_first:
            for event_id, first in taken.values():
                self._take(event_id, first)

    def _take(self, event_id: str, first: Known) -> None:
        if event_id in self.known:
            return
        if not self.knows_first:  # of several lines about one event id, a reversal's says what the first content was
            reason = RejectReason.UNKNOWN_REVERSAL
            same = [known for other, known in self.taken.values() if other == event_id and known.reason == reason]
            first = same[0] if same else first
        # The target may hold the other shard's entry already: its body says more than the log's line.
        foreign = self.foreign.get(event_id)
        self.elsewhere[event_id] = first if foreign is None or not foreign.is_posted else foreign

    def plan(self, head: ShardHead, batch: Sequence[Decided], *, upto: int | None = None) -> Plan:
        """The plan in which no offset posts that the log says was rejected because of another shard."""
        for item in batch:  # a record that is bad by itself is rejected either way: only whose is first may differ
            outcome = item.outcome
            if isinstance(outcome, Rejection) and outcome.event_id in self.foreign:
                self.elsewhere.setdefault(outcome.event_id, self.foreign[outcome.event_id])
        while True:
            plan = sequence(head, batch, {**self.known, **self.elsewhere}, upto=upto)
            offsets = [entry.record.offset for entry in plan.posted if entry.record.offset in self.taken]
            if (
                not self.knows_first
            ):  # then the log's own words are all there is: what differs from them depends on another
                offsets += [v.offset for v in plan.verdicts if v.reason != self._said(v)]
            more = [self.taken[offset] for offset in offsets]
            more = [(event_id, first) for event_id, first in more if event_id not in self.elsewhere]
            if not more:
                return plan
            for event_id, first in more:
                self._take(event_id, first)

    def _said(self, verdict: Verdict) -> str:
        """The reason that the log has at the offset; the verdict's own where it has none."""
        said = self.taken.get(verdict.offset)
        return verdict.reason if said is None else said[1].reason

    def settled(self, plan: Plan, *, covered: bool) -> Plan:
        """The plan, with every event id's first verdict in one shard only. Raises Refused when this shard and another
        one both claim an event id, and nothing says who came first.

        The archive's lines do not say whether a rejection was its event id's first verdict: there the shard that this
        replay came to first has it, no line changes by that, and what the log has as posted is posted all the same.
        """
        claims = [(entry.draft.event_id, entry.record.offset) for entry in plan.posted]
        if covered and not self.knows_first:
            claims = [claim for claim in claims if claim[0] in self.foreign and self.foreign[claim[0]].is_posted]
        verdicts = list(plan.verdicts)
        for number, verdict in enumerate(verdicts):
            if not verdict.first_verdict or verdict.event_id not in self.foreign:
                continue
            said = self.taken.get(verdict.offset)
            if said is not None and not said[1].is_posted and said[1].reason == verdict.reason:
                verdicts[number] = msgspec.structs.replace(verdict, first_verdict=False)
            else:
                claims.append((verdict.event_id, verdict.offset))
        for event_id, offset in claims:
            if event_id in self.foreign:
                raise self._undecided(event_id, offset, covered=covered)
        return msgspec.structs.replace(plan, verdicts=verdicts)

    def _undecided(self, event_id: str, offset: int, *, covered: bool) -> Refused:
        place = (
            f"event id {event_id} is asked for at shard {self.shard}, offset {offset}, and has its verdict in shard "
            f"{self.foreign[event_id].shard} already"
        )
        if covered:
            return Refused(
                f"{place}, where the verdict log does not have it: the target is not a prefix of this ledger",
                remedy="give an empty database to --into",
            )
        return Refused(
            f"{place}: which of them came first is written in no topic, only in the verdict log",
            remedy="name the log with --compare database or --compare archive, and an empty database; where no log "
            "reaches so far, let the poster go on from here: the first commit decides, as always",
        )

    def told(self, plan: Plan) -> list[int]:
        """The offsets of the plan whose verdict took from the log, or the other shard, who came first."""
        return [v.offset for v in plan.verdicts if v.kind == "rejected" and v.event_id in self.elsewhere]
