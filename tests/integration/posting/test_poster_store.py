"""What the database itself refuses, whoever asks; and the poster's store under races, roles and lost sessions."""

from __future__ import annotations

import threading

import psycopg
import pytest
from psycopg import errors

from ledger_core.errors import Corrupt, Refused, Unavailable
from ledger_core.postgres.posting import control
from ledger_core.postgres.posting.plan_writer import headers_from_json, headers_to_json
from ledger_core.postgres.posting.poster_store import PosterStore
from ledger_core.posting.store_port import BatchFailed, EventIdTaken, Fenced, Halted
from tests.support.databases import role_url
from tests.support.posting_runs import check_ledger, commit, rows, watched_caches
from tests.support.settlements import TOPIC, event_id, record, sale, settlement
from tests.support.waits import until

pytestmark = pytest.mark.services

APPEND_ONLY = ("entries", "lines", "accounts", "verdicts", "dead_letters")


@pytest.fixture
def poster_url(database_url: str) -> str:
    return role_url(database_url, "finance_poster")


def _a_little_of_everything(url: str) -> None:
    store = PosterStore(url)
    pii = settlement(1, pii_digest="ab" * 32)
    commit(store, store.open_shard(0, TOPIC), [record(0, pii), record(1, value=b"bad"), record(2, pii)])
    store.close()


def test_unbalanced_lines_are_refused_by_the_database(database_url: str) -> None:
    insert = "INSERT INTO lines VALUES (0, 1, 1, 1, 1, %s, 'USD'), (0, 1, 2, 2, -1, 100, %s)"
    for parameters in ((101, "USD"), (100, "EUR")):
        with (
            psycopg.connect(database_url) as connection,
            pytest.raises(errors.CheckViolation, match="unbalanced entry"),
        ):
            connection.execute(insert, parameters)
    with psycopg.connect(database_url) as connection:
        connection.execute(insert, (100, "USD"))


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("role", ["postgres", "finance_poster"])
def test_what_was_posted_cannot_be_changed_by_anybody(
    database_url: str, poster_url: str, table: str, role: str
) -> None:
    _a_little_of_everything(poster_url)
    url = database_url if role == "postgres" else poster_url
    before = rows(database_url, f"SELECT * FROM {table}")
    assert before
    for statement in (f"UPDATE {table} SET shard = shard", f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with psycopg.connect(url) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.encode())
    assert rows(database_url, f"SELECT * FROM {table}") == before


def test_nobody_empties_the_heads(database_url: str, poster_url: str) -> None:
    _a_little_of_everything(poster_url)
    before = rows(database_url, "SELECT * FROM shards")
    for statement in (b"TRUNCATE shards", b"DELETE FROM shards"):
        with psycopg.connect(database_url) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement)
    assert rows(database_url, "SELECT * FROM shards") == before


@pytest.mark.parametrize(
    "change",
    ["seq = seq - 1, posted = posted - 1", "next_offset = 0", "topic = 'other'", "relayed_offset = -1", "posted = 9",
     "head_hash = NULL", "head_hash = sha256('another')", "duplicates = 0, rejected = 2", "accounts = 0"],
)  # fmt: skip
def test_head_of_a_shard_only_grows_and_adds_up(poster_url: str, change: str) -> None:
    _a_little_of_everything(poster_url)
    refused = (errors.InsufficientPrivilege, errors.CheckViolation)
    with psycopg.connect(poster_url) as connection, pytest.raises(refused):
        connection.execute(f"UPDATE shards SET {change}".encode())
    with psycopg.connect(poster_url) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute("DELETE FROM shards")


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO ranges DEFAULT VALUES", "SELECT * FROM proofs", "INSERT INTO audit_events DEFAULT VALUES",
     "SELECT * FROM audit_outbox", "DELETE FROM audit_outbox", "DELETE FROM personal_data",
     "DELETE FROM balances", "CREATE TABLE mine ()", "ALTER TABLE entries DISABLE TRIGGER ALL", "DELETE FROM halts",
     "DROP TRIGGER lines_must_balance ON lines", "SET ROLE postgres", "SET session_replication_role = replica"],
)  # fmt: skip
def test_poster_role_can_do_nothing_but_post(poster_url: str, statement: str) -> None:
    with psycopg.connect(poster_url) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_zombie_with_an_old_head_is_fenced_and_writes_nothing(database_url: str, poster_url: str) -> None:
    zombie, owner = PosterStore(poster_url), PosterStore(poster_url)
    head = zombie.open_shard(0, TOPIC)
    commit(owner, owner.open_shard(0, TOPIC), [record(0, settlement(1))])
    with pytest.raises(Fenced):
        commit(zombie, head, [record(0, settlement(2)), record(1, settlement(3))])
    assert rows(database_url, "SELECT event_id::text FROM entries") == [(event_id(1),)]
    after = zombie.open_shard(0, TOPIC)
    assert (after.next_offset, after.seq, after.accounts) == (1, 1, 3)
    commit(zombie, after, [record(1, settlement(2, lines=sale(seller="new")))])
    check_ledger(database_url)


