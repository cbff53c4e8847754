"""Every life of a database is on record, once, in order, with its audit intent; a what-if never becomes the ledger."""

from __future__ import annotations

import concurrent.futures
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumers.metrics import NullMetrics
from finance.settings.deployment import Settings
from finance.settings.variables import PROCESSES
from finance.wiring import services
from ledger_core.errors import Refused
from ledger_core.postgres.proving.prover_store import INSERT_RANGE
from ledger_core.postgres.proving.tile_store import KEEP_CHECKPOINT
from ledger_core.postgres.recovery.epochs import Epoch, EpochHead, EpochKind, begin_epoch, heads_hash, read_epoch
from ledger_core.postgres.session import session
from schemas.topology.load import load_topology
from tests.support.databases import role_url
from tests.support.journal_factory import TinyShard
from tests.support.journal_writer import write
from tests.support.waits import PATIENCE_SECONDS, until

ACTOR = "operator:alice"
# The projector's tables are of the journal topic, whatever the database beside them is (decision 124).
OF_THE_LEDGER = sorted({*PROCESSES} - {"projector"})


def begin(database_url: str, kind: EpochKind, reason: str = "a test") -> Epoch:
    with session(database_url, application_name="test") as connection:
        return begin_epoch(
            connection, kind=kind, epoch_id=str(uuid.uuid4()), actor_id=ACTOR, reason=reason, trace_id="t1"
        )


def rows(database_url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query).fetchall()


def test_a_new_database_is_in_its_genesis(database_url: str) -> None:
    for role in (*OF_THE_LEDGER, "api", "auditor"):
        with session(role_url(database_url, f"finance_{role}"), application_name="test") as connection:
            epoch = read_epoch(connection)
        assert (epoch.epoch_no, epoch.kind, epoch.heads) == (1, "genesis", ())


def test_an_epoch_holds_the_heads_and_leaves_one_intent(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO shards (shard, topic, first_offset, next_offset, seq, posted, head_hash, relayed_offset) "
            "VALUES (0, 't', 0, 9, 9, 9, sha256('x'), 9), (1, 't', 0, 0, 0, 0, NULL, 0)"
        )
    epoch = begin(database_url, "restore", "the disk was lost")
    head = rows(database_url, "SELECT encode(sha256('x'), 'hex')")[0][0]
    assert (epoch.epoch_no, epoch.kind, epoch.actor_id) == (2, "restore", ACTOR)
    assert epoch.heads == (EpochHead(0, 9, 9, str(head)), EpochHead(1, 0, 0, None))
    heads: list[object] = [
        {"shard": 0, "seq": "9", "next_offset": "9", "head_hash": head},
        {"shard": 1, "seq": "0", "next_offset": "0", "head_hash": None},
    ]
    named = {"epoch_no": "2", "epoch_id": epoch.epoch_id}
    began = {"kind": "restore", "reason": "the disk was lost", "shards": "2", "heads_hash": heads_hash(heads)}
    assert rows(
        database_url, "SELECT event_type, actor_id, payload, trace_id FROM audit_outbox ORDER BY outbox_id"
    ) == [
        ("ledger.epoch_heads", ACTOR, {**named, "heads": heads}, "t1"),
        ("ledger.epoch_began", ACTOR, {**named, **began}, "t1"),
    ]


def test_the_heads_of_a_thousand_shards_stand_on_the_audit_chain(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO shards (shard, topic, first_offset, next_offset, seq, posted, head_hash, relayed_offset) "
            "SELECT n, 't', 0, 9223372036854775807, 9223372036854775807, 9223372036854775807, sha256('x'), 0 "
            "FROM generate_series(0, 999) n"
        )
    epoch = begin(database_url, "restore")
    query = "SELECT payload FROM audit_outbox WHERE event_type = '{}' ORDER BY outbox_id"
    parts: list[Any] = [payload for (payload,) in rows(database_url, query.format("ledger.epoch_heads"))]
    heads = [head for part in parts for head in part["heads"]]
    assert [head["shard"] for head in heads] == list(range(1000)) == [head.shard for head in epoch.heads]
    ((began,),) = rows(database_url, query.format("ledger.epoch_began"))
    assert began == {
        "epoch_no": "2",
        "epoch_id": epoch.epoch_id,
        "kind": "restore",
        "reason": "a test",
        "shards": "1000",
        "heads_hash": heads_hash(heads),
    }


