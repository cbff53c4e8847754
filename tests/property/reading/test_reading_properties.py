"""Whatever clocks, batches, rebuilds and repeats do: what was answered as known at a time never changes, and sums of
blocks are the sums of their lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from ledger_core.reading import blocks
from ledger_core.reading.ageing import open_by_age
from ledger_core.reading.blocks import BLOCK_LINES, SIZES, completed, covering, day_sums
from ledger_core.reading.known import AHEAD_US_MAX, KeptTime, close_at, known_times, needless

Answer = tuple[int, int]  # asked as known at, entries known then


@dataclass
class World:
    """One shard and a projection of it: brokers' clocks do as they like, ours only goes on."""

    recorded: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    kept: dict[int, list[KeptTime]] = field(default_factory=lambda: defaultdict(list))
    known_us: int = 0
    now: int = 0
    answers: list[Answer] = field(default_factory=list)

    def read(self, recorded: Sequence[int]) -> None:
        first = len(self.recorded) + 1
        times, found = known_times(first, recorded, self.known_us, self.now, self.kept)
        self.recorded += recorded
        self.times += times
        self.known_us = times[-1] if times else self.known_us
        for it in needless(first, recorded, self.now, self.kept):
            self.kept[it.seq].remove(it)
        for it in found:
            self.kept[it.seq].append(it)

    def close(self, moment: int) -> None:
        closed = close_at(len(self.recorded), self.known_us, moment)
        if closed is not None:
            self.kept[closed.seq] = [it for it in self.kept[closed.seq] if it.why != closed.why] + [closed]
            self.known_us = closed.known_us

    def known_at(self, moment: int) -> int | None:
        """How many entries are known then; None while that cannot be answered."""
        return sum(known <= moment for known in self.times) if moment < self.known_us else None

    def ask(self, moment: int) -> None:
        count = self.known_at(moment)
        if count is not None:
            self.answers.append((moment, count))

    def rebuilt(self, sizes: Sequence[int], now: int) -> World:
        """Another projection of the same chain, with what was kept."""
        other = World(now=now, kept=self.kept, known_us=0)
        at = 0
        for size in [*sizes, len(self.recorded)]:
            other.read(self.recorded[at : at + size])
            at += size
        return other


moments = st.integers(0, 40 * AHEAD_US_MAX)
steps = st.one_of(
    st.tuples(st.just("read"), st.lists(moments, max_size=5)),
    st.tuples(st.just("close"), moments),
    st.tuples(st.just("ask"), moments),
    st.tuples(st.just("wait"), st.integers(0, 4 * AHEAD_US_MAX)),
)


@given(st.lists(steps, max_size=40), st.lists(st.integers(1, 6), max_size=5), st.integers(0, 80 * AHEAD_US_MAX))
def test_what_was_answered_as_known_at_a_time_never_changes(
    script: list[tuple[str, int | list[int]]], sizes: list[int], later: int
) -> None:
    world = World()
    for word, value in script:
        if isinstance(value, list):
            world.read(value)
        elif word == "close":
            world.close(min(value, world.now))
        elif word == "ask":
            world.ask(value)
        else:
            world.now += value
        assert world.times == sorted(world.times)
        assert [world.known_at(moment) for moment, _ in world.answers] == [count for _, count in world.answers]
    other = world.rebuilt(sizes, world.now + later)
    assert other.times == world.times


@given(st.integers(0, 3 * SIZES[1]), st.integers(0, 3 * SIZES[1]))
def test_a_block_is_full_once_and_no_line_is_in_two_of_a_level(one: int, two: int) -> None:
    first, second = sorted((one, two))
    whole = {(it.level, number) for it in completed(0, second) for number in range(it.first, it.end)}
    parts = [
        (it.level, number)
        for stretch in (completed(0, first), completed(first, second))
        for it in stretch
        for number in range(it.first, it.end)
    ]
    assert sorted(parts) == sorted(whole)


@given(st.integers(0, 10**13))
def test_the_first_lines_of_a_series_are_few_blocks_and_a_short_rest(lines: int) -> None:
    found, done = covering(lines)
    at = 0
    for it in found:
        assert it.first * SIZES[it.level] == at
        at = it.end * SIZES[it.level]
        assert it.end - it.first < blocks.FAN_OUT or it.level == blocks.LEVELS - 1
    assert at == done
    assert 0 <= lines - done < BLOCK_LINES
    levels = [it.level for it in found]
    assert levels == sorted(set(levels), reverse=True)


legs = st.lists(st.tuples(st.integers(0, 9), st.integers(-50, 50).filter(bool)), max_size=40)


@given(legs, st.integers(-1, 10))
def test_the_newest_row_up_to_a_day_is_the_sum_up_to_that_day(lines: list[tuple[int, int]], day: int) -> None:
    rows = [row for row in day_sums(lines) if row.day <= day]
    debits, credit = (rows[-1].debits, rows[-1].credits) if rows else (0, 0)
    assert debits == sum(amount for at, amount in lines if at <= day and amount > 0)
    assert credit == -sum(amount for at, amount in lines if at <= day and amount < 0)


@given(st.dictionaries(st.integers(0, 200), st.integers(1, 100)), st.integers(0, 5000))
def test_what_is_open_adds_up_to_the_balance(came: dict[int, int], settled: int) -> None:
    parts = open_by_age(lambda day: sum(it for at, it in came.items() if at <= day), settled, 200)
    assert sum(part.amount_minor for part in parts) == max(0, sum(came.values()) - settled)
    assert all(part.amount_minor >= 0 for part in parts)
