"""Personal data on their whole way: published by the library, kept, erased for ever, and nowhere else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from ledger_core.books.settlements import SettlementEvent, SettlementLine
from ledger_core.ports import Record
from producers.settlement_publisher import SettlementPublisher
from tests.support import audit
from tests.support.command_line import Finance, audit_types
from tests.support.kafka import client, tls
from tests.support.personal import (
    digest,
    erasure,
    keep_until,
    kept,
    post,
    read_to,
    record,
    refused,
    rows,
    say,
    topic_of,
    waiting,
)
from tests.support.posting_runs import post_all, publish, read_topic
from tests.support.settlements import TOPIC, event_id
from tests.support.signing import local_signer
from tests.support.waits import until

pytestmark = pytest.mark.services

NAME = "Zoë Miller-Unmistakable"
SALT = bytes(range(16))
LINES = (
    SettlementLine("asset:psp:stripe", "debit", 100, "USD"),
    SettlementLine("revenue:fees", "credit", 100, "USD"),
)


def event(n: int, *, with_data: bool = True, settlement: str = "") -> SettlementEvent:
    return SettlementEvent(
        event_id=event_id(n),
        event_type="settlement.captured",
        settlement_id=settlement or f"st-{n}",
        order_id=f"or-{n}",
        occurred_at=dt.datetime(2025, 11, 1, 12, n, tzinfo=dt.UTC),
        lines=LINES,
        pii={"buyer": NAME} if with_data else None,
        pii_salt=SALT if with_data else None,
    )


@contextmanager
def publisher(environ: dict[str, str]) -> Iterator[SettlementPublisher]:
    prefix, brokers = environ["FINANCE_TOPIC_PREFIX"], environ["KAFKA_BROKERS"]
    with SettlementPublisher(
        brokers, prefix + "finance.settlements", personal_topic=topic_of(environ), options=tls(brokers)
    ) as one:
        yield one


def settlements(environ: dict[str, str]) -> list[bytes]:
    topic = environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    return [it.value or b"" for shard in (0, 1) for it in read_topic(environ, topic, shard)]


def test_one_call_publishes_both_and_the_event_has_the_digest_alone(environ: dict[str, str]) -> None:
    with publisher(environ) as one:
        one.publish_and_wait(event(1))
        assert len(settlements(environ)) == 1
        assert len([it for p in (0, 1) for it in read_topic(environ, topic_of(environ), p)]) == 1
        one.publish(event(2))
        one.publish(event(3, with_data=False, settlement="st-2"))
    assert not any(NAME.encode() in value for value in settlements(environ))
    post_all(environ)
    url = environ["DATABASE_URL"]
    keep_until(environ, lambda: set(kept(url)) == {event_id(1), event_id(2)})
    order = rows(url, "SELECT event_id::text FROM entries WHERE event_id = ANY(ARRAY["
                 f"'{event_id(2)}','{event_id(3)}']::uuid[]) ORDER BY seq")  # fmt: skip
    assert order == [(event_id(2),), (event_id(3),)], "records of one settlement keep their order"


def test_a_record_of_the_form_with_data_leaves_nothing_of_it_in_its_dead_letter(environ: dict[str, str]) -> None:
    """Neither in the table nor on the topic; a retry leaves it alone."""
    url = environ["DATABASE_URL"]
    value = b"\x00" + (40_100_531).to_bytes(4, "big") + NAME.encode()
    publish(environ, [Record(TOPIC, 0, 0, 0, b"st-1", value, (("buyer", NAME.encode()),)),
                      Record(TOPIC, 0, 1, 0, b"st-2", b"bad")])  # fmt: skip
    post_all(environ)
    assert rows(url, "SELECT reason FROM verdicts ORDER BY source_offset") == [("unknown_schema",), ("malformed",)]
    assert rows(url, "SELECT key, value, headers::text FROM dead_letters ORDER BY source_offset") == [
        (b"st-1", None, "[]"),
        (b"st-2", b"bad", "[]"),
    ]
    letters = read_topic(environ, environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements.dlq", 0)
    assert [it.value for it in letters] == [None, b"bad"]
    assert NAME not in str(letters)
    told = Finance(environ).json("dlq", "retry", "0", "0", "1")
    assert told["published"] == ["1"]


def test_an_erasure_is_for_ever_and_takes_the_copies_along(environ: dict[str, str]) -> None:
    url, finance = environ["DATABASE_URL"], Finance(environ)
    post(url, 1, digest(1))
    post(url, 2, digest(2))
    say(environ, record(1), record(2))
    keep_until(environ, lambda: len(kept(url)) == 2)
    approve(finance, 1)
    told = finance.json("pii", "erase", event_id(1), "--reason", "case 7", "--wait", "0", code=1)
    assert (told["changed"], told["rows_left"]) == (True, 1), "no keeper runs"
    assert audit_types(url) == ["personal.erasure_approved", "personal.erased"]
    keep_until(environ, lambda: set(kept(url)) == {event_id(2)})
    again = finance.json("pii", "erase", event_id(1), "--reason", "case 7 again")
    assert (again["changed"], again["rows_left"]) == (False, 0)
    assert audit_types(url) == ["personal.erasure_approved", "personal.erased"]
    say(environ, record(1), record(1, "Late"))
    keep_until(environ, lambda: {reason for _, reason, _ in refused(url)} == {"erased"} and len(refused(url)) == 2)
    assert rows(url, f"SELECT FROM personal_data WHERE event_id = '{event_id(1)}'") == []
    payloads = str(rows(url, "SELECT payload::text FROM audit_outbox"))
    assert event_id(1) in payloads
    assert "Zoe" not in payloads


def approve(finance: Finance, n: int, by: str = "bob") -> None:
    finance("pii", "approve", event_id(n), "--reason", "case 7", FINANCE_OPERATOR=by)


def test_an_erasure_wants_two_operators_whatever_statement_asks_for_it(environ: dict[str, str]) -> None:
    """Nobody approved; only who erases did; somebody did, for another event, or more than a day ago."""
    url, finance = environ["DATABASE_URL"], Finance(environ)
    post(url, 1, digest(1))
    erase = ("pii", "erase", event_id(1), "--reason", "case 7", "--wait", "0")
    assert "let another operator run" in finance(*erase, code=3)
    approve(finance, 1, by="alice")
    approve(finance, 2)
    finance(*erase, code=3)
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO personal_approvals (event_id, reason, actor_id, trace_id, approved_at) "
            "VALUES (%s, 'old', 'operator:carol', '', now() - interval '25 hours')",
            (event_id(1),),
        )
        with pytest.raises(psycopg.errors.CheckViolation, match="no other operator"):
            owner.execute(
                "INSERT INTO personal_erasures (event_id, reason, actor_id, trace_id, approver_id) "
                "VALUES (%s, 'r', 'operator:alice', '', 'operator:mallory')",
                (event_id(1),),
            )
    finance(*erase, code=3)
    assert rows(url, "SELECT FROM personal_erasures") == []
    approve(finance, 1)
    assert finance.json(*erase)["changed"]
    assert rows(url, "SELECT actor_id, approver_id FROM personal_erasures") == [("operator:alice", "operator:bob")]
    told = rows(url, "SELECT payload ->> 'approver' FROM audit_outbox WHERE event_type = 'personal.erased'")
    assert told == [("operator:bob",)]


def test_an_unknown_event_is_not_erased_by_mistake(environ: dict[str, str]) -> None:
    finance = Finance(environ)
    for given, words in ((event_id(9), "check the id"), ("ST-1", "UUID in its lower-case")):
        assert words in finance("pii", "erase", given, "--reason", "case 7", code=3)
    approve(finance, 9)
    assert finance.json("pii", "erase", event_id(9), "--reason", "case 7", "--unknown")["changed"]
    url = environ["DATABASE_URL"]
    say(environ, record(9), partition=0)
    keep_until(environ, lambda: [reason for _, reason, _ in refused(url)] == ["erased"])
    assert waiting(url) == 0


def test_a_database_that_forgot_an_erasure_learns_it_from_the_audit_chain(environ: dict[str, str]) -> None:
    """As after a restore: the data are there again, the decision is not, and the chain has it."""
    url = environ["DATABASE_URL"]
    post(url, 1, digest(1))
    say(environ, record(1), erasure(1))
    keep_until(environ, lambda: set(kept(url)) == {event_id(1)})
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id) VALUES "
            "('personal.erased', 'operator:ada', jsonb_build_object('event_id', %s::text, 'reason', 'r'), 't')",
            (event_id(1),),
        )
    signer, registry = local_signer()
    audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry))
    keep_until(environ, lambda: kept(url) == {})
    say(environ, record(1))
    keep_until(environ, lambda: read_to(url) == 3)
    assert waiting(url) == 0


def test_what_was_erased_leaves_the_topic_when_the_brokers_compact_it(environ: dict[str, str]) -> None:
    brokers, topic = environ["KAFKA_BROKERS"], topic_of(environ)
    say(environ, record(1), record(2), erasure(1))
    quick = {"min.compaction.lag.ms": "0", "max.compaction.lag.ms": "1", "segment.ms": "1",
             "min.cleanable.dirty.ratio": "0.001"}  # fmt: skip
    changes = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in quick.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=changes)
    admin = AdminClient(client(brokers))
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(300)

    def gone() -> bool:
        values = [(it.key, it.value) for it in read_topic(environ, topic, 0)]
        return record(1) not in values and record(2) in values

    until("the brokers compact", gone, between=lambda: say(environ, record(3)))
