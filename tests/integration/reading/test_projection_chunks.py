"""A projection of many chunks and months: found by name, summed up and listed as if it were one table."""

from __future__ import annotations

import datetime as dt

import psycopg
import pytest

from ledger_core.postgres.reading.projection_balances import account_sides, trial_sides
from ledger_core.postgres.reading.projection_entries import (
    Behind,
    By,
    StatementLine,
    behind_page,
    entries_by,
    legs_of,
    statement,
)
from ledger_core.reading.chunks import CHUNK_ENTRIES
from tests.support.journal_factory import START, TinyShard
from tests.support.projections import Ledger, asking, begun, contents, feed, jump, make_schemas, opened

pytestmark = pytest.mark.services

# Stretches of entries, each begins 100 entries in front of a chunk; six hours apart: the chunks lie in eight months.
STRETCHES = (1, 2, 3, 8, 30, 31)
EACH = 160
DAY = START.date() + dt.timedelta(days=120)
RARE = "asset:psp:shop-3"


@pytest.fixture
def ledger_at(database_url: str) -> tuple[str, str, Ledger]:
    make_schemas(database_url)
    place, ledger = begun(database_url), Ledger(TinyShard())
    for number, chunk in enumerate(STRETCHES):
        ledger.behind = chunk * CHUNK_ENTRIES - 100
        jump(database_url, place, 0, ledger.behind)
        with opened(database_url, place) as store:  # nothing of the stretch before is in memory
            feed(store, ledger.grow(EACH, seconds=6 * 3600), 50 + number)
    return database_url, place, ledger


def end(ledger: Ledger) -> dict[int, int]:
    return {0: ledger.behind}


def test_entries_of_every_chunk_are_found_by_their_names(ledger_at: tuple[str, str, Ledger]) -> None:
    url, place, ledger = ledger_at
    with asking(url, place) as connection:
        months = connection.execute("SELECT count(DISTINCT known_month), count(DISTINCT chunk) FROM chunks").fetchone()
        assert months == (8, 2 * len(STRETCHES) - 3)  # three pairs of stretches meet in a chunk
        for at in (0, 99, 100, EACH - 1, EACH, 5 * EACH + 101, 6 * EACH - 1):
            entry = ledger.entries[at]
            for by, name in ((By.EVENT, entry.event_id), (By.ORDER, entry.order_id), (By.REFERENCE, f"pi_{at}")):
                (found,) = entries_by(connection, by, name, end(ledger), limit=2)
                assert (found.seq, found.settlement_id) == (int(entry.seq), entry.settlement_id)
                assert entries_by(connection, by, name, {0: found.seq - 1}, limit=2) == []
                assert entries_by(connection, by, name, end(ledger), after=(0, found.seq), limit=2) == []
            assert len(legs_of(connection, [(0, found.seq)])[0, found.seq]) == 3


def test_balances_are_those_of_plain_python_behind_every_chunk(ledger_at: tuple[str, str, Ledger]) -> None:
    url, place, ledger = ledger_at
    days = [START.date() + dt.timedelta(days=days) for days in (-30, 40, 130, 250)]
    with asking(url, place) as connection:
        for at in (0, 99, 100, EACH, 255, 256, 3 * EACH + 7, 5 * EACH + 101, 6 * EACH - 1):
            seq = int(ledger.entries[at].seq)
            for day in days:
                for account in ("revenue:fees", RARE):
                    assert account_sides(connection, account, {0: seq}, day) == ledger.sides(account, seq, day)


@pytest.mark.parametrize(("account", "limit"), [("revenue:fees", 97), (RARE, 1000), (RARE, 7)])
def test_a_statement_goes_through_all_chunks(ledger_at: tuple[str, str, Ledger], account: str, limit: int) -> None:
    url, place, ledger = ledger_at
    lines: list[StatementLine] = []
    behind: Behind = {}
    with asking(url, place) as connection:
        while True:
            opening, page = statement(connection, account, "USD", end(ledger), behind=behind, limit=limit)
            assert opening == (lines[-1].balance_minor if lines else 0)
            if not page:
                break
            lines += page
            behind = behind_page(behind, page)
    wanted = [int(it.seq) for it in ledger.entries for leg in it.lines if leg.account == account]
    assert [line.entry.seq for line in lines] == wanted


def test_names_that_meet_in_a_key_are_told_apart(ledger_at: tuple[str, str, Ledger]) -> None:
    url, place, ledger = ledger_at
    one, other = ledger.entries[5], ledger.entries[7]
    with psycopg.connect(url, options=f"-c search_path={place}") as connection:
        keys = connection.execute("SELECT order_key FROM entries WHERE seq = %s", (int(one.seq),)).fetchone()
        assert keys is not None
        connection.execute("UPDATE entries SET order_key = %s WHERE seq = %s", (keys[0], int(other.seq)))
        (found,) = entries_by(connection, By.ORDER, one.order_id, end(ledger), limit=2)
        assert found.seq == int(one.seq)


def test_many_chunks_are_the_same_rows_however_they_were_fed(database_url: str) -> None:
    make_schemas(database_url)
    ledger = Ledger(TinyShard(), behind=CHUNK_ENTRIES - 512)
    ledger.grow(1200, seconds=6 * 3600)
    rows = []
    for sizes in ((1200,), (300, 900), (17,)):
        place = begun(database_url)
        jump(database_url, place, 0, CHUNK_ENTRIES - 512)
        for size in sizes:
            with opened(database_url, place) as store:
                reach = store.reach(0)
                feed(store, ledger.items[: size if len(sizes) > 1 and reach.next_offset == 0 else None], size)
        rows.append(contents(database_url, place))
    assert rows[0] == rows[1] == rows[2]
    with asking(database_url, place) as connection:
        for seq in (CHUNK_ENTRIES - 100, CHUNK_ENTRIES + 1, ledger.behind):
            kinds = {it.name: it for it in trial_sides(connection, {0: seq}, DAY)}
            assert [kinds["revenue"]] == ledger.sides("revenue", seq, DAY)
