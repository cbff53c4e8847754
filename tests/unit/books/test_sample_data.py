"""The sample: real baskets as settlements that add up to the real sales, the same at every run."""

from __future__ import annotations

from itertools import islice

import pytest

from finance.workshop.sample_data import SampleCounts, sample, synthetic
from ledger_core.books.settlements import SettlementEvent, record_from_event
from ledger_core.errors import Refused
from ledger_core.posting.rules import draft


def totals(events: list[SettlementEvent]) -> dict[str, int]:
    """Debits - credits by the first two words of the account."""
    found: dict[str, int] = {}
    for event in events:
        for line in event.lines:
            account = ":".join(line.account.split(":")[:2])
            signed = line.amount_minor if line.side == "debit" else -line.amount_minor
            found[account] = found.get(account, 0) + signed
    return found


@pytest.fixture(scope="module")
def march() -> tuple[list[SettlementEvent], SampleCounts]:
    counts = SampleCounts()
    return list(sample("2017-03", counts)), counts


def test_every_event_of_a_month_passes_the_posting_rules_in_time_order(
    march: tuple[list[SettlementEvent], SampleCounts],
) -> None:
    events, counts = march
    for event in events:
        draft(record_from_event(event), event.settlement_id.encode())
    assert [event.occurred_at for event in events] == sorted(event.occurred_at for event in events)
    assert {(event.occurred_at.year, event.occurred_at.month) for event in events} == {(2017, 3)}
    assert (counts.events, counts.skipped) == (len(events), 47) == (12_934, 47)
    assert len({event.event_id for event in events}) == len(events)


def test_the_month_comes_to_the_money_of_the_file(march: tuple[list[SettlementEvent], SampleCounts]) -> None:
    import pyarrow.compute as pc
    from pyarrow import parquet

    from finance.workshop.sample_data import data_file

    table = parquet.read_table(data_file("transactions.parquet"))
    month = table.filter(pc.equal(pc.strftime(table["transaction_timestamp"], format="%Y-%m"), "2017-03"))
    columns = ("basket_id", "sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
    paid: dict[int, int] = {}
    given: dict[int, int] = {}
    for basket, *dollars in zip(*(month[name].to_pylist() for name in columns), strict=True):
        sales, retail, coupon, match = (round(value * 100) for value in dollars)
        paid[basket] = paid.get(basket, 0) + sales - coupon
        given[basket] = given.get(basket, 0) + retail + match
    found = totals(march[0])
    assert found["asset:psp"] == sum(cents for cents in paid.values() if cents > 0)
    assert found["expense:discounts"] == sum(given[basket] for basket, cents in paid.items() if cents > 0)
    assert sum(found.values()) == 0


def test_the_buyer_stands_in_the_pii_map_only(march: tuple[list[SettlementEvent], SampleCounts]) -> None:
    event = march[0][0]
    assert event.pii is not None
    assert set(event.pii) == {"household"}
    assert set(event.metadata) == {"store", "week"}
    assert event.pii_salt is not None
    assert len(event.pii_salt) == 16


def test_the_year_begins_the_same_at_every_run() -> None:
    first, second = (list(islice(sample(), 200)) for _ in range(2))
    assert first == second
    assert first[0].settlement_id == "st_31198570044"
    assert str(first[0].occurred_at) == "2017-01-01 11:53:26+00:00"


@pytest.mark.parametrize("month", ["2016-12", "2018-02", "2017-13", "March", ""])
def test_another_month_is_refused(month: str) -> None:
    with pytest.raises(Refused, match="2017-01"):
        next(sample(month))


def test_synthetic_events_are_the_same_for_a_seed_and_go_on_from_a_number() -> None:
    whole = list(synthetic(100, seed=7))
    assert whole == list(synthetic(100, seed=7))
    assert {event.event_id for event in whole}.isdisjoint(event.event_id for event in synthetic(100, seed=7, first=100))
    assert {event.event_id for event in whole}.isdisjoint(event.event_id for event in synthetic(100, seed=8))
    for event in whole:
        draft(record_from_event(event), event.settlement_id.encode())
        assert len(event.lines) == 3


def test_synthetic_payables_are_drawn_from_all_sellers() -> None:
    accounts = {event.lines[1].account for event in synthetic(2_000, sellers=10)}
    assert accounts == {f"liability:payable:seller-{number}" for number in range(10)}
