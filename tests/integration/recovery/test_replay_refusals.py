"""What a replay refuses, with the remedy, before a byte is written; and the archive as its memory."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from consumers.recovery.archive_log import ArchiveLog
from finance.recovery.replay_beside import replay_beside
from finance.recovery.replay_into import ReplayPlan, replay_into
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.wiring import services
from finance.workshop.devstack import Stack
from ledger_core.errors import Refused
from ledger_core.postgres.schema.deployment import bind_deployment
from ledger_core.signing.registry import SignerRegistry
from schemas.topology.load import load_topology
from tests.support import databases, topics
from tests.support.kafka import client
from tests.support.mixed_events import mixed
from tests.support.posting_runs import publish, rows, tables, topic_of
from tests.support.replay_runs import empty_database, live_ledger, replay, spread
from tests.support.route import Ledger

pytestmark = pytest.mark.services

WRONG_CLOCK = "this clock says 2025-01-01|begins at"
TABLES = "SELECT count(*)::int FROM pg_tables WHERE schemaname = 'public'"


@pytest.fixture
def target(stack: Stack) -> Iterator[str]:
    url = empty_database(stack.env["DATABASE_URL"], f"replay_{uuid.uuid4().hex[:12]}")
    yield url
    databases.drop_database(stack.env["DATABASE_URL"], url)


def plan_of(environ: dict[str, str]) -> ReplayPlan:
    settings = Settings.from_env(environ, Path.cwd())
    topology = load_topology(topics.TOPOLOGY, topic_prefix=environ["FINANCE_TOPIC_PREFIX"])
    return ReplayPlan(settings, topology, SignerRegistry(()), "database")


def refused(plan: ReplayPlan, dsn: str) -> str:
    """The message and the remedy of the refusal."""
    with pytest.raises(Refused) as told:
        replay_into(plan, dsn, "operator:test", lambda _runs: None)
    assert told.value.remedy
    return told.value.message


def set_time_type(admin: AdminClient, topic: str, value: str) -> None:
    entry = ConfigEntry("message.timestamp.type", value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(300)


def test_a_database_that_is_not_this_replays_is_refused_and_left_alone(environ: dict[str, str], target: str) -> None:
    live_ledger(environ, 100)
    plan = plan_of(environ)
    assert "the target is not empty: epoch 1 is genesis" in refused(plan, environ["DATABASE_URL"])
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute("CREATE TABLE theirs (x integer)")
    assert "1 tables that are not ours" in refused(plan, target)
    assert rows(target, TABLES) == [(1,)]
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute("DROP TABLE theirs")
    other = replace(plan, from_offset=7)
    assert "goes on at offset 0, not at 7" in refused(other, target)
    assert "the archive has nothing of environment dev" in refused(replace(plan, compare="archive"), target)
    with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as live:
        bind_deployment(live, "staging", "example.com")
    assert "the ledger to compare with belongs to environment staging" in refused(plan, target)
    assert rows(target, TABLES) == [(0,)], "nothing was written"


def test_a_topic_that_is_not_the_ledgers_whole_topic_is_refused(environ: dict[str, str], target: str) -> None:
    live_ledger(environ, 200)
    plan, topic = plan_of(environ), topic_of(environ, "settlements")
    admin = AdminClient(client(environ["KAFKA_BROKERS"]))
    set_time_type(admin, topic, "CreateTime")
    assert "message.timestamp.type is CreateTime" in refused(plan, target)
    set_time_type(admin, topic, "LogAppendTime")
    for future in admin.delete_records([TopicPartition(topic, 1, 20)]).values():
        future.result(300)
    assert "begins at offset 20: offsets 0 to 19 are gone" in refused(plan, target)
    for future in admin.delete_topics([topic]).values():
        future.result(300)
    topics.create_topics(environ["KAFKA_BROKERS"], environ["FINANCE_TOPIC_PREFIX"])
    publish(environ, mixed(400, 77))
    assert "is not the topic that shard" in refused(plan, target)
    for future in admin.create_partitions([NewPartitions(topic, 3)]).values():
        future.result(300)
    assert "partitions is 3, the topology says 2" in refused(plan, target)
    for future in admin.delete_topics([topic]).values():
        future.result(300)
    assert "is missing" in refused(plan, target)
    assert rows(target, TABLES) == [(0,)], "nothing was written"


def refuse_what_cannot_be_right(environ: dict[str, str], target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another environment, a registry without a key that signed, a clock before the newest record: by database and by
    archive, and nothing is written."""
    registry = SignerRegistry.from_json(Path(environ["FINANCE_SIGNERS"]).read_bytes())
    plan = replace(plan_of(environ), registry=registry)
    staging = replace(plan.settings, env="staging")
    others = [signer for signer in registry.signers if signer.algorithm != "ed25519"]
    lacking = SignerRegistry(others)
    assert "that ledger signs as environment dev" in refused(replace(plan, settings=staging), target)
    with pytest.raises(Refused, match="it contains dev"):
        ArchiveLog(services.open_archive(plan.settings), "staging", registry).check_readable()
    for compare in ("database", "archive"):
        asked = replace(plan, compare=compare)
        assert "the registry lacks" in refused(replace(asked, registry=lacking), target)
        with monkeypatch.context() as patched:
            patched.setattr(clock, "utc_now", lambda: dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
            # By TLS, our certificates say it first: they are not valid yet.
            assert re.search(WRONG_CLOCK, refused(asked, target))
            with pytest.raises(Refused, match=WRONG_CLOCK):
                replay_beside(plan, None, lambda _runs: None)
    with pytest.raises(Refused, match="signs as environment dev"):
        replay_beside(replace(plan, settings=staging), None, lambda _runs: None)
    with pytest.raises(Refused, match="the registry lacks"):
        replay_beside(replace(plan, registry=lacking), None, lambda _runs: None)
    assert rows(target, TABLES) == [(0,)], "nothing was written"


def test_with_the_database_lost_the_archive_is_log_and_judge(
    environ: dict[str, str], target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"range_entries_max": 100, "range_idle_seconds": 1}
    ledger = Ledger(environ, tmp_path, limits)
    try:
        ledger.start_all()
        publish(environ, spread(800, 3))
        ledger.wait_finished()
    finally:
        ledger.end()
    refuse_what_cannot_be_right(environ, target, monkeypatch)
    beside = replay(environ)
    assert beside["counts"]["signed_ranges_compared"] >= 8
    lost = {**environ, "DATABASE_URL_AUDITOR": "postgresql://nobody@127.0.0.1:1/none"}
    told = replay(lost, "--into", target)
    assert told["compared_with"] == "archive"
    assert told["counts"]["signed_ranges_compared"] == beside["counts"]["signed_ranges_compared"]
    assert told["counts"]["verdicts_of_another_shard"] == 40
    made, live = tables(target), tables(environ["DATABASE_URL"])
    for words in (made, live):  # how the other shard's entry is told of is for people, and hangs on when it came
        words["verdicts"] = [(*row[:7], row[8]) for row in words["verdicts"]]
    assert made == live
