"""A projection in Postgres: the same rows however it was fed, one owner a shard, nothing of another ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.reading.projection_places import PLACES, enter
from ledger_core.postgres.reading.projection_store import ProjectionStore
from ledger_core.posting.store_port import Fenced
from ledger_core.reading.fold import ShardReach, fold
from ledger_core.reading.known import close_at
from tests.support.projections import NOW, Ledger, ask_there, begun, contents, feed, make_schemas, opened, projection_in

pytestmark = pytest.mark.services

ENTRIES = 1000


@pytest.fixture
def url(database_url: str) -> str:
    make_schemas(database_url)
    return database_url


def test_how_a_projection_was_fed_changes_no_row(url: str) -> None:
    ledger = Ledger.of(ENTRIES)
    places = []
    for size in (ENTRIES, 73):
        place = begun(url)
        with opened(url, place) as store:
            feed(store, ledger.items, size)
        ask_there(url, place)
        places.append(place)
    assert places == list(PLACES)
    one, two = (contents(url, place) for place in places)
    assert {table: len(rows) for table, rows in one.items() if not rows} == {}
    assert one == two


def test_fed_twice_is_fed_once(url: str) -> None:
    ledger = Ledger.of(ENTRIES)
    place = begun(url)
    with opened(url, place) as store:
        feed(store, ledger.items, 300)
        before = contents(url, place)
        reach = store.reach(0)
        store.write(reach, fold(reach, ledger.items[200:], NOW))
        assert contents(url, place) == before


def test_a_store_that_was_opened_anew_goes_on(url: str) -> None:
    ledger = Ledger.of(ENTRIES)
    place = begun(url)
    for end in (1, 255, 256, 300, ENTRIES):
        with opened(url, place) as store:
            assert feed(store, ledger.items[:end], 100).seq == end
            assert store.reach(0).head == ledger.items[end - 1].entry_hash


def test_a_projector_whose_shard_another_one_moved_writes_nothing(url: str) -> None:
    ledger = Ledger.of(40)
    place = begun(url)
    with opened(url, place) as ours, opened(url, place) as theirs:
        reach = feed(ours, ledger.items[:10], 10)
        feed(theirs, ledger.items[:20], 10)
        before = contents(url, place)
        with pytest.raises(Fenced):
            ours.write(reach, fold(reach, ledger.items[10:30], NOW))
        assert contents(url, place) == before
        assert feed(ours, ledger.items, 10).seq == 40


class Dying(psycopg.Cursor[Any]):
    """Loses its server in front of one statement, counted over all cursors."""

    left = 10**9

    def _one_less(self) -> None:
        Dying.left -= 1
        if Dying.left == 0:
            self.connection.close()
            raise psycopg.OperationalError("the server went away")

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        self._one_less()
        return super().execute(*args, **kwargs)

    @contextmanager
    def copy(self, *args: Any, **kwargs: Any) -> Iterator[psycopg.Copy]:
        self._one_less()
        with super().copy(*args, **kwargs) as copy:
            yield copy


def test_killed_in_front_of_each_statement_it_leaves_nothing_and_goes_on(url: str) -> None:
    ledger = Ledger.of(520)
    place = begun(url)
    with opened(url, place) as store:
        reach = feed(store, ledger.items[:250], 250)
    before = contents(url, place)
    died = 0
    for number in range(1, 40):
        connection = psycopg.connect(url, autocommit=True, cursor_factory=Dying)
        enter(connection, place)
        with closing(ProjectionStore(connection, projection_in(connection, place))) as store:
            Dying.left = number
            try:
                store.write(reach, fold(reach, ledger.items[250:], NOW))
            except Unavailable:
                died += 1
                assert contents(url, place) == before
                continue
            finally:
                Dying.left = 10**9
        break
    assert died > 10
    ask_there(url, place)
    other = begun(url)
    with opened(url, other) as store:
        feed(store, ledger.items, 520)
    assert contents(url, other) == contents(url, place)


def test_another_ledgers_journal_is_refused_though_it_only_repeats(url: str) -> None:
    place = begun(url)
    with opened(url, place) as store:
        reach = feed(store, Ledger.of(20).items, 20)
        before = contents(url, place)
        other = Ledger.of(10, topic="other.settlements")
        with pytest.raises(Refused, match="entry 1 comes again") as refused:
            store.write(reach, fold(reach, other.items, NOW))
        assert "finance projection rebuild" in refused.value.remedy
        assert contents(url, place) == before


def test_a_shard_that_is_closed_answers_further_and_another_projection_agrees(url: str) -> None:
    ledger = Ledger.of(20)
    place = begun(url)
    with opened(url, place) as store:
        reach = feed(store, ledger.items[:10], 10)
        closed = close_at(reach.seq, reach.known_us, reach.known_us + 3_600_000_000)
        assert closed is not None
        assert store.close_shard(reach, closed) == store.reach(0)
        assert feed(store, ledger.items, 10).known_us == closed.known_us
    ask_there(url, place)
    other = begun(url)
    with opened(url, other) as store:
        feed(store, ledger.items, 7)
    assert contents(url, other) == contents(url, place)


def closings(url: str) -> list[tuple[int, int]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT seq, known_us FROM reading.kept_times ORDER BY 1").fetchall()


def test_times_that_a_silent_shard_was_closed_at_do_not_pile_up(url: str) -> None:
    ledger = Ledger.of(5)
    place, other = begun(url), ""
    with opened(url, place) as store:
        feed(store, ledger.items, 5)
    ask_there(url, place)
    with opened(url, place) as store:
        for pause in range(4):  # each time something comes again, recorded an hour later
            reach = store.reach(0)
            for minutes in (1, 2):
                closed = close_at(reach.seq, reach.known_us, reach.known_us + minutes * 60_000_000)
                assert closed is not None
                reach = store.close_shard(reach, closed)
            assert closings(url) == [(reach.seq + 1, reach.known_us)]
            ledger.grow(1, seconds=3600 * (pause + 1))
            other = begun(url)  # it may read further than the one that is asked, which rests on that time
            with opened(url, other) as beside:
                feed(beside, ledger.items, 3)
            assert closings(url) == [(reach.seq + 1, reach.known_us)]
            feed(store, ledger.items, 3)
            assert closings(url) == []
    assert contents(url, other) == contents(url, place)


def test_shards_number_their_series_apart(url: str) -> None:
    place = begun(url)
    with opened(url, place) as store:
        for shard in (0, 1):
            feed(store, Ledger.of(300, shard=shard).items, 300, shard=shard)
        assert store.reach(1).seq == store.reach(0).seq == 300
        assert store.reach(2) == ShardReach(2)
