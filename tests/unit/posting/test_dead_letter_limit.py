"""The dead-letter limit: counts what it should, halts before anything is written, and lets an operator go on."""

from __future__ import annotations

import pytest

from consumers.posting.dead_letter_limit import DeadLetterLimit, DeadLetterLimitReached
from consumers.posting.decision import decide, set_aside
from tests.support.settlements import record, settlement


def test_limit_is_reached_by_the_one_more_and_not_before() -> None:
    limit = DeadLetterLimit(dead_letters_max=3, window_records=100)
    limit.check(50, 3)
    limit.add(50, 3)
    limit.check(1000, 0)
    with pytest.raises(DeadLetterLimitReached, match="4 of the last 51 records were rejected, more than 3"):
        limit.check(1, 1)


def test_checking_counts_nothing() -> None:
    limit = DeadLetterLimit(dead_letters_max=3, window_records=100)
    for _ in range(10):
        limit.check(10, 3)


def test_old_batches_leave_the_window() -> None:
    limit = DeadLetterLimit(dead_letters_max=3, window_records=100)
    limit.add(60, 3)
    limit.add(60, 0)
    limit.check(10, 3)


def test_batch_larger_than_the_window_still_counts() -> None:
    limit = DeadLetterLimit(dead_letters_max=3, window_records=100)
    limit.add(1_000, 3)
    with pytest.raises(DeadLetterLimitReached):
        limit.check(1, 1)


def test_what_an_operator_allowed_does_not_count() -> None:
    """Else the same batch would halt at every resume, and at every start."""
    limit = DeadLetterLimit(dead_letters_max=3, window_records=100)
    limit.add(10, 3)
    records = [record(offset, value=b"bad") for offset in range(5)]
    assert limit.counted(records) == 5
    limit.allow(3)
    assert limit.counted(records) == 2
    limit.check(5, 2)
    limit.allow(2)
    assert limit.counted(records) == 2, "an older decision takes nothing back"


def test_a_batch_is_whole_until_half_of_the_limit_and_in_small_parts_from_there() -> None:
    limit = DeadLetterLimit(dead_letters_max=60, window_records=1000)
    bad = [decide(record(offset, value=b"bad")) for offset in range(30)]
    good = [decide(record(offset, settlement(offset))) for offset in range(1000)]
    assert [len(part) for part in limit.parts(bad)] == [30]
    assert [len(part) for part in limit.parts([*bad, *bad[:1]])] == [3] * 10 + [1]
    assert [len(part) for part in limit.parts(good)] == [1000]
    near = [limit.near]
    limit.add(31, 31)
    near.append(limit.near)
    assert [len(part) for part in limit.parts(good[:7])] == [3, 3, 1]
    limit.add(1000, 0)
    assert [*near, limit.near] == [False, True, False]
    assert [len(part) for part in limit.parts(good)] == [1000]


def test_what_was_set_aside_does_not_count() -> None:
    limit = DeadLetterLimit(dead_letters_max=2, window_records=100)
    assert [len(part) for part in limit.parts([set_aside("t", 0, offset) for offset in range(9)])] == [9]