def wait_cut(database_url: str) -> None:
    """Until the server has ended the poster's transaction, which does nothing."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
    until("the server ends the transaction", lambda: rows(database_url, query) == [(0,)])


def test_frozen_owner_loses_its_transaction_and_ends_as_unavailable(database_url: str, poster_url: str) -> None:
    """Not as Corrupt: a frozen process must not halt the ledger when it wakes up."""
    frozen, owner = PosterStore(poster_url), PosterStore(poster_url)
    head = frozen.open_shard(0, TOPIC)
    with pytest.raises(Unavailable):
        commit(frozen, head, [record(0, settlement(1))], look=lambda: wait_cut(database_url))
    commit(owner, owner.open_shard(0, TOPIC), [record(0, settlement(1))])
    check_ledger(database_url)


def test_missing_privilege_is_refused_with_a_remedy_and_blames_no_record(database_url: str, poster_url: str) -> None:
    store = PosterStore(poster_url)
    head = store.open_shard(0, TOPIC)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("REVOKE INSERT ON lines FROM finance_poster")
    with pytest.raises(Refused, match="may not do that"):
        commit(store, head, [record(0, settlement(1))])


def test_row_that_contradicts_the_ledger_fails_the_batch_and_leaves_no_account_number(
    database_url: str, poster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = watched_caches(monkeypatch)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO entries VALUES (0, 1, gen_random_uuid(), 0, now(), decode(repeat('00', 32), 'hex'), '{}')"
        )
    store = PosterStore(poster_url)
    head = store.open_shard(0, TOPIC)
    for _ in range(2):
        with pytest.raises(BatchFailed):
            commit(store, head, [record(0, settlement(1))])
    assert rows(database_url, "SELECT count(*) FROM accounts") == [(0,)]
    assert [numbers.by_account for numbers in caches] == [{}]


def test_halted_ledger_takes_no_batch(database_url: str, poster_url: str) -> None:
    store = PosterStore(poster_url)
    head = store.open_shard(0, TOPIC)
    control.halt(database_url, reason="first", actor_id="operator:test", trace_id="t")
    assert store.is_halted()
    with pytest.raises(Halted):
        commit(store, head, [record(0, settlement(1))])


def test_shard_of_another_topic_is_corrupt(poster_url: str) -> None:
    store = PosterStore(poster_url)
    store.open_shard(0, TOPIC)
    with pytest.raises(Corrupt, match=r"grew from topic finance\.settlements"):
        store.open_shard(0, "other")


def test_two_shards_racing_for_the_same_event_ids_give_each_one_first_verdict(
    database_url: str, poster_url: str
) -> None:
    """Valid in shard 0, unbalanced in shard 1, and reversing in both; many rounds, no pause."""
    rounds, failures = 40, list[BaseException]()

    def run(shard: int) -> None:
        try:
            store = PosterStore(poster_url)
            head = store.open_shard(shard, TOPIC)
            for n in range(rounds):
                good = settlement(n)
                bad = settlement(n, lines=sale()[:2])
                turned = settlement(1_000 + n, reverses=event_id(n))
                mine = [good, turned] if (shard + n) % 3 else [bad, good]
                for attempt in range(10):
                    try:
                        offset = head.next_offset
                        batch = [record(offset + i, fields, shard=shard) for i, fields in enumerate(mine)]
                        head = commit(store, head, batch)
                        break
                    except EventIdTaken:
                        assert attempt < 9
            store.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(shard,)) for shard in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    both = "SELECT event_id FROM entries INTERSECT SELECT event_id FROM verdicts WHERE first_verdict"
    assert rows(database_url, both) == []
    assert rows(database_url, "SELECT sum(next_offset) FROM shards") == [(4 * rounds,)]
    check_ledger(database_url)


@pytest.mark.parametrize("batch", ["a refund of a posted sale", "an event rejected before", "a conflict"])
def test_what_is_no_first_rejection_stops_no_other_shard(poster_url: str, database_url: str, batch: str) -> None:
    one, two = PosterStore(poster_url), PosterStore(poster_url)
    other = two.open_shard(1, TOPIC)
    bad = settlement(2, reverses=event_id(99))
    head = commit(one, one.open_shard(0, TOPIC), [record(0, settlement(1)), record(1, bad)])
    fields = {
        "a refund of a posted sale": settlement(3, reverses=event_id(1)),
        "an event rejected before": bad,
        "a conflict": settlement(1, order_id="other"),
    }[batch]

    def post_beside() -> None:
        commit(two, other, [record(0, settlement(50), shard=1)])

    commit(one, head, [record(2, fields)], look=post_beside)  # who waits for a lock here waits until it is Unavailable
    assert rows(database_url, "SELECT count(*) FROM entries WHERE shard = 1") == [(1,)]
    check_ledger(database_url)


def test_headers_come_back_exactly(poster_url: str) -> None:
    headers = (("trace", b"\x00\xff"), ("trace", None), ("", b""), ("naïve \x01", b"x" * 1000))
    store = PosterStore(poster_url)
    commit(store, store.open_shard(0, TOPIC), [record(0, value=b"bad", key=b"\x00", headers=headers)])
    ((stored,),) = rows(poster_url, "SELECT headers FROM dead_letters")
    assert headers_from_json(stored) == headers
    assert headers_to_json(record(0, value=b"bad", headers=())) == "[]"
