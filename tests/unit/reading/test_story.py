"""What a settlement came to, and how far an answer reaches."""

from __future__ import annotations

import pytest

from ledger_core.errors import Refused
from ledger_core.reading.reach import Reach, asked_position
from ledger_core.reading.rows import Leg
from ledger_core.reading.story import Net, net_of, taken_back
from ledger_core.reading.tokens import position_of, position_token


def test_what_came_and_went_is_left_out_of_the_sum() -> None:
    sale = [
        Leg("asset:psp:stripe", "USD", 100),
        Leg("liability:payable:seller-1", "USD", -97),
        Leg("revenue:fees", "USD", -3),
    ]
    payout = [Leg("liability:payable:seller-1", "USD", 97), Leg("asset:bank:main", "USD", -97)]
    assert net_of([*sale, *payout]) == [
        Net("asset:bank:main", "USD", -97),
        Net("asset:psp:stripe", "USD", 100),
        Net("revenue:fees", "USD", -3),
    ]
    assert net_of([]) == []


def test_an_entry_that_was_taken_back_names_the_one_that_did() -> None:
    assert taken_back([("a", None), ("b", "a"), ("c", None)]) == {"a": "b"}


def test_a_position_that_was_not_read_yet_is_refused() -> None:
    reach = Reach({0: 7, 1: 9}, {0: 500, 1: 300})
    assert (position_of(reach.token), reach.known_until_us) == ({0: 7, 1: 9}, 300)
    assert asked_position(reach, position_token({1: 9})) == {1: 9}
    for beyond in ({0: 8}, {2: 1}):
        with pytest.raises(Refused, match="are read"):
            asked_position(reach, position_token(beyond))
    assert Reach({}, {}).known_until_us == 0
