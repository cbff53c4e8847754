"""Entries by what they are called, and statements page by page: what is known at the position, each line once."""

from __future__ import annotations

import pytest

from ledger_core.postgres.reading.projection_balances import account_sides, newest_position
from ledger_core.postgres.reading.projection_entries import (
    Behind,
    By,
    StatementLine,
    behind_page,
    entries_by,
    legs_of,
    statement,
)
from tests.support.projections import Ledger, asking, begun, feed, make_schemas, opened

pytestmark = pytest.mark.services

ENTRIES = 700


@pytest.fixture
def projected(database_url: str) -> tuple[str, str, list[Ledger]]:
    make_schemas(database_url)
    ledgers = [Ledger.of(ENTRIES, shard=shard) for shard in (0, 1)]
    place = begun(database_url)
    with opened(database_url, place) as store:
        for shard, ledger in enumerate(ledgers):
            feed(store, ledger.items, 300, shard=shard)
    return database_url, place, ledgers


def test_an_entry_is_found_by_each_of_its_names(projected: tuple[str, str, list[Ledger]]) -> None:
    url, place, ledgers = projected
    said = ledgers[1].entries[41]
    with asking(url, place) as connection:
        position = newest_position(connection)
        (found,) = entries_by(connection, By.EVENT, said.event_id, position, limit=2)
        assert (found.shard, found.seq, found.settlement_id) == (1, 42, said.settlement_id)
        assert found.entry_hash == ledgers[1].items[41].entry_hash
        assert entries_by(connection, By.SETTLEMENT, said.settlement_id, position, limit=2) == [found]
        assert said.provider is not None
        of_payment = entries_by(connection, By.REFERENCE, said.provider.reference, position, limit=9)
        assert [(it.shard, it.seq) for it in of_payment] == [(0, 42), (1, 42)]
        of_order = entries_by(connection, By.ORDER, said.order_id, position, limit=9)  # one in each shard
        assert [(it.shard, it.seq) for it in of_order] == [(0, 42), (1, 42)]
        assert entries_by(connection, By.ORDER, said.order_id, position, after=(0, 42), limit=9) == [found]
        assert entries_by(connection, By.REFERENCE, "nothing", position, limit=9) == []
        assert entries_by(connection, By.EVENT, said.event_id, {0: ENTRIES, 1: 41}, limit=2) == []
        (legs,) = legs_of(connection, [(1, 42)]).values()
        assert [(it.account, abs(it.amount_minor)) for it in legs] == [
            (leg.account, int(leg.amount_minor)) for leg in said.lines
        ]


@pytest.mark.parametrize("account", ["revenue:fees", "asset:psp:shop-3"])
@pytest.mark.parametrize("limit", [1000, 97])
def test_the_pages_of_a_statement_have_every_line_once_and_its_balance(
    projected: tuple[str, str, list[Ledger]], account: str, limit: int
) -> None:
    url, place, _ = projected
    position = {0: ENTRIES, 1: 501}
    with asking(url, place) as connection:
        lines: list[StatementLine] = []
        behind: Behind = {}
        balance = 0
        while True:
            opening, page = statement(connection, account, "USD", position, behind=behind, limit=limit)
            assert opening == balance
            if not page:
                break
            lines += page
            balance, behind = page[-1].balance_minor, behind_page(behind, page)
        (sides,) = account_sides(connection, account, position)
    assert balance == sides.debits - sides.credits == sum(line.amount_minor for line in lines)
    places = [(line.entry.known_at, line.entry.shard, line.entry.seq, line.line_no) for line in lines]
    assert places == sorted(set(places))
    assert max(line.entry.seq for line in lines if line.entry.shard == 1) <= 501


def test_a_statement_begins_with_what_was_there(projected: tuple[str, str, list[Ledger]]) -> None:
    url, place, ledgers = projected
    with asking(url, place) as connection:
        whole = statement(connection, "revenue:fees", "USD", {0: ENTRIES}, limit=2000)[1]
        opening, rest = statement(connection, "revenue:fees", "USD", {0: ENTRIES}, behind={0: (600, 9)}, limit=2000)
    assert opening == -3 * 600
    assert rest == whole[600:]
    assert len(ledgers[0].entries) == len(whole)
