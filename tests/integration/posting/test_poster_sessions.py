"""The poster's session whatever the database defaults to, what waits to be relayed, and what is remembered."""

from __future__ import annotations

import threading

import msgspec
import psycopg
import pytest
from psycopg import sql

from ledger_core.errors import Unavailable
from ledger_core.postgres.posting import poster_store
from ledger_core.postgres.posting.account_numbers import ACCOUNT_BYTES
from ledger_core.postgres.posting.poster_store import PosterStore
from ledger_core.posting.plans import ShardHead
from ledger_core.posting.store_port import Halted
from tests.support.databases import role_url
from tests.support.posting_runs import check_ledger, commit, rows, watched_caches
from tests.support.settlements import TOPIC, record, sale, settlement
from tests.support.waits import until

pytestmark = pytest.mark.services


@pytest.fixture
def poster_url(database_url: str) -> str:
    return role_url(database_url, "finance_poster")


def test_halt_while_a_batch_waits_for_its_shard_is_seen_whatever_the_database_defaults_to(
    database_url: str, poster_url: str
) -> None:
    _set_default(database_url, "default_transaction_isolation", "repeatable read")
    store = PosterStore(poster_url)
    head = store.open_shard(0, TOPIC)
    came: list[BaseException | ShardHead] = []

    def post() -> None:
        try:
            came.append(commit(store, head, [record(0, settlement(1))]))
        except Halted as error:
            came.append(error)

    with psycopg.connect(database_url) as other:
        other.execute("SELECT 1 FROM shards WHERE shard = 0 FOR UPDATE")
        batch = threading.Thread(target=post)
        batch.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        until("the batch waits for the shard", lambda: rows(database_url, waiting) != [(0,)])
        with psycopg.connect(database_url, autocommit=True) as operator:
            operator.execute("INSERT INTO halts (reason, actor_id, trace_id) VALUES ('now', 'operator:a', '')")
    batch.join()
    assert isinstance(came[0], Halted), "posted after the halt"
    assert rows(database_url, "SELECT count(*) FROM entries") == [(0,)]


def test_database_that_takes_no_writes_is_waited_for(database_url: str, poster_url: str) -> None:
    """A demoted primary says so for a while: no reason to end with a traceback."""
    _set_default(database_url, "default_transaction_read_only", "on")
    with pytest.raises(Unavailable, match="read-only"):
        PosterStore(poster_url).open_shard(0, TOPIC)


def _set_default(database_url: str, name: str, value: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        database = sql.Identifier(connection.info.dbname)
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(database, sql.Identifier(name), sql.Literal(value))
        )


def test_what_waits_to_be_relayed_is_exactly_what_lies_between_two_offsets(poster_url: str) -> None:
    store = PosterStore(poster_url)
    some = [record(n, settlement(n // 2)) if n % 3 else record(n, value=b"bad") for n in range(12)]
    head = commit(store, store.open_shard(0, TOPIC), some)
    assert 0 < head.posted < 12 - head.rejected < 12, "entries, duplicates and rejections"
    for first in range(13):
        relayed = msgspec.structs.replace(head, relayed_offset=first)
        for upto in range(first, 13):
            found = store.unrelayed(relayed, upto)
            assert [item.offset for item in found] == list(range(first, upto))
            assert all((item.entry is None) != (item.verdict is None) for item in found)


def test_accounts_of_all_shards_share_one_bound_and_keep_their_numbers(
    database_url: str, poster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poster_store, "CACHED_BYTES_MAX", 4 * (ACCOUNT_BYTES + 30))
    caches = watched_caches(monkeypatch)
    store = PosterStore(poster_url)
    heads = [store.open_shard(shard, TOPIC) for shard in range(3)]
    for turn in range(3):
        for shard in range(3):
            fields = settlement(10 * turn + shard, lines=sale(seller=f"seller-{turn}"))
            heads[shard] = commit(store, heads[shard], [record(turn, fields, shard=shard)])
            assert sum(len(numbers.by_account) for numbers in caches) <= 4 + 3
    assert rows(database_url, "SELECT shard, count(*), max(account_no) FROM accounts GROUP BY 1 ORDER BY 1") == [
        (0, 5, 5), (1, 5, 5), (2, 5, 5),
    ]  # fmt: skip
    check_ledger(database_url)
