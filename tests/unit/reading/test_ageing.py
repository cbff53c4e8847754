"""What of a payable is open, by age: what goes settles what came first."""

from __future__ import annotations

import pytest

from ledger_core.reading.ageing import Open, open_by_age

TODAY = 20_000


def owed(items: dict[int, int]) -> list[Open]:
    """`items`: days ago -> what was owed then; a negative amount was paid out."""
    came = {TODAY - days: amount for days, amount in items.items() if amount > 0}
    settled = -sum(amount for amount in items.values() if amount < 0)
    return open_by_age(lambda day: sum(amount for at, amount in came.items() if at <= day), settled, TODAY)


@pytest.mark.parametrize(
    ("items", "parts"),
    [
        ({}, [0, 0, 0, 0]),
        ({0: 10, 30: 20, 31: 30, 60: 1, 61: 2, 90: 3, 91: 4, 400: 5}, [30, 31, 5, 9]),
        ({100: 50, 40: 50, 5: 50, 1: -50}, [50, 50, 0, 0]),  # the oldest is settled first
        ({100: 50, 40: 50, 5: 50, 1: -70}, [50, 30, 0, 0]),
        ({100: 50, 1: -70}, [0, 0, 0, 0]),  # it owes us
        ({100: 50, 1: -50}, [0, 0, 0, 0]),
    ],
)
def test_the_oldest_is_settled_first(items: dict[int, int], parts: list[int]) -> None:
    found = owed(items)
    assert [part.amount_minor for part in found] == parts
    assert sum(parts) == max(0, sum(items.values()))


def test_parts_name_their_days_without_a_gap() -> None:
    assert [(part.days_min, part.days_max) for part in owed({})] == [(0, 30), (31, 60), (61, 90), (91, None)]
