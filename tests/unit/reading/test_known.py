"""Since when an entry is known, when clocks are put back, run ahead, or nothing comes for a while."""

from __future__ import annotations

import pytest

from ledger_core.reading.known import AHEAD_US_MAX, KeptTime, Why, close_at, known_times, needless

NOW = 10**15


def test_an_entry_is_known_since_the_broker_recorded_it() -> None:
    assert known_times(1, [100, 200, 200, 300], 0, NOW, {}) == ([100, 200, 200, 300], [])


def test_behind_a_clock_that_was_put_back_nothing_is_known_before_what_was_known() -> None:
    assert known_times(1, [500, 100, 600], 0, NOW, {}) == ([500, 500, 600], [])
    assert known_times(4, [300, 900], 600, NOW, {}) == ([600, 900], [])


def test_a_record_dated_years_ahead_steers_neither_itself_nor_what_comes_behind() -> None:
    years = NOW + 173 * 365 * 86_400_000_000
    times, found = known_times(1, [NOW - 5, years, NOW - 3, NOW + 2], 0, NOW, {})
    assert times == [NOW - 5, NOW, NOW, NOW + 2]
    assert found == [KeptTime(2, Why.AHEAD, NOW)]


def test_clocks_may_differ_a_little() -> None:
    assert known_times(1, [NOW + AHEAD_US_MAX], 0, NOW, {}) == ([NOW + AHEAD_US_MAX], [])


def test_another_projection_gives_the_same_times_by_what_was_kept() -> None:
    recorded = [NOW - 5, NOW + 10 * AHEAD_US_MAX, NOW - 3, NOW + 2]
    times, found = known_times(1, recorded, 0, NOW, {})
    later = NOW + 100 * AHEAD_US_MAX
    kept = {it.seq: [it] for it in found}
    assert known_times(1, recorded, 0, later, kept) == (times, [])
    assert known_times(1, recorded, 0, later, {}) != (times, [])


def test_a_closed_shard_answers_up_to_that_time_and_what_comes_is_known_behind_it() -> None:
    closed = close_at(7, 500, 900)
    assert closed == KeptTime(8, Why.CLOSED, 901)
    assert known_times(8, [600, 950], 500, NOW, {8: [closed]})[0] == [901, 950]


def test_a_shard_that_answers_already_is_not_closed_again() -> None:
    assert close_at(7, 901, 900) is None


AHEAD = NOW + AHEAD_US_MAX + 1


@pytest.mark.parametrize(
    ("recorded", "kept", "goes"),
    [
        (950, [KeptTime(8, Why.CLOSED, 901)], True),
        (901, [KeptTime(8, Why.CLOSED, 901)], True),
        (900, [KeptTime(8, Why.CLOSED, 901)], False),  # it is known later than the broker says
        (AHEAD, [KeptTime(8, Why.CLOSED, 901)], False),  # nor is it known since the broker says
        (950, [KeptTime(8, Why.CLOSED, 901), KeptTime(8, Why.AHEAD, 700)], False),
        (950, [KeptTime(8, Why.AHEAD, 700)], False),
        (950, [KeptTime(9, Why.CLOSED, 901)], False),  # of an entry to come
        (950, [], False),
    ],
)
def test_a_closing_that_changes_no_time_is_not_kept(recorded: int, kept: list[KeptTime], goes: bool) -> None:
    by_seq: dict[int, list[KeptTime]] = {}
    for it in kept:
        by_seq.setdefault(it.seq, []).append(it)
    found = needless(8, [recorded], NOW, by_seq)
    assert found == (kept[:1] if goes else [])
    left = {seq: [it for it in of if it not in found] for seq, of in by_seq.items()}
    assert known_times(8, [recorded], 500, NOW, left)[0] == known_times(8, [recorded], 500, NOW, by_seq)[0]
