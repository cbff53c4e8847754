"""A stack comes back as it was: after a stop, a SIGKILL, a forgotten start; and it touches nobody else."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from finance.workshop.devstack import SERVICES, Stack, processes
from finance.workshop.devstack.state import ProcessRecord
from ledger_core.errors import Refused, Unavailable
from tests.conftest import STATE_ROOT, another_stack
from tests.support.buckets import boto_tls, s3_client
from tests.support.kafka import client
from tests.support.waits import PATIENCE_SECONDS, until

KEPT = b"written before the servers went away"


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest) -> Iterator[Stack]:
    yield from another_stack(request, "own")


@pytest.fixture
def small() -> Iterator[Stack]:
    """A stack with Postgres only, not started: for what happens around a start."""
    stack = Stack(f"test-{os.getpid()}-small", STATE_ROOT)
    try:
        yield stack
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def written(own: Stack) -> Stack:
    """Something in every server."""
    with psycopg.connect(own.env["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT %s::bytea AS value", [KEPT])
    admin = AdminClient(client(own.env["KAFKA_BROKERS"]))
    (created,) = admin.create_topics([NewTopic("kept", 1, 1)]).values()
    created.result(timeout=300)
    producer = Producer({**client(own.env["KAFKA_BROKERS"]), "acks": "all"})
    producer.produce("kept", KEPT)
    assert producer.flush(300) == 0
    s3_client(own.env).put_object(Bucket=own.env["S3_AUDIT_BUCKET"], Key="kept", Body=KEPT)
    return own


def read_back(stack: Stack, service: str) -> bytes:
    """What `written` left in one server; from the KMS, the bytes of a key's public half stand for it."""
    if service == "postgres":
        with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
            row = connection.execute("SELECT value FROM kept").fetchone()
        return bytes(row[0]) if row else b""
    if service == "kafka":
        consumer = Consumer({**client(stack.env["KAFKA_BROKERS"]), "group.id": "kept"})
        consumer.assign([TopicPartition("kept", 0, 0)])
        message = consumer.poll(60)
        consumer.close()
        return (message.value() or b"") if message is not None else b""
    if service == "s3":
        return s3_client(stack.env).get_object(Bucket=stack.env["S3_AUDIT_BUCKET"], Key="kept")["Body"].read()
    kms = boto3.client("kms", endpoint_url=stack.env["KMS_ENDPOINT"], region_name=stack.env["KMS_REGION"],
                       aws_access_key_id="any", aws_secret_access_key="any",
                       **boto_tls(stack.env, "admin"))  # fmt: skip
    return KEPT if kms.get_public_key(KeyId=stack.env["KMS_KEY_ED25519"])["PublicKey"] else b""


def pids(stack: Stack) -> dict[str, int | None]:
    return {status.service: status.pid for status in stack.status()}


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_server_comes_back_with_its_port_and_data(written: Stack, service: str) -> None:
    port_before = {status.service: status.port for status in written.status()}[service]
    written.kill(service)
    assert pids(written)[service] is None
    written.start(service)
    (status,) = (status for status in written.status() if status.service == service)
    assert status.healthy
    assert status.port == port_before
    assert read_back(written, service) == KEPT


@pytest.mark.parametrize("service", SERVICES)
def test_a_stopped_server_comes_back_with_its_data(written: Stack, service: str) -> None:
    written.stop(service)
    assert not any(status.healthy for status in written.status() if status.service == service)
    written.start(service)
    assert read_back(written, service) == KEPT


def test_a_stack_that_was_down_comes_up_as_it_was(written: Stack) -> None:
    env = written.env
    written.down()
    assert not written.place.env_file.exists()
    again = Stack.up(written.name, STATE_ROOT)
    assert again.env == env
    assert json.loads(again.place.env_file.read_text()) == env
    assert [read_back(again, service) for service in SERVICES] == [KEPT] * len(SERVICES)


def test_up_twice_at_once_starts_every_server_once(own: Stack) -> None:
    own.stop("postgres")
    own.stop("kms")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: pids(Stack.up(own.name, STATE_ROOT)), range(2))
    assert one == two
    assert None not in one.values()


def test_two_stacks_run_side_by_side(own: Stack, small: Stack) -> None:
    other = Stack.up(small.name, STATE_ROOT, ["postgres"])
    assert {status.service for status in other.status() if status.healthy} == {"postgres"}
    assert other.env["DATABASE_URL"] != own.env["DATABASE_URL"]
    other.down()
    assert all(status.healthy for status in own.status())


