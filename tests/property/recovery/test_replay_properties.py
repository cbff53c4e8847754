"""A replay in any interleaving of shards and batches gives every offset the verdict it got, or refuses to guess."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.posting.decision import decide
from consumers.recovery.replay import ShardReplay
from ledger_core.errors import Refused
from ledger_core.ports import Record
from ledger_core.posting.plans import Known
from ledger_core.posting.sequencing import event_ids, sequence
from ledger_core.posting.verdicts import activated_rules
from ledger_core.recovery.replay_port import StopAt
from tests.simulator.faults import Faults
from tests.simulator.ledger import MemoryLedger
from tests.simulator.posting import MemoryPosterStore
from tests.support.settlements import TOPIC, event_id, record, sale, settlement

# (shard, number of the event, kind): few numbers, so that shards and batches meet in them.
EVENTS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=25)


class Reader:
    """The records of one partition, a few at a time."""

    def __init__(self, records: list[Record], at: int = 0) -> None:
        self.records, self.at = records, at

    @property
    def done(self) -> bool:
        return self.at >= len(self.records)

    def read(self, records_max: int) -> list[Record]:
        read = self.records[self.at : self.at + records_max]
        self.at += len(read)
        return read

    def pass_over(self, end: int) -> None:
        self.at = end


class Log:
    """The verdict log of a ledger in memory: as a database tells it, or as the archive does."""

    def __init__(self, ledger: MemoryLedger, *, knows_first: bool) -> None:
        self.ledger, self.knows_first = ledger, knows_first

    def covers(self, shard: int) -> int:
        return self.ledger.heads[shard].next_offset if shard in self.ledger.heads else 0

    def set_aside_end(self, shard: int, offset: int) -> int:
        return offset

    def activated(self, shard: int, offset: int) -> bool | None:
        if offset >= self.covers(shard):
            return None
        reasons = (it.reason for it in self.ledger.unposted.get(shard, []) if it.offset == offset)
        return any(activated_rules(reason) is not None for reason in reasons)

    def taken_elsewhere(self, shard: int, first_offset: int, next_offset: int) -> dict[int, tuple[str, Known]]:
        found = {}
        for verdict in self.ledger.unposted.get(shard, []):
            if not first_offset <= verdict.offset < next_offset or verdict.event_id is None:
                continue
            first = self.ledger.first[verdict.event_id]
            if self.knows_first and first.shard != shard:
                found[verdict.offset] = (verdict.event_id, first)
            elif not self.knows_first and verdict.kind == "rejected":
                known = Known(-1, 0, None, verdict.content_hash, verdict.reason)
                found[verdict.offset] = (verdict.event_id, known)
        return found


def partitions(events: list[tuple[int, int, int]]) -> list[list[Record]]:
    logs: list[list[Record]] = [[], []]
    for shard, number, kind in events:
        log = logs[shard]
        if kind == 0:  # bad by itself, and carries the event id
            fields = settlement(number, lines=[*sale(), sale()[0]])
        elif kind == 1:
            fields = settlement(number, reverses=event_id((number + 1) % 6))
        else:
            fields = settlement(number, lines=sale(10_000 + kind % 2))
        log.append(record(len(log), fields, shard=shard))
    return logs


def run(
    logs: list[list[Record]], turns: list[int], log: Log | None, batch: int, *, into: MemoryLedger | None = None
) -> MemoryLedger:
    """Post both shards in this order of turns, and then to the end."""
    ledger = into or MemoryLedger()
    store = MemoryPosterStore(ledger, Faults())
    shards = []
    for shard in (0, 1):
        head = store.open_shard(shard, TOPIC)
        shards.append(
            ShardReplay(
                head,
                reader=Reader(logs[shard], head.next_offset),
                store=store,
                log=log,
                decide=decide,
                stop=StopAt(),
                batch_records_max=batch,
            )
        )
    for turn in turns:
        shards[turn].step()
    for replay in shards:
        while replay.step():
            pass
    return ledger


def original(events: list[tuple[int, int, int]], logs: list[list[Record]]) -> MemoryLedger:
    """As the posters did it: record by record, in the order of the events, both shards seeing each other."""
    ledger = MemoryLedger()
    store = MemoryPosterStore(ledger, Faults())
    heads = {shard: store.open_shard(shard, TOPIC) for shard in (0, 1)}
    for shard, _, _ in events:
        head = heads[shard]
        batch = [decide(logs[shard][head.next_offset])]
        compared, named = event_ids(batch)
        with store.batch(head, alone=True) as tx:
            plan = tx.write(sequence(head, batch, tx.look_up(compared, named)), relayed_offset=0)
        heads[shard] = plan.after
    return ledger


def content(ledger: MemoryLedger, *, firsts: bool) -> object:
    return [
        (
            [(item.seq, item.entry_hash, item.body) for item in ledger.posted.get(shard, [])],
            [(v.offset, v.line, v.first_verdict if firsts else None) for v in ledger.unposted.get(shard, [])],
        )
        for shard in (0, 1)
    ]


@given(EVENTS, st.lists(st.integers(0, 1), max_size=30), st.integers(1, 7), st.booleans())
def test_with_a_log_every_interleaving_gives_the_same_ledger(
    events: list[tuple[int, int, int]], turns: list[int], batch: int, knows_first: bool
) -> None:
    if (
        not knows_first
    ):  # whose rejection was the first, the archive's lines do not tell (ShardReplay says what follows)
        events = [(shard, number, kind or 2) for shard, number, kind in events]
    logs = partitions(events)
    live = original(events, logs)
    replayed = run(logs, turns, Log(live, knows_first=knows_first), batch)
    assert content(replayed, firsts=knows_first) == content(live, firsts=knows_first)


@given(EVENTS, st.lists(st.integers(0, 1), max_size=30), st.integers(1, 7))
def test_without_a_log_a_replay_is_right_or_refuses(
    events: list[tuple[int, int, int]], turns: list[int], batch: int
) -> None:
    logs = partitions(events)
    live = original(events, logs)
    meet = {n for s, n, _ in events if s == 0} & {n for s, n, _ in events if s == 1}
    replayed = None
    with contextlib.suppress(Refused):
        replayed = run(logs, turns, None, batch)
    assert replayed is not None or meet, "nothing was undecidable"
    if replayed is None:
        return
    posts_of_both = {n for n in meet if any(k != 0 for s, m, k in events if m == n)}
    if not posts_of_both:
        assert content(replayed, firsts=False) == content(live, firsts=False)


@given(EVENTS, st.lists(st.integers(0, 1), max_size=10), st.integers(1, 7), st.integers(1, 7))
def test_stopped_anywhere_and_run_again_it_ends_the_same(
    events: list[tuple[int, int, int]], turns: list[int], first: int, then: int
) -> None:
    logs = partitions(events)
    live = original(events, logs)
    log = Log(live, knows_first=True)
    half = MemoryLedger()
    run([part[: len(part) // 2] for part in logs], turns, log, first, into=half)
    assert content(run(logs, [], log, then, into=half), firsts=True) == content(live, firsts=True)


def test_a_log_that_contradicts_the_target_is_refused() -> None:
    events = [(0, 1, 2), (1, 1, 2)]
    logs = partitions(events)
    live = original(events, logs)
    other = original(events[::-1], logs)  # the other shard came first there
    store = MemoryPosterStore(other, Faults())
    head = store.open_shard(0, TOPIC)
    other.heads[0], other.unposted[0] = msgspec.structs.replace(head, next_offset=0, rejected=0), []
    replay = ShardReplay(
        other.heads[0],
        reader=Reader(logs[0]),
        store=store,
        log=Log(live, knows_first=True),
        decide=decide,
        stop=StopAt(),
        batch_records_max=10,
    )
    with pytest.raises(Refused, match="the target is not a prefix of this ledger"):
        replay.step()