def test_epochs_that_begin_at_once_follow_each_other(database_url: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        began = list(pool.map(lambda _: begin(database_url, "rebuild"), range(8)))
    assert sorted(epoch.epoch_no for epoch in began) == [2, 3, 4, 5, 6, 7, 8, 9]


DIGEST = b"\x01" * 32
# What a process writes only in the epoch that it knows: its role, a statement that asks for it, and values for it.
LIVE = {"shard": 0, "size": 1, "verdict_count": 0, "next_offset": 1, "note": b"note", "epoch": 1}
ASKS: dict[str, tuple[str, str, tuple[object, ...] | dict[str, object]]] = {
    "range": ("prover", INSERT_RANGE, (0, 1, 1, 1, 0, 1, b"{}", DIGEST, b"note", b"", b"", DIGEST, 1, 1, 1)),
    "live checkpoint": ("prover", KEEP_CHECKPOINT, LIVE),
}


@pytest.mark.parametrize("first", ["the epoch", "the statement"])
@pytest.mark.parametrize(("role", "statement", "values"), ASKS.values(), ids=ASKS)
def test_whoever_asks_for_the_epoch_and_writes_is_before_the_next_one_or_after_it(
    database_url: str, first: str, role: str, statement: str, values: tuple[object, ...] | dict[str, object]
) -> None:
    """Never in between: what was closed in the old life after the new one began would contradict what binds it."""
    write(database_url, TinyShard().post(1))
    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        psycopg.connect(database_url) as owner,
        psycopg.connect(role_url(database_url, f"finance_{role}")) as writer,
    ):
        if first == "the statement":
            assert writer.execute(statement, values).rowcount == 1
            began = pool.submit(begin, database_url, "restore")
            until("the epoch waits", lambda: waiting_for_a_lock(database_url) == 1)
            writer.commit()
            assert began.result(PATIENCE_SECONDS).epoch_no == 2
        else:
            began_by(owner)
            wrote = pool.submit(writer.execute, statement, values)
            until("the statement waits", lambda: waiting_for_a_lock(database_url) == 1)
            owner.commit()
            assert wrote.result(PATIENCE_SECONDS).rowcount == 0


def began_by(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """An epoch in a transaction that is still open."""
    connection.execute("SELECT 1")
    begin_epoch(connection, kind="restore", epoch_id=str(uuid.uuid4()), actor_id=ACTOR, reason="r", trace_id="t1")


def waiting_for_a_lock(database_url: str) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return int(str(rows(database_url, query)[0][0]))


def test_nothing_but_what_if_follows_a_what_if(database_url: str) -> None:
    begin(database_url, "what-if")
    with pytest.raises(Refused, match="not the ledger"):
        begin(database_url, "restore")
    assert begin(database_url, "what-if").epoch_no == 3
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("INSERT INTO epochs SELECT 4, 'x', 'replay', began_at, '', '', heads FROM epochs LIMIT 1")


@pytest.mark.parametrize("change", ["UPDATE epochs SET kind = 'replay'", "DELETE FROM epochs", "TRUNCATE epochs"])
def test_no_epoch_ever_changes(database_url: str, change: str) -> None:
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(change)


def test_only_the_owner_begins_an_epoch(database_url: str) -> None:
    for role in (*PROCESSES, "api", "auditor"):
        with pytest.raises(Refused, match="may not"):
            begin(role_url(database_url, f"finance_{role}"), "restore")


@pytest.mark.parametrize("name", OF_THE_LEDGER)
def test_no_process_works_on_a_what_if_database(environ: dict[str, str], name: str) -> None:
    begin(environ["DATABASE_URL"], "what-if", "fees of next year")
    settings = Settings.from_env(environ, Path.cwd())
    topology = load_topology(settings.topology_path, topic_prefix=settings.topic_prefix)
    with pytest.raises(Refused, match=r"not the ledger: epoch 2 is a what-if \(fees of next year\)"):
        services.build_service(name, settings, topology, NullMetrics())
