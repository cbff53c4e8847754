"""A record that no reader can read: its shard stands still, alone, until an operator sets it aside, on record; and
replay and rebuild come to the same ledger. The same for a shard beyond its dead-letter limit, and for a record whose
row Postgres does not take."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from finance.workshop.devstack import Stack
from tests.support import databases
from tests.support.heavy_events import set_compression
from tests.support.kafka import client
from tests.support.posting_runs import rows, tables
from tests.support.replay_runs import empty_database, replay
from tests.support.route import Ledger, Running
from tests.support.waits import until

pytestmark = pytest.mark.services

BOMB_BYTES = 150 * 2**20  # more than a client receives; 5 kB in zstd
HALTS = "SELECT count(*) FROM shard_halts WHERE halt_id NOT IN (SELECT halt_id FROM shard_resumes)"


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    limits = {"poster_dead_letters_max": 40, "range_idle_seconds": 1, "audit_export_idle_seconds": 1}
    found = Ledger({**environ, "FINANCE_OPERATOR": "alice"}, tmp_path, limits)
    yield found
    found.end()


@pytest.fixture
def target(stack: Stack) -> Iterator[str]:
    url = empty_database(stack.env["DATABASE_URL"], f"replay_{uuid.uuid4().hex[:12]}")
    yield url
    databases.drop_database(stack.env["DATABASE_URL"], url)


def settlements(ledger: Ledger) -> str:
    return ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"


def publish_unreadable(ledger: Ledger) -> list[int]:
    """Three records of one batch of shard 0, as a broker took them that did not count what they unpack to; offsets."""
    brokers, topic = ledger.environ["KAFKA_BROKERS"], settlements(ledger)
    set_compression(brokers, topic, "producer")
    offsets: list[int] = []
    producer = Producer(
        {
            **client(brokers),
            "compression.type": "zstd",
            "linger.ms": 2_000,
            "batch.size": 1_000_000_000,
            "message.max.bytes": 1_000_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    told = lambda _error, message: offsets.append(message.offset())  # noqa: E731
    for value in (b"one", bytes(BOMB_BYTES), b"two"):
        producer.produce(topic, value, b"key", 0, on_delivery=told)
    assert producer.flush(300) == 0
    set_compression(brokers, topic, "uncompressed")
    return offsets


def command(ledger: Ledger, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = ledger.command(*arguments, "--json")
    assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def next_offset(ledger: Ledger, shard: int) -> int:
    return int(ledger.ask(f"SELECT coalesce(max(next_offset), 0) FROM shards WHERE shard = {shard}")[0])


def wait_halted(ledger: Ledger, poster: Running) -> None:
    def halted() -> bool:
        assert poster.running, poster.tail()
        return bool(ledger.ask(HALTS) == (1,))

    until("a shard is halted", halted, told=poster.tail)


def chain(ledger: Ledger) -> list[tuple[str, str, dict[str, str]]]:
    query = (
        "SELECT event_type, actor_id, payload FROM audit_events WHERE starts_with(event_type, 'ledger.') ORDER BY seq"
    )
    kept = ("kind", "offset", "reason", "allowed_offset", "next_offset", "shard")
    return [
        (kind, actor, {name: value for name, value in payload.items() if name in kept})
        for kind, actor, payload in rows(ledger.environ["DATABASE_URL"], query)
        if kind != "ledger.epoch_began"
    ]


def test_what_nobody_can_read_is_set_aside_by_an_operator_and_every_way_back_agrees(
    ledger: Ledger, target: str
) -> None:
    processes = ledger.start_all()
    poster = processes["poster"]
    ledger.publish(40)
    until("posted", lambda: ledger.ask("SELECT coalesce(sum(posted), 0) FROM shards") == (40,))
    bad = publish_unreadable(ledger)
    assert bad == [20, 21, 22]
    ledger.publish(40)
    wait_halted(ledger, poster)
    until("the other shard goes on", lambda: next_offset(ledger, 1) == 40)
    assert next_offset(ledger, 0) == 20
    assert poster.metric('finance_shard_halted{shard="0"}') == 1

    halt = command(ledger, "status")["shards"][0]["halt"]
    assert (halt["kind"], halt["offset"]) == ("unreadable", 20)
    for wrong in (19, 21):
        said = command(ledger, "shards", "skip", "--shard", "0", "--offset", str(wrong), "--reason", "r", code=3)
        assert "does not stand before an unreadable record" in said["error"]["message"]
    told = command(ledger, "shards", "skip", "--shard", "0", "--offset", "20", "--reason", "incident 42")
    assert (told["first_offset"], told["next_offset"]) == (20, 23)
    command(ledger, "shards", "skip", "--shard", "0", "--offset", "20", "--reason", "twice", code=3)
    ledger.wait_finished()
    assert ledger.ask("SELECT sum(posted), sum(rejected) FROM shards") == (80, 3)
    found = rows(ledger.environ["DATABASE_URL"], "SELECT source_offset, reason, line FROM verdicts ORDER BY 1")
    line = b'{"offset":"%d","reason":"unreadable","verdict":"rejected"}'
    assert found == [(offset, "unreadable", line % offset) for offset in bad]
    assert ledger.ask("SELECT count(*) FROM dead_letters") == (0,)
    detail = "no reader can unpack the batch at offset 20"
    told_of = {"kind": "unreadable", "offset": "20", "shard": 0}
    assert chain(ledger) == [
        ("ledger.shard_halted", "service:poster", {**told_of, "reason": detail}),
        ("ledger.offsets_set_aside", "operator:alice", {**told_of, "reason": "incident 42", "next_offset": "23"}),
    ]
    for process in processes.values():
        assert process.stop() == 0

    assert command(ledger, "verify", "ledger")["ok"]
    assert command(ledger, "verify", "archive")["ok"]
    assert replay(ledger.environ)["counts"]["verdicts_compared"] == 3
    assert replay(ledger.environ, "--into", target)["is_ledger"]
    assert tables(target) == tables(ledger.environ["DATABASE_URL"])
    check_rebuilt(ledger)
    check_log_is_not_believed_where_the_record_can_be_read(ledger)


def check_rebuilt(ledger: Ledger) -> None:
    server = ledger.environ["DATABASE_URL"]
    empty = empty_database(server, f"rebuild_{uuid.uuid4().hex[:12]}")
    place = f"s3://{ledger.environ['S3_AUDIT_BUCKET']}"
    told = command(ledger, "rebuild", "--from", place, "--into", empty, "--fill-from-topic")
    assert told["ok"]
    query = "SELECT shard, source_offset, reason, line FROM verdicts ORDER BY 1, 2"
    assert rows(empty, query) == rows(server, query)
    again = replay(
        ledger.environ, "--into", empty_database(server, f"again_{uuid.uuid4().hex[:12]}"), "--compare", "archive"
    )
    assert again["is_ledger"]


def check_log_is_not_believed_where_the_record_can_be_read(ledger: Ledger) -> None:
    """Else whoever writes verdicts could leave out what it does not like."""
    with psycopg.connect(ledger.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM entries WHERE shard = 0 AND source_offset = 30")
        connection.execute(
            "INSERT INTO verdicts SELECT 0, 30, verdict, reason, event_id, content_hash, first_verdict, detail, "
            "convert_to(replace(convert_from(line, 'UTF8'), '20', '30'), 'UTF8') FROM verdicts WHERE source_offset = 20"
        )
    told = replay(ledger.environ, exit_code=1)
    assert "offset 30" in json.dumps(told["findings"])


def test_a_record_that_can_be_read_is_not_set_aside(ledger: Ledger) -> None:
    """Whatever a poster says of it."""
    poster = ledger.start("poster")
    ledger.publish(4)
    until("posted", lambda: ledger.ask("SELECT coalesce(sum(posted), 0) FROM shards") == (4,))
    assert poster.stop() == 0
    ledger.publish(4)
    with psycopg.connect(ledger.environ["DATABASE_URL_POSTER"], autocommit=True) as connection:
        connection.execute("INSERT INTO shard_halts (shard, kind, at_offset, detail) VALUES (0, 'unreadable', 2, 'x')")
        line = (
            "INSERT INTO verdicts (shard, source_offset, verdict, reason, first_verdict, detail, line) "
            "VALUES (0, 2, 'rejected', 'unreadable', false, '', '')"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="nobody decided"):
            connection.execute(line)
    said = command(ledger, "shards", "skip", "--shard", "0", "--offset", "2", "--reason", "r", code=3)
    assert "the record at offset 2 can be read" in said["error"]["message"]
    assert command(ledger, "resume", "--shard", "0", "--reason", "it can be read")["changed"]
    ledger.start("poster")
    until("posted", lambda: ledger.ask("SELECT sum(posted) FROM shards") == (8,))


def test_one_publisher_stops_one_shard_and_an_operator_lets_what_it_sent_pass(ledger: Ledger) -> None:
    poster = ledger.start("poster")
    producer = Producer(client(ledger.environ["KAFKA_BROKERS"]))
    for _ in range(100):
        producer.produce(settlements(ledger), b"x", b"k", 0)
    assert producer.flush(300) == 0
    wait_halted(ledger, poster)
    assert poster.said("poster.slowed"), "it says so before"
    assert ledger.ask("SELECT count(*) FROM halts") == (0,)
    ledger.publish(20)
    until("the other shard goes on", lambda: next_offset(ledger, 1) == 10)
    at = next_offset(ledger, 0)
    assert at <= 40
    halt = command(ledger, "status")["shards"][0]["halt"]
    assert (halt["kind"], halt["offset"]) == ("dead_letters", at)
    assert not command(ledger, "resume", "--shard", "1")["changed"]
    told = command(ledger, "resume", "--shard", "0", "--reason", "shut out")
    assert told["allowed_offset"] == 110
    until("what waited passes", lambda: next_offset(ledger, 0) == 110)
    poster.kill()
    poster = ledger.start("poster")
    for _ in range(41):
        producer.produce(settlements(ledger), b"x", b"k", 0)
    assert producer.flush(300) == 0
    wait_halted(ledger, poster)
    told = command(ledger, "resume", "--shard", "0", "--reason", "until there", "--until-offset", "130")
    assert told["allowed_offset"] == 130
    until("the rest is below the limit", lambda: next_offset(ledger, 0) == 151)
    ledger.start("notary")
    until("the chain has it", lambda: len(chain(ledger)) == 4)
    kinds = [(kind, actor, payload.get("allowed_offset")) for kind, actor, payload in chain(ledger)]
    assert kinds == [
        ("ledger.shard_halted", "service:poster", None),
        ("ledger.shard_resumed", "operator:alice", "110"),
        ("ledger.shard_halted", "service:poster", None),
        ("ledger.shard_resumed", "operator:alice", "130"),
    ]


def test_a_record_that_postgres_refuses_halts_its_shard_alone_until_its_row_is_taken(ledger: Ledger) -> None:
    """A constraint that nobody needs stands for whatever fault of ours it would take."""
    processes = ledger.start_all()
    poster = processes["poster"]
    with psycopg.connect(ledger.environ["DATABASE_URL"], autocommit=True) as owner:
        owner.execute("ALTER TABLE entries ADD CONSTRAINT odd CHECK (shard <> 0 OR source_offset <> 7) NOT VALID")
        ledger.publish(40)
        wait_halted(ledger, poster)
        until("the other shard goes on", lambda: next_offset(ledger, 1) == 20)
        assert next_offset(ledger, 0) == 7
        halt = command(ledger, "status")["shards"][0]["halt"]
        assert (halt["kind"], halt["offset"]) == ("refused", 7)
        assert "odd" in halt["reason"]
        said = command(ledger, "shards", "skip", "--shard", "0", "--offset", "7", "--reason", "r", code=3)
        assert "does not stand before an unreadable record" in said["error"]["message"]
        owner.execute("ALTER TABLE entries DROP CONSTRAINT odd")
    assert command(ledger, "resume", "--shard", "0", "--reason", "taken away")["kind"] == "refused"
    ledger.wait_finished()
    assert [(kind, actor) for kind, actor, _ in chain(ledger)] == [
        ("ledger.shard_halted", "service:poster"),
        ("ledger.shard_resumed", "operator:alice"),
    ]
    for process in processes.values():
        assert process.stop() == 0
    ledger.check()
