"""The poster against a simple model, through everything that can happen to it at once.

Two posters share two shards. Events come valid, repeated, changed, malformed, reversing, with gaps between them, and
under one id in both shards; commits fail before and after they take effect, deliveries stop half-way, members crash,
freeze and wake up as zombies. Whatever happens, the ledger must be the one the model makes of the same records.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumers.kafka.source import OnRevoked, StartOffset
from consumers.posting import relay_backlog
from consumers.posting.decision import decide
from consumers.posting.poster import Poster, PosterLimits
from consumers.posting.relay import Relay, RelayTopics
from ledger_core.errors import Unavailable
from ledger_core.ports import Record
from ledger_core.posting.sequencing import event_ids, sequence
from tests.simulator.checks import StrictMetrics, bytes_of, check_chain_and_counts, check_relayed, check_sound
from tests.simulator.faults import Faults, Mode
from tests.simulator.kafka import MemoryBroker, MemoryPublisher, MemorySource
from tests.simulator.ledger import MemoryLedger, genesis
from tests.simulator.posting import MemoryPosterStore
from tests.support.settlements import TOPIC, event_id, record, sale, settlement
from tests.support.verdict_model import Model, Said

SHARDS = (0, 1)
TOPICS = RelayTopics("journal", "outcomes", "dead_letters")
FAILURES: tuple[tuple[str, Mode], ...] = (
    ("commit", "not applied"), ("commit", "applied"), ("open_shard", "not applied"), ("open_shard", "applied"),
    ("note_relayed", "not applied"), ("note_relayed", "applied"), ("unrelayed", "not applied"), ("stale", "applied"),
    ("flush", "not applied"), ("queue", "not applied"), ("poll", "not applied"),
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Thousands of batches would each write their line."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


shards = st.sampled_from(SHARDS)
numbers = st.integers(0, 7)
variants = st.integers(0, 2)


@dataclass
class Member:
    poster: Poster
    source: MemorySource
    publisher: MemoryPublisher


class PosterMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ledger = MemoryLedger()
        self.broker = MemoryBroker()
        self.faults = Faults()
        self.topic: dict[int, list[Record | None]] = {shard: [] for shard in SHARDS}
        self.said: dict[int, list[Said]] = {shard: [] for shard in SHARDS}
        self.members: dict[int, Member] = {}
        self.owners: dict[int, int] = {0: 0, 1: 0}
        self.clock = itertools.count(1)

    # --- what publishers do ---

    def _append(self, shard: int, said: Said, made: Record | None) -> None:
        self.topic[shard].append(made)
        self.said[shard].append(said)

    def _next(self, shard: int) -> int:
        return len(self.topic[shard])

    @rule(shard=shards, n=numbers, variant=variants, times=st.integers(1, 3))
    def publish_event(self, shard: int, n: int, variant: int, times: int) -> None:
        """The same n again is a duplicate or, with another variant, a conflict; `times` puts it into one batch."""
        for _ in range(times):
            fields = settlement(n, lines=sale(10_000 + variant), occurred_at_us=self._next(shard))
            self._append(shard, Said(n, variant), record(self._next(shard), fields, shard=shard))

    @rule(shard=shards, n=numbers, variant=variants)
    def publish_unbalanced(self, shard: int, n: int, variant: int) -> None:
        lines = [*sale(), ("expense:lost", "debit", 1 + variant, "USD", None)]
        fields = settlement(n, lines=lines)
        self._append(shard, Said(n, variant, "unbalanced"), record(self._next(shard), fields, shard=shard))

    @rule(shard=shards, n=numbers, variant=variants, reversed_n=numbers)
    def publish_reversal(self, shard: int, n: int, variant: int, reversed_n: int) -> None:
        fields = settlement(n, lines=sale(20_000 + variant), reverses=event_id(reversed_n))
        said = Said(n, variant, reverses=reversed_n)
        self._append(shard, said, record(self._next(shard), fields, shard=shard))

    @rule(shard=shards, value=st.sampled_from([b"", b"\x00", b"\x00\x00\x00", None, b"\xff" * 20]))
    def publish_garbage(self, shard: int, value: bytes | None) -> None:
        made = Record(TOPIC, shard, self._next(shard), 1_762_000_000_000, b"k", value, (("trace", b"1"),))
        self._append(shard, Said(None), made)

    @rule(shard=shards, count=st.integers(1, 3))
    def leave_a_gap(self, shard: int, count: int) -> None:
        for _ in range(count):
            self._append(shard, Said(None, wrong="gap"), None)

    # --- what operators and machines do ---

    @rule(who=st.integers(0, 1), records_max=st.sampled_from([1, 2, 3, 50]), count=st.integers(1, 3))
    def step(self, who: int, records_max: int, count: int) -> None:
        for _ in range(count):
            self._step(who, records_max)

    @rule(failure=st.sampled_from(FAILURES))
    def arm(self, failure: tuple[str, Mode]) -> None:
        self.faults.arm(*failure)

    @rule(shard=shards, who=st.integers(0, 1), deaf=st.booleans())
    def rebalance(self, shard: int, who: int, deaf: bool) -> None:
        """The old owner may not hear of it, and goes on as a zombie."""
        old = self.members.get(self.owners[shard])
        if old is not None and self.owners[shard] != who:
            old.source.deaf = old.source.deaf or deaf
        self.owners[shard] = who
        self._tell_members()

    @rule(who=st.integers(0, 1))
    def wake_up(self, who: int) -> None:
        if who in self.members:
            self.members[who].source.deaf = False

    @rule(who=st.integers(0, 1), shard=shards, back=st.integers(1, 9))
    def redeliver(self, who: int, shard: int, back: int) -> None:
        member = self.members.get(who)
        if member is not None and shard in member.source.positions:
            member.source.positions[shard] = max(0, member.source.positions[shard] - back)

    @precondition(lambda self: self.members)
    @rule(who=st.integers(0, 1))
    def crash(self, who: int) -> None:
        member = self.members.pop(who, None)
        if member is not None:
            member.publisher.close()

    @precondition(lambda self: self.members)
    @rule(who=st.integers(0, 1))
    def stop(self, who: int) -> None:
        member = self.members.pop(who, None)
        if member is not None:
            self._close(member)

    @rule(halted=st.booleans())
    def halt_or_resume(self, halted: bool) -> None:
        self.ledger.halted = halted

    def _step(self, who: int, records_max: int) -> bool:
        """One turn of run_service: what raises Unavailable is closed, and built anew by the next step."""
        member: Member | None = None
        before = len(self.ledger.commits)
        halted = self.ledger.halted
        try:
            member = self.members.get(who) or self._build(who)
            member.source.records_max = records_max
            return member.poster.step()
        except Unavailable:
            self.members.pop(who, None)
            if member is not None:
                self._close(member)
            return True
        finally:
            assert not halted or len(self.ledger.commits) == before, "posted while halted"

    def _build(self, who: int) -> Member:
        publisher = MemoryPublisher(self.broker, self.faults, lambda count: self.random.randint(0, count))
        sources: list[MemorySource] = []

        def open_source(start_offset: StartOffset, on_revoked: OnRevoked) -> MemorySource:
            wanted = {shard for shard, owner in self.owners.items() if owner == who}
            sources.append(MemorySource(self.topic, start_offset, on_revoked, self.faults, wanted=wanted))
            return sources[0]

        poster = Poster(
            topic=TOPIC,
            open_source=open_source,
            store=MemoryPosterStore(self.ledger, self.faults),
            relay=Relay(publisher, TOPICS),
            limits=PosterLimits(dead_letters_max=10**9),
            metrics=StrictMetrics(),
            now=lambda: 1_762_000_000.0,
            monotonic=lambda: float(next(self.clock)),
        )
        self.members[who] = Member(poster, sources[0], publisher)
        return self.members[who]

    def _close(self, member: Member) -> None:
        try:
            member.poster.close()
        except Unavailable:
            member.publisher.close()

    def _tell_members(self) -> None:
        for who, member in self.members.items():
            member.source.wanted = {shard for shard, owner in self.owners.items() if owner == who}

    # --- what must hold, always ---

    @invariant()
    def chain_and_counts_hold(self) -> None:
        check_chain_and_counts(self.ledger)

    @invariant()
    def what_is_noted_as_relayed_is_there(self) -> None:
        check_relayed(self.ledger, self.broker, TOPICS)

    @invariant()
    def verdicts_are_the_models(self) -> None:
        model = Model()
        for shard, first_offset, next_offset in self.ledger.commits:
            expected = [model.verdict(shard, said) for said in self.said[shard][first_offset:next_offset]]
            found = dict.fromkeys(range(first_offset, next_offset), "posted")
            for verdict in self.ledger.unposted.get(shard, []):
                if verdict.offset in found:
                    found[verdict.offset] = "duplicate" if verdict.kind == "duplicate" else verdict.reason
            assert [found[offset] for offset in range(first_offset, next_offset)] == expected

    def teardown(self) -> None:
        """Peace returns: everything is caught up with, and replaying gives the same bytes."""
        if not hasattr(self, "ledger"):
            return
        self.faults.calm()
        self.ledger.halted = False
        for member in self.members.values():
            member.source.deaf = False
        for who in (0, 1):
            for shard in SHARDS:
                self.owners[shard] = who
            self._tell_members()
            rested = 0
            for _ in range(200):
                rested = 0 if self._step(who, 50) else rested + 1
                if rested == 3:
                    break
            assert rested == 3, "the poster never comes to rest"
        for shard in SHARDS:
            records = [made for made in self.topic[shard] if made is not None]
            due = records[-1].offset + 1 if records else 0
            head = self.ledger.heads[shard]
            assert (head.next_offset, head.relayed_offset) == (due, due)
        self.chain_and_counts_hold()
        check_sound(self.ledger)
        self.what_is_noted_as_relayed_is_there()
        self.verdicts_are_the_models()
        self._replays_to_the_same_bytes(1)
        self._replays_to_the_same_bytes(3)

    def _replays_to_the_same_bytes(self, records_max: int) -> None:
        """The same records in other batches, shards in the order in which they were committed (one verdict in a
        thousand depends on that: an id that both shards were sent)."""
        replayed = MemoryLedger()
        for shard, first_offset, next_offset in self.ledger.commits:
            head = replayed.heads.setdefault(shard, genesis(shard, TOPIC))
            records = [r for r in self.topic[shard][first_offset:next_offset] if r is not None]
            for start in range(0, len(records), records_max):
                batch = [decide(item) for item in records[start : start + records_max]]
                known = replayed.first_of(*event_ids(batch))
                head = replayed.write(sequence(head, batch, known), 0).after
        for shard, head in replayed.heads.items():
            assert bytes_of(self.ledger, shard) == bytes_of(replayed, shard)
            assert head.head_hash == self.ledger.heads[shard].head_hash


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    """So that shards are behind for a while, as after a rebuild."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(relay_backlog, "PIECE_OFFSETS_MAX", 2)
        yield


TestPosterMachine = PosterMachine.TestCase
TestPosterMachine.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
