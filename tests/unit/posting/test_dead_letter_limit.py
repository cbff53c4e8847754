"""The dead-letter limit: counts what it should, halts before anything is written, and lets an operator go on."""

from __future__ import annotations

import pytest

from consumers.posting.dead_letter_limit import DeadLetterLimit, DeadLetterLimitReached
from tests.support.settlements import record


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


def test_after_resuming_only_what_came_later_counts() -> None:
    """The operator saw what waits in the topic: else the same batch would halt at every resume."""
    limit = DeadLetterLimit(dead_letters_max=3, window_records=100)
    limit.add(10, 3)
    records = [record(offset, value=b"bad") for offset in range(5)]
    assert limit.counted(records) == 5
    limit.resume(now_ms=records[3].timestamp_ms)
    assert limit.counted(records) == 2
    limit.check(5, 2)
