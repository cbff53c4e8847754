"""Why a shard of this process posts nothing just now: all posting is halted, it alone is, it has to go slowly, or rules
are in force there that this version of finance does not know.

Guarantees: a halt of one shard delays no other; it is on record before the shard stands still, and ends only by an
operator's decision, which the database keeps. Going slowly says so (log, metrics) and ends by itself; so does
waiting for a version that knows the rules: it stands in no database, and a newer process goes on at once.
Does not: pause a partition (`consumers.posting.poster` does), or change a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import structlog

from consumers.metrics import Metrics
from consumers.posting.dead_letter_limit import DeadLetterLimit
from ledger_core.books.rule_versions import FIRST_RULES, VERSIONS, unknown_rules
from ledger_core.posting.store_port import HaltKind, PosterStore, ShardHalt

HALT_POLL_SECONDS: Final = 0.5
DETAIL_CHARS_MAX: Final = 1000
REMEDIES: Final[dict[HaltKind, str]] = {
    "dead_letters": "mend or shut out the publisher, then `finance resume --shard N` (RUNBOOK, section 13 E)",
    "refused": "install a version of finance that mends it, then `finance resume --shard N` (RUNBOOK, section 13 E)",
    "unreadable": "`finance shards skip` sets it aside, on record (RUNBOOK, section 13 E)",
}

log = structlog.get_logger("poster")


class Stops:
    """Of the shards of one process. `new_limit` makes the dead-letter limit of a shard."""

    def __init__(
        self,
        store: PosterStore,
        metrics: Metrics,
        new_limit: Callable[[], DeadLetterLimit],
        slow_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._new_limit = new_limit
        self._slow_seconds = slow_seconds
        self._monotonic = monotonic
        self._halted = False
        self._halts: dict[int, ShardHalt] = {}
        self._slow_until: dict[int, float] = {}
        self._rules: dict[int, int] = {}
        self._limits: dict[int, DeadLetterLimit] = {}
        self._looked_at = float("-inf")

    def limit(self, shard: int) -> DeadLetterLimit:
        """The shard's dead-letter limit."""
        found = self._limits.get(shard)
        if found is None:
            found = self._limits[shard] = self._new_limit()
        return found

    def stopped(self, shard: int) -> bool:
        """Whether the shard stands still."""
        return self._halted or self._is_halted(shard) or shard in self._slow_until or not self._knows_rules(shard)

    def opened(self, shard: int, rules: int) -> None:
        """The shard becomes ours, with these rules in force: what was decided of it holds from its first record on.
        Raises Unavailable."""
        self._take_rules(shard, rules)
        self._ask([shard])

    def look(self, shards: Iterable[int]) -> list[int]:
        """Ask the store when it is time; the shards that stand still now and did not before, or the other way round.
        Raises Unavailable."""
        owned = sorted(shards)
        before = {shard: self.stopped(shard) for shard in owned}
        moment = self._monotonic()
        self._slow_until = {shard: until for shard, until in self._slow_until.items() if until > moment}
        if moment - self._looked_at >= HALT_POLL_SECONDS:
            self._looked_at = moment
            self._ask(owned)
        return [shard for shard in owned if self.stopped(shard) != before[shard]]

    def look_at_once(self) -> None:
        """What is known may be old: the next `look` asks."""
        self._looked_at = float("-inf")

    def halt(self, shard: int, kind: HaltKind, at_offset: int, detail: str) -> None:
        """Halt the shard, on record. Raises Unavailable."""
        self._store.halt_shard(shard, kind, at_offset, _plain(detail))
        log.error("poster.shard_halted", shard=shard, kind=kind, offset=at_offset, reason=detail, remedy=REMEDIES[kind])
        self._ask([shard])

    def set_aside_end(self, shard: int, offset: int) -> int | None:
        """Up to which offset an operator set aside what stands at `offset`; None where nobody decided so. Raises
        Unavailable."""
        self._ask([shard])
        halt = self._halts.get(shard)
        if halt is None or not halt.resumed or halt.kind != "unreadable" or halt.set_aside_offset is None:
            return None
        return halt.set_aside_offset if halt.at_offset <= offset < halt.set_aside_offset else None

    def posted(self, shard: int, records: int, rejected: int, rules: int) -> bool:
        """Count a batch that was written, behind which `rules` are in force; True when the shard has to wait."""
        self._take_rules(shard, rules)
        limit = self.limit(shard)
        was_near = limit.near
        limit.add(records, rejected)
        if limit.near != was_near:
            if limit.near:
                log.warning("poster.slowed", shard=shard, remedy="the dead-letter limit is near: see finance dlq list")
            self._tell(shard)
        if not (limit.near and rejected):
            return False
        self._slow_until[shard] = self._monotonic() + self._slow_seconds
        return True

    def forget(self, shard: int) -> None:
        """The shard went to another process."""
        self._halts.pop(shard, None)
        self._slow_until.pop(shard, None)
        self._limits.pop(shard, None)
        self._rules.pop(shard, None)

    def _take_rules(self, shard: int, rules: int) -> None:
        if self._rules.get(shard) == rules:
            return
        self._rules[shard] = rules
        known = self._knows_rules(shard)
        self._metrics.rules(shard, rules, known=known)
        if not known:
            unknown = unknown_rules(rules)
            log.error("poster.rules_unknown", shard=shard, reason=unknown.message, remedy=unknown.remedy)

    def _knows_rules(self, shard: int) -> bool:
        return self._rules.get(shard, FIRST_RULES) in VERSIONS

    def _ask(self, shards: list[int]) -> None:
        halted = self._store.is_halted()
        if halted != self._halted:
            log.warning("poster.halted" if halted else "poster.resumed")
            self._halted = halted
            self._metrics.halted(halted)
        found = self._store.shard_halts(shards)
        for shard in shards:
            was_halted, halt = self._is_halted(shard), found.get(shard)
            if halt is not None:
                self._halts[shard] = halt
                self.limit(shard).allow(halt.allowed_offset)
            if was_halted and not self._is_halted(shard):
                log.warning("poster.shard_resumed", shard=shard)
            self._tell(shard)

    def _is_halted(self, shard: int) -> bool:
        halt = self._halts.get(shard)
        return halt is not None and not halt.resumed

    def _tell(self, shard: int) -> None:
        self._metrics.stopped(shard, halted=self._is_halted(shard), slowed=self.limit(shard).near)


def _plain(detail: str) -> str:
    """A halt's detail as its column takes it: one line of printable ASCII. A server's own words may be any."""
    return "".join(char if " " <= char <= "~" else "?" for char in " ".join(detail.split()))[:DETAIL_CHARS_MAX]