def test_servers_outlive_the_command_and_another_command_stops_them(small: Stack) -> None:
    finance("up", "--name", small.name, "--services", "postgres")
    pid = pids(small)["postgres"]
    assert pid is not None
    assert finance("status", "--name", small.name).returncode == 0
    finance("down", "--name", small.name)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert finance("status", "--name", small.name).returncode == 1


def test_servers_nobody_wrote_down_are_ended_at_the_next_start(small: Stack) -> None:
    forgotten = pids(Stack.up(small.name, STATE_ROOT, ["postgres"]))["postgres"]
    state = small.place.load()
    state.processes.clear()  # as if the command had been killed between start and record
    small.place.save(state)
    stack = Stack.up(small.name, STATE_ROOT, ["postgres"])
    assert pids(stack)["postgres"] not in (None, forgotten)
    with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("seconds", [0.9, 1.4, 2.0])
def test_the_next_start_mends_what_a_killed_one_left(small: Stack, seconds: float) -> None:
    with subprocess.Popen(_command("up", "--name", small.name, "--services", "postgres,kms")) as killed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            killed.wait(seconds)
        killed.kill()
    stack = Stack.up(small.name, STATE_ROOT, ["postgres", "kms"])
    assert all(status.healthy for status in stack.status())
    assert len(processes.strays(small.place.path, ["postgres"])) >= 1
    small.down()
    assert processes.strays(small.place.path, SERVICES) == []


def test_an_interrupted_start_leaves_no_server_running(small: Stack) -> None:
    with subprocess.Popen(_command("up", "--name", small.name)) as interrupted:
        until("the start is under way", small.place.path.exists)
        interrupted.send_signal(signal.SIGINT)
        assert interrupted.wait(PATIENCE_SECONDS) == 130
    assert processes.strays(small.place.path, SERVICES) == []


def test_a_reused_pid_is_never_signalled(small: Stack) -> None:
    Stack.up(small.name, STATE_ROOT, ["postgres"]).kill("postgres")
    with subprocess.Popen(["sleep", "60"]) as stranger:
        state = small.place.load()
        state.processes["postgres"] = ProcessRecord(pid=stranger.pid, created=1.0)
        small.place.save(state)
        small.down()
        assert stranger.poll() is None
        stranger.kill()


def test_a_failed_start_tells_the_servers_own_words_and_leaves_nothing(small: Stack) -> None:
    Stack.up(small.name, STATE_ROOT, ["postgres"]).down()
    (small.place.path / "postgres" / "PG_VERSION").write_text("9.1\n")
    with pytest.raises(Unavailable, match="incompatible with server"):
        Stack.up(small.name, STATE_ROOT, ["postgres"])
    assert pids(small)["postgres"] is None


def test_a_broker_that_fails_to_start_says_why(small: Stack) -> None:
    Stack.up(small.name, STATE_ROOT, ["kafka"]).down()
    (small.place.path / "kafka" / "logs" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=other\n")
    with pytest.raises(Unavailable, match=r"Stored node id 7 doesn't match"):
        Stack.up(small.name, STATE_ROOT, ["kafka"])


def test_reset_leaves_no_trace(small: Stack) -> None:
    Stack.up(small.name, STATE_ROOT, ["kms"])
    small.remove()
    assert not small.place.path.exists()
    assert not small.place.lock_file.exists()


def test_a_key_that_was_lost_is_made_anew_and_the_old_one_stays_registered(small: Stack) -> None:
    first = Stack.up(small.name, STATE_ROOT, ["kms"])
    lost = first.env["AUDIT_SIGNING_KMS_KEY_ID"]
    first.down()
    (small.place.path / "kms" / "kms.json").unlink()
    second = Stack.up(small.name, STATE_ROOT, ["kms"])
    assert second.env["AUDIT_SIGNING_KMS_KEY_ID"] != lost
    signers = json.loads(second.place.signers_file.read_text())["signers"]
    retired = {entry["signer_kid"]: "retiredAt" in entry for entry in signers}
    assert retired == {
        "finance-dev-rsa-v1": True,
        "finance-dev-ed25519-v1": True,
        "finance-dev-rsa-v2": False,
        "finance-dev-ed25519-v2": False,
    }


def test_an_unknown_service_is_refused_with_the_known_ones(small: Stack) -> None:
    with pytest.raises(Refused, match="choose from postgres, kafka, s3, kms"):
        Stack.up(small.name, STATE_ROOT, ["oracle"])


def finance(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(*arguments), capture_output=True, text=True, timeout=300, check=False)


def _command(*arguments: str) -> list[str]:
    """The command as a user types it; it works on the stacks below the current directory, the checkout."""
    return [sys.executable, "-m", "finance", "dev", *arguments]


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
