"""The commands on the real stack, as subprocesses: what they print, what they exit with, what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from confluent_kafka import Producer

from tests.support.settlements import settlement, wire

ROOT = Path(__file__).parents[2]
NOWHERE = "127.0.0.1:1"
NOT_A_SETTLEMENT = b"\xffno magic byte"
pytestmark = pytest.mark.timeout(180)


class Finance:
    """`finance ...` with the settings of this test."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = {**environ, "FINANCE_OPERATOR": "alice", "FINANCE_LOG_FORMAT": "json"}

    def __call__(self, *arguments: str, code: int = 0, **environ: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "finance", *arguments],
            env={**self.environ, **environ},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code in (0, 1) or "--json" in arguments else done.stderr

    def json(self, *arguments: str, code: int = 0, **environ: str) -> Any:
        return json.loads(self(*arguments, "--json", code=code, **environ))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "finance", *arguments],
            env=self.environ,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def finance(environ: dict[str, str], tmp_path: Path) -> Finance:
    """Ranges close a second after the last entry, so that nobody waits for five."""
    topology = Path(environ["FINANCE_TOPOLOGY"]).read_text("utf-8")
    quick = tmp_path / "topology.yaml"
    quick.write_text(topology.replace("range_idle_seconds: 5", "range_idle_seconds: 1"), "utf-8")
    return Finance({**environ, "FINANCE_TOPOLOGY": str(quick)})


