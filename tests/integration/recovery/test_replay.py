"""Replay on the real servers: the same bytes, the same verdicts, a poster that carries on, and every refusal."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from consumers.metrics import NullMetrics
from consumers.posting.decision import decide
from consumers.recovery import rule_sets
from finance.recovery import replay_beside
from finance.recovery.replay_into import ReplayPlan
from finance.settings.deployment import Settings
from finance.wiring.services import build_service
from finance.workshop.devstack import Stack
from ledger_core.books.rule_versions import RuleSet
from ledger_core.errors import Refused, RejectReason
from ledger_core.ports import Record
from ledger_core.posting.plans import Decided, Draft, Rejection
from ledger_core.signing.registry import SignerRegistry
from schemas.topology.load import load_topology
from tests.support import databases
from tests.support.lossy_topics import lose_in_the_middle
from tests.support.mixed_events import mixed
from tests.support.posting_runs import check_journal, check_ledger, post_all, publish, rows, tables, topic_of
from tests.support.replay_runs import FOREIGN_FROM, empty_database, live_ledger, replay
from tests.support.settlements import record, settlement
from tests.support.topics import TOPOLOGY

pytestmark = pytest.mark.services


@pytest.fixture
def target(stack: Stack) -> Iterator[str]:
    url = empty_database(stack.env["DATABASE_URL"], f"replay_{uuid.uuid4().hex[:12]}")
    yield url
    databases.drop_database(stack.env["DATABASE_URL"], url)


def as_superuser(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement.encode())


def test_a_replay_makes_the_same_ledger_byte_for_byte_and_a_poster_carries_on(
    environ: dict[str, str], target: str
) -> None:
    live_ledger(environ)
    told = replay(environ, "--into", target)
    assert told["is_ledger"]
    assert told["compared_with"] == "database"
    assert sum(shard["verdicts_from_log"] for shard in told["shards"]) == 40
    assert told["counts"]["verdicts_of_another_shard"] == 40
    assert tables(target) == tables(environ["DATABASE_URL"])
    check_ledger(target)
    assert rows(target, "SELECT kind FROM epochs ORDER BY epoch_no") == [("genesis",), ("replay",)]
    assert rows(target, "SELECT env FROM deployment") == [("dev",)], "or no process outside dev would take it"
    again = replay(environ, "--into", target)
    assert (again["offsets"], again["ok"]) == (0, True), "running it again changes nothing"
    # The replayed database becomes the live one: what the journal topic holds comes again at most, nothing is left out.
    publish(environ, mixed(500, 9, first=10_000))
    environ = {**environ, "DATABASE_URL": target, "DATABASE_URL_POSTER": target}
    post_all(environ)
    check_ledger(target)
    check_journal(environ, target)


def test_beside_the_live_ledger_nothing_differs_and_an_altered_row_is_named(
    environ: dict[str, str], tmp_path: Path
) -> None:
    live_ledger(environ, 1500)
    dsn = environ["DATABASE_URL"]
    state = str(tmp_path / "state.json")
    told = replay(environ, "--state", state)
    posted, silent = rows(dsn, "SELECT sum(posted)::int, sum(duplicates + rejected)::int FROM shards")[0]
    assert (told["counts"]["entries_compared"], told["counts"]["verdicts_compared"]) == (posted, silent)
    assert sum(shard["verdicts_from_log"] for shard in told["shards"]) == 40
    assert replay(environ, "--state", state)["offsets"] == 0, "it goes on where it stood"
    publish(environ, mixed(100, 9, first=10_000))
    post_all(environ)
    assert replay(environ, "--state", state)["offsets"] == 100
    as_superuser(
        dsn,
        "UPDATE entries SET body = convert_to(replace(convert_from(body, 'UTF8'), 'seller-1', 'seller-7'), 'UTF8') "
        "WHERE shard = 1 AND seq = (SELECT min(seq) FROM entries WHERE shard = 1 AND "
        "position('seller-1'::bytea IN body) > 0)",
    )
    (finding,) = replay(environ, exit_code=1)["findings"]
    assert (finding["code"], finding["shard"], finding["field"]) == ("replay.entry", 1, "lines")
    as_superuser(dsn, "DELETE FROM verdicts WHERE (shard, source_offset) IN (SELECT 0, min(source_offset) FROM "
                 "verdicts WHERE shard = 0)")  # fmt: skip
    found = replay(environ, "--shard", "0", exit_code=1)["findings"]
    assert [(finding["code"], finding["shard"]) for finding in found] == [("replay.verdict", 0)]


def test_a_target_that_differs_is_told_by_its_first_difference(environ: dict[str, str], target: str) -> None:
    live_ledger(environ, 1000)
    replay(environ, "--into", target)
    dsn = environ["DATABASE_URL"]
    as_superuser(dsn, "UPDATE balances SET debits = debits + 1 WHERE (shard, account_no) = (0, 1)")
    as_superuser(dsn, "UPDATE verdicts SET reason = 'oversize' WHERE (shard, source_offset) IN (SELECT 1, "
                 "max(source_offset) FROM verdicts WHERE shard = 1)")  # fmt: skip
    told = replay(environ, "--into", target, exit_code=1)
    assert {(f["code"], f["shard"]) for f in told["findings"]} == {("replay.balance", 0), ("replay.verdict", 1)}


def test_a_record_that_the_topic_lost_in_its_middle_is_named(environ: dict[str, str], target: str) -> None:
    live_ledger(environ, 200)
    more = [record(0, settlement(FOREIGN_FROM - 1 - number)) for number in range(3)]
    topic = topic_of(environ, "settlements")
    hole = lose_in_the_middle(environ["KAFKA_BROKERS"], topic, lambda: publish(environ, more))
    post_all(environ)
    beside = replay(environ, exit_code=1)
    first = next(found for found in beside["findings"] if found["shard"] == 0)
    assert (first["place"], first["field"]) == (f"offset {hole}", "verdict")
    assert "rejected (no_record), the ledger posted it" in first["message"]
    told = replay(environ, "--into", target, exit_code=3)
    assert f"has lost what stood at offset {hole} " in told["error"]["message"]
    assert rows(target, "SELECT count(*) FROM verdicts WHERE reason = 'no_record'") == [(0,)]


def test_who_came_first_is_asked_of_the_log_and_never_guessed(environ: dict[str, str], target: str) -> None:
    live_ledger(environ, 400)
    told = replay(environ, "--into", target, "--compare", "nothing", exit_code=3)
    assert "which of them came first is written in no topic" in told["error"]["message"]
    assert "--compare database" in told["error"]["remedy"]


def test_a_point_in_time_is_a_what_if_for_ever_and_no_process_takes_it(environ: dict[str, str], target: str) -> None:
    live_ledger(environ, 400)
    told = replay(environ, "--into", target, "--shard", "0", "--to-seq", "100")
    assert (told["is_ledger"], told["shards"][0]["seq"]) == (False, "100")
    assert rows(target, "SELECT max(seq)::int FROM entries") == [(100,)]
    assert rows(target, "SELECT kind FROM epochs ORDER BY epoch_no DESC LIMIT 1") == [("what-if",)]
    assert replay(environ, "--into", target, "--shard", "0", "--to-seq", "100")["offsets"] == 0
    told = replay(environ, "--into", target, exit_code=3)
    assert "the target is not empty: epoch 2 is what-if" in told["error"]["message"]
    settings = Settings.from_env({**environ, "DATABASE_URL_POSTER": target}, Path.cwd())
    topology = load_topology(TOPOLOGY, topic_prefix=environ["FINANCE_TOPIC_PREFIX"])
    with pytest.raises(Refused, match="not the ledger"):
        build_service("poster", settings, topology, NullMetrics())
    offset = replay(environ, "--shard", "1", "--to-offset", "50")  # beside: in memory only
    assert (offset["shards"][0]["next_offset"], offset["is_ledger"]) == ("50", False)


def test_other_rules_are_compared_and_never_taken_for_the_ledgers(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live_ledger(environ, 300)

    def refuse_euro(record: Record, rules: RuleSet) -> Decided:
        made = decide(record, rules)
        if isinstance(made.outcome, Draft) and made.outcome.lines[0][3] == "EUR":
            raised = Rejection(RejectReason.BAD_CURRENCY, "no euro", made.outcome.event_id, b"\x00" * 32)
            return Decided(record, raised)
        return made

    monkeypatch.setattr(rule_sets, "RULE_SETS", {**rule_sets.RULE_SETS, "no-euro": lambda _judge: refuse_euro})
    monkeypatch.setattr(replay_beside, "RULE_SETS", rule_sets.RULE_SETS)
    settings = Settings.from_env(environ, Path.cwd())
    topology = load_topology(TOPOLOGY, topic_prefix=environ["FINANCE_TOPIC_PREFIX"])
    plan = ReplayPlan(settings, topology, SignerRegistry(()), "database", rules="no-euro")
    assert not plan.is_ledger
    _, report = replay_beside.replay_beside(plan, None, lambda _runs: None)
    assert {finding.code for finding in report.findings} <= {"replay.entry", "replay.verdict"}
    assert {finding.shard for finding in report.findings} == {0, 1}
