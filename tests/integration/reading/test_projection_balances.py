"""Balances as of a day and a position, from a projection: the sums that plain Python makes, on both axes."""

from __future__ import annotations

import datetime as dt
import random

import pytest

from ledger_core.errors import Refused
from ledger_core.postgres.reading.projection_balances import (
    END_OF_DAYS,
    account_sides,
    newest_position,
    position_at,
    trial_sides,
)
from ledger_core.reading.rows import time_us
from ledger_core.times import format_time
from tests.support.journal_factory import START
from tests.support.projections import Ledger, asking, begun, feed, make_schemas, opened

pytestmark = pytest.mark.services

ENTRIES = 9000  # beyond a block of the second level
ACCOUNTS = ("revenue:fees", "asset:psp:shop-3", "liability:payable:seller-7", "asset:nothing:here")


@pytest.fixture
def ledger_at(database_url: str) -> tuple[str, str, Ledger]:
    make_schemas(database_url)
    ledger, place = Ledger.of(ENTRIES), begun(database_url)
    with opened(database_url, place) as store:
        feed(store, ledger.items, 1700)
    return database_url, place, ledger


def test_a_balance_is_the_sum_of_its_lines_on_both_axes(ledger_at: tuple[str, str, Ledger]) -> None:
    url, place, ledger = ledger_at
    chance = random.Random(7)
    positions = [0, 1, 255, 256, 257, 8191, 8192, 8193, ENTRIES, *(chance.randrange(ENTRIES) for _ in range(12))]
    days = [START.date() - dt.timedelta(days=chance.randrange(-2, 42)) for _ in range(4)]
    with asking(url, place) as connection:
        assert newest_position(connection) == {0: ENTRIES}
        for seq in positions:
            for day in (*days, END_OF_DAYS):
                for account in ACCOUNTS:
                    assert account_sides(connection, account, {0: seq}, day) == ledger.sides(account, seq, day)
                found = {it.name: it for it in trial_sides(connection, {0: seq}, day) if it.debits or it.credits}
                wanted = {
                    it.name: it
                    for kind in ("asset", "liability", "revenue")
                    for it in ledger.sides(kind, seq, day)
                    if it.debits or it.credits
                }
                assert found == wanted


def test_a_time_is_the_position_of_what_was_known_then(ledger_at: tuple[str, str, Ledger]) -> None:
    url, place, _ = ledger_at
    start = time_us(format_time(START))
    with asking(url, place) as connection:
        for seconds in (0, 1, 255, 256, 4711, ENTRIES - 2):
            moment = start + seconds * 1_000_000
            assert position_at(connection, moment) == {0: seconds + 1}
            assert position_at(connection, moment - 1) == {0: seconds}
        with pytest.raises(Refused, match="shard 0 is known up to") as refused:
            position_at(connection, start + (ENTRIES - 1) * 1_000_000)
        assert "earlier" in refused.value.remedy
