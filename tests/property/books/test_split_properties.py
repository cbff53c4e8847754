"""Whatever is split, nothing is lost, nothing is invented, and nobody is off by a whole unit."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_core.books.splits import BASIS_POINTS, by_basis_points, by_weights

weights = st.lists(st.integers(0, 10**15), min_size=1, max_size=12).filter(any)
totals = st.integers(-(10**15), 10**15)


@st.composite
def percentages(draw: st.DrawFn) -> list[int]:
    cuts = sorted(draw(st.lists(st.integers(0, BASIS_POINTS), max_size=8)))
    return [high - low for low, high in zip([0, *cuts], [*cuts, BASIS_POINTS], strict=True)]


@given(totals, weights)
def test_the_parts_come_to_the_whole_and_each_is_its_share_rounded(total: int, given_weights: list[int]) -> None:
    parts = by_weights(total, given_weights)
    assert sum(parts) == total
    for part, weight in zip(parts, given_weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(given_weights))) < 1
        assert weight or not part, "whoever has no weight gets nothing"
    assert by_weights(-total, given_weights) == [-part for part in parts]


@given(st.integers(0, 10**15), weights)
def test_what_is_within_the_weights_stays_within_each(total: int, given_weights: list[int]) -> None:
    parts = by_weights(min(total, sum(given_weights)), given_weights)
    assert all(part <= weight for part, weight in zip(parts, given_weights, strict=True))


@given(totals, percentages())
def test_percentages_lose_and_invent_nothing(total: int, points: list[int]) -> None:
    parts = by_basis_points(total, points)
    assert sum(parts) == total
    assert all(
        abs(part * BASIS_POINTS - total * point) < BASIS_POINTS for part, point in zip(parts, points, strict=True)
    )


TIES = [
    (100, [1, 1, 1], [34, 33, 33]),
    (-100, [1, 1, 1], [-34, -33, -33]),
    (5, [70, 30], [4, 1]),  # remainders are equal: the first is served first
    (5, [30, 70], [2, 3]),
    (1, [1, 1], [1, 0]),
    (2, [1, 1, 1], [1, 1, 0]),
    (7, [0, 3, 0], [0, 7, 0]),
]


@pytest.mark.parametrize(("total", "given_weights", "parts"), TIES)
def test_a_tie_goes_to_the_part_that_stands_first(total: int, given_weights: list[int], parts: list[int]) -> None:
    assert by_weights(total, given_weights) == parts


@pytest.mark.parametrize("wrong", [[], [0, 0], [2, -1]])
def test_weights_that_share_nothing_are_refused(wrong: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        by_weights(1, wrong)


@pytest.mark.parametrize("wrong", [[], [9_999], [9_999, 2]])
def test_percentages_that_are_no_whole_are_refused(wrong: list[int]) -> None:
    with pytest.raises(ValueError, match="basis_points: must come to 10000"):
        by_basis_points(1, wrong)
