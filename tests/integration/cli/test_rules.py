"""`finance rules`: an operator puts rules in force on real servers, and each process says what it does with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from finance.workshop.devstack import Stack
from ledger_core.books.rule_versions import NEWEST_RULES
from tests.support import databases
from tests.support.command_line import Finance, audit_types
from tests.support.posting_runs import rows, tables
from tests.support.replay_runs import empty_database
from tests.support.route import Ledger
from tests.support.waits import until

pytestmark = pytest.mark.services


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(environ, tmp_path)
    yield found
    found.end()


def events(folder: Path, currency: str, *numbers: int) -> str:
    """A file of sales in that currency."""
    lines = [("asset:psp:stripe", "debit"), ("liability:payable:seller-42", "credit")]
    path = folder / f"{currency}-{numbers[0]}.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "event_type": "settlement.captured",
                    "settlement_id": f"st-{currency}-{number}",
                    "order_id": f"or-{number}",
                    "occurred_at": "2025-11-01T12:00:00Z",
                    "lines": [
                        {"account": account, "side": side, "amount_minor": 100, "currency": currency}
                        for account, side in lines
                    ],
                }
            )
            + "\n"
            for number in numbers
        )
    )
    return str(path)


def test_an_operator_puts_rules_in_force_once_and_events_of_theirs_post(
    ledger: Ledger, environ: dict[str, str], tmp_path: Path
) -> None:
    run, dsn = Finance(environ), environ["DATABASE_URL"]
    ledger.start("poster")
    run("publish", "--file", events(tmp_path, "USD", 1, 2, 3))
    refused = run.json("publish", "--file", events(tmp_path, "BGN", 1), code=1)
    assert refused["fault"]["reason"] == "bad_currency", "checked by rules 1, before it burns its event id"
    until("the first events are posted", lambda: rows(dsn, "SELECT count(*) FROM entries") == [(3,)])

    unknown = run.json("rules", "activate", str(NEWEST_RULES + 1), "--all", "--reason", "too soon", code=3)
    assert f"knows rules 1 to {NEWEST_RULES}" in unknown["error"]["message"]
    one = run.json("rules", "activate", "2", "--shard", "1", "--reason", "first one shard", "--wait", "300")
    assert one["shards"] == [{"shard": 1, "state": "in force", "detail": None}]
    both = run.json("rules", "activate", "2", "--all", "--reason", "refunds in BGN", "--wait", "300")
    assert [it["state"] for it in both["shards"]] == ["in force", "in force already"]
    again = run.json("rules", "activate", "2", "--all", "--reason", "once more")
    assert {it["state"] for it in again["shards"]} == {"in force already"}
    assert audit_types(dsn).count("rules.activation_signed") == 2

    listed = run.json("rules", "list")
    assert [(it["shard"], it["rules"], it["known"]) for it in listed["shards"]] == [(0, 2, True), (1, 2, True)]
    assert {it["rules"] for it in run.json("status")["shards"]} == {2}
    assert "rules 2 are in force" in run("status")
    run("publish", "--rules", "2", "--file", events(tmp_path, "BGN", 2, 3))
    until("the new events are posted", lambda: rows(dsn, "SELECT count(*) FROM entries") == [(5,)])
    assert rows(dsn, "SELECT count(*) FROM dead_letters") == [(0,)]
    assert run.json("replay", "--from", "topic")["ok"]
    assert run.json("verify", "ledger")["ok"]


def test_a_record_that_no_poster_has_judged_yet_is_said_and_a_second_one_is_stale(
    ledger: Ledger, environ: dict[str, str]
) -> None:
    run, dsn = Finance(environ), environ["DATABASE_URL"]
    for _ in range(2):
        told = run.json("rules", "activate", "2", "--shard", "0", "--reason", "no poster", "--wait", "0", code=1)
        assert told["shards"] == [{"shard": 0, "state": "published", "detail": None}]
    ledger.start("poster")
    reasons = "SELECT reason FROM verdicts WHERE shard = 0 ORDER BY source_offset"
    until("both are judged", lambda: rows(dsn, reasons) == [("rules_2",), ("bad_rules",)])
    assert run.json("rules", "list")["shards"][0]["rules"] == 2


def test_the_whole_route_goes_over_a_change_of_rules_and_every_way_back_agrees(
    ledger: Ledger, environ: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    run, dsn = Finance(environ), environ["DATABASE_URL"]
    ledger.start_all()
    run("publish", "--file", events(tmp_path, "USD", *range(1, 9)))
    run.json("rules", "activate", "2", "--all", "--reason", "refunds in BGN", "--wait", "300")
    run("publish", "--rules", "2", "--file", events(tmp_path, "BGN", *range(1, 9)))
    ledger.wait_finished()
    assert run.json("verify", "ledger")["ok"]
    assert run.json("verify", "archive")["ok"]
    ((end,),) = rows(dsn, "SELECT max(next_offset) FROM ranges WHERE shard = 0")
    run("publish", "--rules", "2", "--file", events(tmp_path, "BGN", *range(20, 29)))
    ledger.wait_finished()
    assert run.json("replay", "--from", "topic", "--shard", "0", "--from-offset", str(end))["ok"], "rules 2 from there"
    for source in ("archive", "database"):
        name = f"again_{source}_{abs(hash(dsn)):x}"
        target = empty_database(stack.env["DATABASE_URL"], name)
        try:
            assert run.json("replay", "--from", "topic", "--into", target, "--compare", source)["ok"]
            assert tables(target) == tables(dsn)
        finally:
            databases.drop_database(stack.env["DATABASE_URL"], target)
