"""What waits in front of a cursor: records do, the markers and the aborted records behind the last one do not."""

from __future__ import annotations

import pytest

from consumers.kafka.positions import Positions

P = 3


@pytest.mark.parametrize(
    ("next_offset", "high_watermark", "waiting"),
    [
        (10, 10, 0),  # a plain topic, read to its end
        (10, 11, 0),  # the marker of a commit stands behind the last record
        (10, 500, 0),  # aborted records, or an open transaction's
        (7, 11, 4),  # three records were returned and are not done
        (11, 11, 0),
    ],
)
def test_at_the_end_only_what_was_returned_and_is_not_done_waits(
    next_offset: int, high_watermark: int, waiting: int
) -> None:
    places = Positions()
    places.start(P, 5)
    places.took(P, 9)
    places.ended(P, 11)
    assert places.waiting(P, next_offset, high_watermark) == waiting


def test_before_the_end_everything_up_to_the_watermark_waits() -> None:
    places = Positions()
    places.start(P, 5)
    assert places.waiting(P, 5, 9) == 4
    places.took(P, 6)
    assert places.waiting(P, 7, 9) == 2
    assert places.waiting(P, 9, 9) == 0


def test_a_record_behind_the_end_makes_it_the_end_no_longer() -> None:
    places = Positions()
    places.start(P, 0)
    places.took(P, 1)
    places.ended(P, 3)
    assert places.passed(P, 2) == 3
    places.took(P, 3)
    assert places.waiting(P, 4, 6) == 2
    places.ended(P, 3)  # told of before the record, and delivered with it
    assert places.waiting(P, 4, 6) == 2
    assert places.passed(P, 4) == 4


@pytest.mark.parametrize("anew", [lambda places: places.start(P, 2), lambda places: places.forget(P)])
def test_after_a_seek_or_a_new_owner_the_end_must_be_met_again(anew) -> None:  # type: ignore[no-untyped-def]
    places = Positions()
    places.start(P, 0)
    places.took(P, 7)
    places.ended(P, 9)
    anew(places)
    assert places.waiting(P, 2, 9) == 7
    assert places.passed(P, 8) == 8


def test_an_end_of_a_partition_that_is_not_owned_is_nothing() -> None:
    places = Positions()
    places.ended(P, 9)
    assert places.waiting(P, 2, 9) == 7
