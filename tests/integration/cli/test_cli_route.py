"""A small ledger gone the whole route by `finance run all`, and every command that reads, checks or retries it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import psycopg
import pytest
from confluent_kafka import Producer

from tests.support.command_line import Finance, audit_types, quick_topology
from tests.support.kafka import client
from tests.support.settlements import settlement, wire
from tests.support.transactions import ENDINGS, ending

NOT_A_SETTLEMENT = b"\xffno magic byte"


@pytest.fixture
def finance(environ: dict[str, str], tmp_path: Path) -> Finance:
    return Finance({**environ, "FINANCE_TOPOLOGY": quick_topology(environ["FINANCE_TOPOLOGY"], tmp_path)})


def send(environ: dict[str, str], *messages: tuple[bytes, bytes], partition: int = 0) -> None:
    producer = Producer(client(environ["KAFKA_BROKERS"]))
    topic = environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    for key, value in messages:
        producer.produce(topic, key=key, value=value, partition=partition, headers=[("trace", b"\x00\xff")])
    assert producer.flush(300) == 0


def valid(n: int, **changes: object) -> tuple[bytes, bytes]:
    fields = settlement(n, **changes)
    return fields.settlement_id.encode(), wire(fields)


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


@pytest.mark.parametrize("how", ENDINGS)
def test_a_transactional_publisher_is_idle_too(finance: Finance, how: str) -> None:
    environ = finance.environ
    topic = environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    with ending(environ["KAFKA_BROKERS"], topic, how, [valid(n) for n in range(5)]):
        assert finance.json("run", "all", "--until-idle")["finished"] is True
        shard = finance.json("status")["shards"][0]
    assert (shard["posted"], shard["lag_records"], shard["lag_seconds"]) == (5, 0, 0.0)


def test_dead_letters_are_listed_shown_whole_and_retried(settled: Finance, tmp_path: Path) -> None:
    finance = settled
    listed = finance.json("dlq", "list")
    assert listed["counts"] == {"conflict": 1, "malformed": 1, "unbalanced": 1}
    assert (listed["rejected"], listed["next"]) == ("3", None)
    pages = [finance.json("dlq", "list", "--limit", "1")]
    while pages[-1]["next"] is not None:
        pages.append(finance.json("dlq", "list", "--limit", "1", "--after", pages[-1]["next"]))
    assert [letter for page in pages for letter in page["dead_letters"]] == listed["dead_letters"]
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
