"""What the database itself refuses, whoever asks; and the poster's store under races, roles and lost sessions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec
import psycopg
import pytest
from psycopg import errors, sql

from consumers.decision import decide
from ledger_core.errors import Corrupt, Refused, Unavailable
from ledger_core.ports import Record
from ledger_core.postgres import poster_store
from ledger_core.postgres.plan_writer import headers_from_json, headers_to_json
from ledger_core.postgres.poster_store import PosterStore
from ledger_core.posting import Decided, Known, Plan, ShardHead
from ledger_core.posting_port import BatchFailed, EventIdTaken, Fenced, Halted
from ledger_core.sequencing import event_ids, sequence
from tests.support.databases import role_url
from tests.support.posting_runs import check_ledger, rows
from tests.support.settlements import TOPIC, event_id, record, sale, settlement

pytestmark = pytest.mark.services

APPEND_ONLY = ("entries", "lines", "accounts", "verdicts", "dead_letters")


@pytest.fixture
def poster_url(database_url: str) -> str:
    return role_url(database_url, "finance_poster")


def _commit(
    store: PosterStore, head: ShardHead, records: list[Record], look: Callable[[], None] = lambda: None
) -> ShardHead:
    batch: list[Decided] = [decide(item) for item in records]
    ids, reversed_ids = event_ids(batch)

    def make_plan(known: dict[str, Known]) -> Plan:
        look()
        return sequence(head, batch, known)

    rejects = bool(reversed_ids) or any(not hasattr(item.outcome, "lines") for item in batch)
    return store.commit(head, ids + reversed_ids, rejects, make_plan, head.relayed_offset).after


def _a_little_of_everything(url: str) -> None:
    store = PosterStore(url)
    pii = settlement(1, pii={"name": "x"}, pii_salt=bytes(16))
    _commit(store, store.open_shard(0, TOPIC), [record(0, pii), record(1, value=b"bad"), record(2, pii)])
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
     "SELECT * FROM audit_outbox", "DELETE FROM audit_outbox", "DELETE FROM pii", "UPDATE pii SET pii = ''",
     "DELETE FROM balances", "CREATE TABLE mine ()", "ALTER TABLE entries DISABLE TRIGGER ALL", "DELETE FROM control",
     "DROP TRIGGER lines_must_balance ON lines", "SET ROLE postgres", "SET session_replication_role = replica"],
)  # fmt: skip
def test_poster_role_can_do_nothing_but_post(poster_url: str, statement: str) -> None:
    with psycopg.connect(poster_url) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_zombie_with_an_old_head_is_fenced_and_writes_nothing(database_url: str, poster_url: str) -> None:
    zombie, owner = PosterStore(poster_url), PosterStore(poster_url)
    head = zombie.open_shard(0, TOPIC)
    _commit(owner, owner.open_shard(0, TOPIC), [record(0, settlement(1))])
    with pytest.raises(Fenced):
        _commit(zombie, head, [record(0, settlement(2)), record(1, settlement(3))])
    assert rows(database_url, "SELECT event_id::text FROM entries") == [(event_id(1),)]
    after = zombie.open_shard(0, TOPIC)
    assert (after.next_offset, after.seq, after.accounts) == (1, 1, 3)
    _commit(zombie, after, [record(1, settlement(2, lines=sale(seller="new")))])
    check_ledger(database_url)


def test_frozen_owner_loses_its_transaction_and_ends_as_unavailable(database_url: str, poster_url: str) -> None:
    """Not as Corrupt: a frozen process must not halt the ledger when it wakes up."""
    frozen, owner = PosterStore(poster_url), PosterStore(poster_url)
    head = frozen.open_shard(0, TOPIC)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        _commit(frozen, head, [record(0, settlement(1))], look=lambda: time.sleep(2.6))
    assert time.monotonic() - began < 5
    _commit(owner, owner.open_shard(0, TOPIC), [record(0, settlement(1))])
    check_ledger(database_url)


def test_missing_privilege_is_refused_with_a_remedy_and_blames_no_record(database_url: str, poster_url: str) -> None:
    store = PosterStore(poster_url)
    head = store.open_shard(0, TOPIC)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("REVOKE INSERT ON lines FROM finance_poster")
    with pytest.raises(Refused, match="may not do that"):
        _commit(store, head, [record(0, settlement(1))])


def test_row_that_contradicts_the_ledger_fails_the_batch_and_leaves_no_account_number(
    database_url: str, poster_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO entries VALUES (0, 1, gen_random_uuid(), 0, now(), decode(repeat('00', 32), 'hex'), '{}')"
        )
    store = PosterStore(poster_url)
    head = store.open_shard(0, TOPIC)
    for _ in range(2):
        with pytest.raises(BatchFailed):
            _commit(store, head, [record(0, settlement(1))])
    assert rows(database_url, "SELECT count(*) FROM accounts") == [(0,)]
    assert store._numbers[0].by_account == {}


def test_halted_ledger_takes_no_batch_and_the_first_reason_stays(database_url: str, poster_url: str) -> None:
    from ledger_core.ports import AuditIntent

    store = PosterStore(poster_url)
    head = store.open_shard(0, TOPIC)
    for reason in ("first", "second"):
        store.halt(reason, AuditIntent("ledger.halted", "service:poster", {"reason": reason}, ""))
    assert store.is_halted()
    with pytest.raises(Halted):
        _commit(store, head, [record(0, settlement(1))])
    assert rows(database_url, "SELECT reason, (SELECT count(*) FROM audit_outbox) FROM control") == [("first", 1)]


def test_halt_while_a_batch_waits_for_its_shard_is_seen_whatever_the_database_defaults_to(
    database_url: str, poster_url: str
) -> None:
    _set_default(database_url, "default_transaction_isolation", "repeatable read")
    store = PosterStore(poster_url)
    head = store.open_shard(0, TOPIC)
    came: list[BaseException | ShardHead] = []

    def commit() -> None:
        try:
            came.append(_commit(store, head, [record(0, settlement(1))]))
        except Halted as error:
            came.append(error)

    with psycopg.connect(database_url) as other:
        other.execute("SELECT 1 FROM shards WHERE shard = 0 FOR UPDATE")
        batch = threading.Thread(target=commit)
        batch.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        deadline = time.monotonic() + 8
        while rows(database_url, waiting) == [(0,)]:
            assert time.monotonic() < deadline, "the batch does not wait for the shard"
        with psycopg.connect(database_url, autocommit=True) as operator:
            operator.execute("UPDATE control SET halted = true, reason = 'now'")
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
    head = _commit(store, store.open_shard(0, TOPIC), some)
    assert 0 < head.posted < 12 - head.rejected < 12, "entries, duplicates and rejections"
    for first in range(13):
        relayed = msgspec.structs.replace(head, relayed_offset=first)
        for upto in range(first, 13):
            found = store.unrelayed(relayed, upto)
            assert [item.offset for item in found] == list(range(first, upto))
            assert all((item.entry is None) != (item.verdict is None) for item in found)


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
                        head = _commit(store, head, batch)
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


def test_accounts_of_all_shards_share_one_bound_and_keep_their_numbers(
    database_url: str, poster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poster_store, "CACHED_ACCOUNTS_MAX", 4)
    store = PosterStore(poster_url)
    heads = [store.open_shard(shard, TOPIC) for shard in range(3)]
    for turn in range(3):
        for shard in range(3):
            fields = settlement(10 * turn + shard, lines=sale(seller=f"seller-{turn}"))
            heads[shard] = _commit(store, heads[shard], [record(turn, fields, shard=shard)])
            assert sum(len(numbers.by_account) for numbers in store._numbers.values()) <= 4 + 3
    assert rows(database_url, "SELECT shard, count(*), max(account_no) FROM accounts GROUP BY 1 ORDER BY 1") == [
        (0, 5, 5), (1, 5, 5), (2, 5, 5),
    ]  # fmt: skip
    check_ledger(database_url)


def test_headers_come_back_exactly(poster_url: str) -> None:
    headers = (("trace", b"\x00\xff"), ("trace", None), ("", b""), ("naïve \x01", b"x" * 1000))
    store = PosterStore(poster_url)
    _commit(store, store.open_shard(0, TOPIC), [record(0, value=b"bad", key=b"\x00", headers=headers)])
    ((stored,),) = rows(poster_url, "SELECT headers FROM dead_letters")
    assert headers_from_json(stored) == headers
    assert headers_to_json(record(0, value=b"bad", headers=())) == "[]"
