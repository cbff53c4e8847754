"""The questions of the read side on real Postgres: pages that fit together, positions whose answer never changes."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, closing

import psycopg
import pytest

from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.connection import connect
from ledger_core.postgres.reading import questions
from ledger_core.postgres.reading.asking import Asked, asking, wait_for
from ledger_core.postgres.reading.projection_entries import By, StatementLine
from ledger_core.postgres.reading.questions import BalancesPage, PayablesPage
from ledger_core.postgres.reading.stories import story_of
from ledger_core.reading.tokens import position_token
from tests.support.journal_factory import START
from tests.support.projections import Ledger, ask_there, begun, feed, make_schemas, opened

pytestmark = pytest.mark.services

ENTRIES = 700
DAY = START.date()


@pytest.fixture
def url(database_url: str) -> str:
    make_schemas(database_url)
    return database_url


@pytest.fixture
def ledgers(url: str) -> list[Ledger]:
    found = [Ledger.of(ENTRIES, shard=shard) for shard in (0, 1)]
    place = begun(url)
    with opened(url, place) as store:
        for shard, ledger in enumerate(found):
            feed(store, ledger.items[:500], 200, shard=shard)
    ask_there(url, place)
    return found


def ask(url: str) -> AbstractContextManager[Asked]:
    return asking(url, application_name="test")


def test_every_question_has_an_answer_that_names_its_position(url: str, ledgers: list[Ledger]) -> None:
    said = ledgers[1].entries[41]
    with ask(url) as asked:
        position = asked.position(None)
        assert asked.position(asked.reach.token) == position == {0: 500, 1: 500}
        for by, name, count in (
            (By.EVENT, said.event_id, 1),
            (By.SETTLEMENT, said.settlement_id, 1),
            (By.ORDER, said.order_id, 2),
            (By.REFERENCE, "pi_41", 2),
        ):
            story = story_of(asked, by, name, position)
            assert (len(story.entries), story.attempts, story.more) == (count, [] if count == 1 else (), False)
            assert sum(net.amount_minor for net in story.net) == 0
        first = questions.entries(asked, By.ORDER, said.order_id, position, limit=1)
        assert first.next is not None
        second = questions.entries(asked, By.ORDER, said.order_id, position, cursor=first.next, limit=1)
        assert [it.entry.shard for it in (*first.entries, *second.entries)] == [0, 1]
        assert second.next is None
        with pytest.raises(Refused, match="another question"):
            questions.entries(asked, By.ORDER, "order-1", position, cursor=first.next, limit=1)
        assert not story_of(asked, By.SETTLEMENT, "st_nobody", position).found


def test_statement_pages_fit_together_and_begin_with_what_was_there(url: str, ledgers: list[Ledger]) -> None:
    begin, end = {0: 100, 1: 0}, {0: 400, 1: 500}
    with ask(url) as asked:
        whole = questions.account_statement(asked, "revenue:fees", "USD", begin, end, limit=1000)
        assert (whole.opening_minor, len(whole.lines), whole.next) == (-300, 800, None)
        cursor = ""
        lines: list[StatementLine] = []
        while True:
            page = questions.account_statement(asked, "revenue:fees", "USD", begin, end, cursor=cursor, limit=97)
            assert page.opening_minor == (lines[-1].balance_minor if lines else -300)
            lines += page.lines
            if page.next is None:
                break
            cursor = page.next
        assert lines == whole.lines
        assert questions.currencies_of(asked, "revenue:fees") == ["USD"]
    assert len(ledgers) == 2


def test_balances_of_all_accounts_are_those_of_plain_python(url: str, ledgers: list[Ledger]) -> None:
    names = sorted({leg.account for ledger in ledgers for it in ledger.entries for leg in it.lines})
    with ask(url) as asked:
        position, cursor, found = asked.position(None), "", []
        while True:
            page = questions.balances(asked, position, DAY, cursor=cursor, limit=3)
            found += page.balances
            if page.next is None:
                break
            cursor = page.next
        assert [it.name for it in found] == names
        for sides in found:
            own = [ledger.sides(sides.name, 500, DAY)[0] for ledger in ledgers]
            assert (sides.debits, sides.credits) == (sum(it.debits for it in own), sum(it.credits for it in own))
        liabilities = questions.balances(asked, position, DAY, prefix="liability:", limit=100)
        assert [it.name for it in liabilities.balances] == [name for name in names if name.startswith("liability:")]
        assert questions.accounts_like(asked, "revenue:", 5) == ["revenue:fees"]


def test_what_payees_are_owed_adds_up_by_age(url: str, ledgers: list[Ledger]) -> None:
    with ask(url) as asked:
        page = questions.payables(asked, asked.position(None), DAY, limit=4)
        assert len(page.payables) == 4
        assert page.next is not None
        for it in page.payables:
            assert it.balance_minor == sum(part.amount_minor for part in it.parts) > 0
            wanted = sum(
                int(leg.amount_minor)
                for ledger in ledgers
                for entry in ledger.entries[:500]
                for leg in entry.lines
                if leg.account == it.account
                and entry.occurred_at[:10] > str(DAY - dt.timedelta(days=31))
                and entry.occurred_at[:10] <= str(DAY)
            )
            assert it.parts[0].amount_minor == wanted


@pytest.mark.parametrize("question", [questions.payables, questions.balances])
@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_a_page_is_full_unless_it_is_the_last(
    url: str, ledgers: list[Ledger], question: Callable[..., PayablesPage | BalancesPage], limit: int
) -> None:
    """Most accounts have no line yet there, and stand between those that have."""
    with ask(url) as asked:
        position = {0: 3, 1: 4}
        whole = question(asked, position, DAY, limit=1000)
        assert len(rows := whole[0]) > 3
        assert whole.next is None
        for without_max in (5_000, 1):
            cursor = ""
            found: list[object] = []
            sizes: list[int] = []
            while True:
                page = question(asked, position, DAY, cursor=cursor, limit=limit, without_max=without_max)
                found += page[0]
                sizes.append(len(page[0]))
                if page.next is None:
                    break
                cursor = page.next
            assert found == rows
            if without_max > 1:
                assert set(sizes[:-1]) <= {limit}
                assert sizes[-1] > 0
        assert not question(asked, {0: 0, 1: 0}, DAY, limit=limit)[0]
    assert len(ledgers) == 2


def test_months_add_up_to_the_balance(url: str, ledgers: list[Ledger]) -> None:
    with ask(url) as asked:
        found = questions.by_month(asked, ["revenue:fees"], asked.position(None), dt.date(2025, 9, 1), 4)
    assert [it.month for it in found] == ["2025-09", "2025-10", "2025-11"]
    assert sum(it.credits for it in found) == 3 * 500 * len(ledgers)


def answers(asked: Asked, known_at: int | str) -> list[object]:
    position = asked.position(known_at)
    return [
        position,
        questions.balances(asked, position, DAY, limit=30),
        questions.payables(asked, position, DAY, limit=5),
        questions.account_statement(asked, "asset:psp:shop-3", "USD", {}, position, limit=500),
        questions.by_month(asked, ["revenue:fees"], position, dt.date(2025, 9, 1), 4),
        story_of(asked, By.ORDER, "order-77", position),
    ]


def test_what_was_answered_as_known_at_a_time_never_changes_as_later_events_arrive(
    url: str, ledgers: list[Ledger]
) -> None:
    chance = random.Random(11)
    start = int(START.timestamp()) * 1_000_000
    given: dict[int | str, list[object]] = {}
    for upto in (500, 530, 600, ENTRIES):
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            row = connection.execute("SELECT place FROM reading.projections WHERE asked").fetchone()
            assert row is not None
        with opened(url, str(row[0])) as store:
            for shard, ledger in enumerate(ledgers):
                feed(store, ledger.items[:upto], 41, shard=shard)
        with ask(url) as asked:
            for known_at, was in given.items():
                assert answers(asked, known_at) == was
            moments: list[int | str] = [start + chance.randrange((upto - 2) * 1_000_000) for _ in range(4)]
            for known_at in (*moments, position_token({0: upto - 100, 1: upto})):
                given[known_at] = answers(asked, known_at)
    place = begun(url)  # another projection of the same journal
    with opened(url, place) as store:
        for shard, ledger in enumerate(ledgers):
            feed(store, ledger.items, 333, shard=shard)
    ask_there(url, place)
    with ask(url) as asked:
        for known_at, was in given.items():
            assert answers(asked, known_at) == was


def test_a_question_about_what_was_not_read_yet_is_refused(url: str, ledgers: list[Ledger]) -> None:
    with ask(url) as asked:
        with pytest.raises(Refused, match="entry 501 of shard 0"):
            asked.position(position_token({0: 501}))
        with pytest.raises(Refused, match="is known up to"):
            asked.position(int(START.timestamp() + 10**6) * 1_000_000)
    assert ledgers


def test_waiting_for_an_entry_is_bounded(url: str, ledgers: list[Ledger]) -> None:
    with closing(connect(url, application_name="test")) as connection:
        wait_for(connection, 1, 500, seconds=1)
        with pytest.raises(Unavailable, match="entry 501 of shard 1 was not read within"):
            wait_for(connection, 1, 501, seconds=0.2)
    assert ledgers


def test_a_snapshot_stays_with_its_projection_while_another_is_switched_to(url: str, ledgers: list[Ledger]) -> None:
    with ask(url) as asked:
        before = questions.balances(asked, asked.position(None), DAY, limit=30)
        place = begun(url)
        ask_there(url, place)
        assert questions.balances(asked, asked.position(None), DAY, limit=30) == before
    with ask(url) as asked:
        assert asked.reach.position == {}
    assert ledgers


def test_a_database_without_a_projection_of_this_version_says_what_to_do(url: str) -> None:
    with pytest.raises(Refused, match="no projection") as refused, ask(url):
        pass
    assert "finance run projector" in refused.value.remedy
    ask_there(url, begun(url))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE reading.projections SET version = 99")
    with pytest.raises(Refused, match="of version 99") as refused, ask(url):
        pass
    assert "finance projection rebuild" in refused.value.remedy