def send(environ: dict[str, str], *messages: tuple[bytes, bytes], partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": environ["KAFKA_BROKERS"]})
    topic = environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    for key, value in messages:
        producer.produce(topic, key=key, value=value, partition=partition, headers=[("trace", b"\x00\xff")])
    assert producer.flush(20) == 0


def valid(n: int, **changes: object) -> tuple[bytes, bytes]:
    fields = settlement(n, **changes)
    return fields.settlement_id.encode(), wire(fields)


def audit_types(database_url: str) -> list[str]:
    with psycopg.connect(database_url) as connection:
        outbox = connection.execute("SELECT event_type FROM audit_outbox ORDER BY outbox_id").fetchall()
        return [row[0] for row in outbox]


def test_migrate_tells_what_is_missing_and_applies_it(finance: Finance) -> None:
    assert finance.json("migrate", "--check") == {"ok": True, "applied": [], "missing": []}
    name = f"empty_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(finance.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        url = finance.environ["DATABASE_URL"].rpartition("/")[0] + "/" + name
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
    told = finance.json("balances", code=3, FINANCE_ENV="production", DATABASE_URL_API="")
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
    assert finance.json("halt", "--reason", "again")["changed"] is False
    told = finance.json("status")["halt"]
    assert (told["halted"], told["reason"], told["actor_id"]) == (True, "off by 1", "operator:alice")
    assert "HALTED" in finance("status")
    assert finance.json("resume")["changed"] is True
    assert finance.json("resume")["changed"] is False
    assert audit_types(finance.environ["DATABASE_URL"]) == ["ledger.halted", "ledger.resumed"]
    assert finance("halt", "--reason", " ", code=3).startswith("finance: refused: the reason")


def test_run_until_idle_refuses_to_wait_for_a_halted_ledger(finance: Finance) -> None:
    finance("halt", "--reason", "r")
    assert "finance resume" in finance("run", "all", "--until-idle", code=3)


def test_a_poster_refuses_topics_that_are_missing(finance: Finance) -> None:
    told = finance("run", "poster", code=3, FINANCE_TOPIC_PREFIX="missing.")
    refused = [json.loads(line) for line in told.splitlines() if "service.refused" in line]
    assert [line["remedy"] for line in refused] == ["run `finance topics apply`"]


def test_a_taken_metrics_port_is_refused(finance: Finance) -> None:
    import socket

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
        deadline = time.monotonic() + 20
        while "finance_last_step_timestamp_seconds 0.0" in _get(url + "/metrics"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert json.loads(_get(url + "/healthz"))["state"] == "waiting for records"
        process.send_signal(number)
        out, err = process.communicate(timeout=40)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert json.loads(out) == {"ok": True, "process": "poster", "exit_code": 0}


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


@pytest.fixture
def settled(finance: Finance) -> Finance:
    """A ledger of 40 entries, one duplicate, and three kinds of rejections, gone the whole route."""
    send(finance.environ, *[valid(n) for n in range(1, 41)], valid(1), partition=0)
    unbalanced = settlement(90)
    lines = [unbalanced.lines[0], *unbalanced.lines[2:]]
    send(
        finance.environ,
        (b"st-90", wire(msgspec.structs.replace(unbalanced, lines=lines))),
        (b"key", NOT_A_SETTLEMENT),
        (b"st-2", wire(settlement(2, order_id="other"))),
        partition=0,
    )
    told = finance.json("run", "all", "--until-idle")
    assert told == {"ok": True, "finished": True, "exit_code": 0}
    return finance


def test_the_whole_route_and_every_reading_command(settled: Finance, tmp_path: Path) -> None:
    finance = settled
    status = finance.json("status")
    assert status["finished"] is True
    shard = status["shards"][0]
    assert (shard["posted"], shard["duplicates"], shard["rejected"]) == (40, 1, 3)
    assert shard["closed_ranges"] == shard["proved_ranges"] == shard["archived_ranges"] == shard["manifests"] > 0
    assert shard["lag_records"] == 0
    assert status["audit"]["waiting_intents"] == 0
    assert "whole route" in finance("status")

    for what, counted in (("ledger", "entries"), ("archive", "entries"), ("audit", "events")):
        told = finance.json("verify", what)
        assert told["ok"] is True
        assert told["findings"] == []
        assert told["counts"][counted] > 2
    assert "sound" in finance("verify", "ledger")

    assert finance.json("verify", "archive", "--with-database")["ok"] is True

    trial = finance.json("balances", "--trial")
    assert trial["off_minor"] == {}
    assert {line["type"]: line["debits_minor"] for line in trial["trial_balance"]}["asset"] == str(40 * 10_000)
    owed = finance.json("balances", "--account", "liability:", "--currency", "USD")
    assert [(b["account"], b["balance_minor"]) for b in owed["balances"]] == [
        ("liability:payable:seller-42", str(40 * 9_997))
    ]
    assert finance.json("balances", "--limit", "1")["more"] is True

    by_seq = finance.json("entry", "show", "--shard", "0", "--seq", "7")["entries"][0]
    assert by_seq["link_sound"] is True
    assert by_seq["proof_id"]
    assert by_seq["archive_object"]
    by_event = finance.json("entry", "show", by_seq["entry"]["event_id"])["entries"][0]
    assert by_event == by_seq
    day = by_seq["recorded_at"][:10]
    window = ("--from", f"{day}T00:00:00Z", "--to", f"{day}T23:59:59Z")
    found = finance.json("entry", "show", "--settlement", by_seq["entry"]["settlement_id"], *window)["entries"]
    assert found == [by_seq]
    assert "no index" in finance("entry", "show", "--settlement", "st-1", code=3)
    assert finance.json("entry", "show", "--shard", "0", "--seq", "999", code=1)["entries"] == []
    rejected = finance.json("entry", "show", settlement(90).event_id, code=1)["rejected"]
    assert rejected["reason"] == "unbalanced"


def test_dead_letters_are_listed_shown_whole_and_retried(settled: Finance, tmp_path: Path) -> None:
    finance = settled
    listed = finance.json("dlq", "list")
    assert listed["counts"] == {"conflict": 1, "malformed": 1, "unbalanced": 1}
    (letter,) = finance.json("dlq", "list", "--reason", "malformed")["dead_letters"]
    shown = finance.json("dlq", "show", "0", letter["offset"], "--out", str(tmp_path / "original"))["dead_letter"]
    assert shown == letter
    assert (tmp_path / "original").read_bytes() == NOT_A_SETTLEMENT
    assert letter["headers"] == [["trace", "AP8="]]
    finance.json("dlq", "show", "0", "3", code=1)

    conflict = finance.json("dlq", "list", "--reason", "conflict")["dead_letters"][0]
    retried = finance.json("dlq", "retry", "0", letter["offset"], conflict["offset"], "3", code=1)
    assert retried["published"] == [letter["offset"], conflict["offset"]]
    assert retried["not_rejected"] == ["3"]
    assert retried["keep_their_verdict"] == [settlement(2).event_id]
    assert audit_types(finance.environ["DATABASE_URL"]) == ["dead_letter.retried"] * 2
    assert finance.json("run", "all", "--until-idle")["finished"] is True
    after = finance.json("dlq", "list")
    assert after["counts"] == {"conflict": 2, "malformed": 2, "unbalanced": 1}
    again = next(d for d in after["dead_letters"] if d["reason"] == "malformed" and d["offset"] != letter["offset"])
    for name in ("key_base64", "value_base64", "headers", "topic"):
        assert again[name] == letter[name]


def test_a_proof_on_demand_verifies_and_leaves_its_intent(settled: Finance, tmp_path: Path) -> None:
    finance = settled
    path = tmp_path / "proof.json"
    told = finance.json("prove", "--shard", "0", "--first-seq", "3", "--last-seq", "30", "--out", str(path))
    assert told["proof"]["num_rows"] == "28"
    assert json.loads(path.read_bytes()) == told["proof"]
    assert finance.json("verify", "proof", str(path))["ok"] is True
    assert audit_types(finance.environ["DATABASE_URL"]) == ["proof.published"]
    path.write_bytes(path.read_bytes().replace(b'"num_rows":"28"', b'"num_rows":"29"'))
    assert finance.json("verify", "proof", str(path), code=1)["findings"]
    day = told["proof"]["range"]["from_ts"][:10]
    whole = json.loads(finance("prove", "--from", day))
    assert whole["num_rows"] == "40"
    assert "proved to seq 40" in finance("prove", "--shard", "0", "--first-seq", "3", "--last-seq", "99", code=3)
    assert "no entry" in finance("prove", "--to", "2001-01-01", code=3)
    finance("prove", "--first-seq", "3", "--last-seq", "30", code=2)


def as_superuser(finance: Finance, statement: str) -> None:
    """What an attacker with the database's password can do: triggers and grants do not stop a superuser."""
    with psycopg.connect(finance.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement)


def test_what_a_superuser_edits_is_found_and_named(settled: Finance) -> None:
    finance = settled
    as_superuser(
        finance, "UPDATE lines SET amount_minor = amount_minor + 1 WHERE shard = 0 AND seq = 17 AND line_no = 2"
    )
    told = finance.json("verify", "ledger", code=1)
    assert told["ok"] is False
    assert [(f["shard"], f["seq"]) for f in told["findings"] if f["field"].startswith("lines")] == [(0, "17")]
    assert "finding" in finance("verify", "ledger", code=1)
    as_superuser(
        finance, "UPDATE lines SET amount_minor = amount_minor - 1 WHERE shard = 0 AND seq = 17 AND line_no = 2"
    )
    as_superuser(finance, "UPDATE entries SET body = body || ' ' WHERE shard = 0 AND seq = 9")
    assert finance.json("entry", "show", "--shard", "0", "--seq", "9", code=1)["entries"][0]["link_sound"] is False
    as_superuser(finance, "UPDATE balances SET credits = credits + 1 WHERE account_no = 2")
    assert finance.json("balances", "--trial", code=1)["off_minor"] == {"USD": "-1"}


def test_an_audit_chain_cut_off_at_its_end_is_found(settled: Finance) -> None:
    finance = settled
    as_superuser(finance, "DELETE FROM audit_events WHERE seq = (SELECT max(seq) FROM audit_events)")
    as_superuser(finance, "UPDATE notary_cursor SET published_seq = published_seq - 1")
    codes = {finding["code"] for finding in finance.json("verify", "audit", code=1)["findings"]}
    assert codes == {"audit.truncated"}
    assert finance.json("verify", "audit", "--without-topic")["ok"] is True, "only the topic knows"
