"""The commands on the real stack, as subprocesses: what they print, what they exit with, what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tests.support.command_line import Finance, audit_types, quick_topology
from tests.support.databases import database_at
from tests.support.scrape import scrape
from tests.support.waits import until

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def finance(environ: dict[str, str], tmp_path: Path) -> Finance:
    return Finance({**environ, "FINANCE_TOPOLOGY": quick_topology(environ["FINANCE_TOPOLOGY"], tmp_path)})


def test_migrate_tells_what_is_missing_and_applies_it(finance: Finance) -> None:
    assert finance.json("migrate", "--check") == {"ok": True, "applied": [], "missing": [], "for_administrators": []}
    name = f"empty_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(finance.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        url = database_at(finance.environ["DATABASE_URL"], name)
        try:
            missing = finance.json("migrate", "--check", code=1, DATABASE_URL=url)
            assert missing["ok"] is False
            assert finance.json("migrate", DATABASE_URL=url)["applied"] == missing["missing"]
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_database_that_is_away_exits_4_and_says_so(finance: Finance) -> None:
    away = f"postgresql://nobody@{NOWHERE}/none"
    assert finance.json("status", code=4, DATABASE_URL_API=away)["error"]["kind"] == "unavailable"
    assert "postgres is unavailable" in finance("halt", "--reason", "r", code=4, DATABASE_URL_API=away)


def test_a_setting_that_is_missing_exits_3_with_the_remedy(finance: Finance) -> None:
    told = finance.json("balances", code=3, FINANCE_ENV="staging", DATABASE_URL_API="")
    assert told["error"]["kind"] == "refused"
    assert "DATABASE_URL_API" in told["error"]["remedy"]


def test_status_tells_the_databases_part_when_kafka_is_away(finance: Finance) -> None:
    told = finance.json("status", code=4, KAFKA_BROKERS=NOWHERE)
    assert told["ok"] is False
    assert told["halt"]["halted"] is False
    assert {shard["lag_records"] for shard in told["shards"]} == {None}


def test_status_names_topics_that_are_not_there(finance: Finance) -> None:
    assert "finance topics apply" in finance("status", code=3, FINANCE_TOPIC_PREFIX="nobody-made-these.")


def test_halt_is_seen_in_status_and_stands_on_record(finance: Finance) -> None:
    assert finance.json("halt", "--reason", "off by 1")["changed"] is True
    assert finance.json("halt", "--reason", "off by 1")["changed"] is False
    told = finance.json("status")["halt"]
    assert (told["halted"], told["reason"], told["actor_id"]) == (True, "off by 1", "operator:alice")
    assert "HALTED" in finance("status")
    assert finance.json("resume")["changed"] is True
    assert finance.json("resume")["changed"] is False
    assert audit_types(finance.environ["DATABASE_URL"]) == ["ledger.halted", "ledger.resumed"]
    assert finance("halt", "--reason", " ", code=3).startswith("finance: refused: the reason")


def test_a_lock_is_counted_from_a_decision_that_stands_on_record(finance: Finance) -> None:
    key = f"dev/audit/seqs-{1:019d}-{4:019d}.jsonl.gz"
    decided = finance.json("archive", "lock", key, "--reason", "the clock was in 2199")
    assert (decided["changed"], decided["object_key"]) == (True, key)
    again = finance.json("archive", "lock", key, "--reason", "again")
    assert (again["changed"], again["decided_at"]) == (False, None)
    assert audit_types(finance.environ["DATABASE_URL"]) == ["archive.lock_decided"]
    for other in (key.replace("dev/", "prod/"), key + ".old", "dev/manifests/1.json"):
        assert "is not the name of a batch or an export" in finance("archive", "lock", other, "--reason", "r", code=3)
    assert "not a plain line" in finance("archive", "lock", key, "--reason", " ", code=3)


def test_run_until_idle_refuses_to_wait_for_a_halted_ledger(finance: Finance) -> None:
    finance("halt", "--reason", "r")
    assert "finance resume" in finance("run", "all", "--until-idle", code=3)


def test_a_poster_refuses_topics_that_are_missing(finance: Finance) -> None:
    told = finance("run", "poster", code=3, FINANCE_TOPIC_PREFIX="missing.")
    refused = [json.loads(line) for line in told.splitlines() if "service.refused" in line]
    assert [line["remedy"] for line in refused] == ["run `finance topics apply`"]


def test_a_taken_metrics_port_is_refused(finance: Finance) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "NOTARY_METRICS_PORT" in finance("run", "notary", code=3, NOTARY_METRICS_PORT=port)


def wait_for_url(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        event = json.loads(line)
        if event["event"] == "telemetry.listening":
            return str(event["url"])
    raise AssertionError("the process ended before it listened")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_serves_health_and_stops_soundly_when_told(finance: Finance, number: signal.Signals) -> None:
    process = finance.start("run", "poster", "--json")
    try:
        url = wait_for_url(process)
        never = "finance_last_step_timestamp_seconds 0.0"
        until("a first step", lambda: never not in scrape(url + "/metrics", finance.environ)[1])
        assert json.loads(scrape(url + "/healthz", finance.environ)[1])["state"] == "waiting for records"
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert json.loads(out) == {"ok": True, "process": "poster", "exit_code": 0}
