"""Payouts on the real route: asked for, approved, released, posted; nothing is paid twice."""

from __future__ import annotations

import contextlib
import datetime as dt
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from producers.settlement_publisher import SettlementPublisher
from tests.support.kafka import tls
from tests.support.payout_office import BANK, PayoutOffice, owed
from tests.support.read_side import assert_sound, await_posted
from tests.support.route import Ledger

pytestmark = pytest.mark.services

AT = dt.datetime(2025, 11, 1, 12, tzinfo=dt.UTC)
SELLERS = {"a": 100_00, "b": 20_000_00, "c": 300_000_00, "d": 50_00, "e": 60_00}
OPENED = len(SELLERS) + 1
ROLES = (("bob", "finance"), ("carol", "lead"), ("dora", "executive"), ("alice", "finance"), ("bob", "lead"))


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(environ, tmp_path, {})
    found.start("poster")
    found.start("projector").wait_said("service.started")
    topic, brokers = environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements", environ["KAFKA_BROKERS"]
    with SettlementPublisher(brokers, topic, options=tls(brokers)) as publisher:
        publisher.publish_all(owed(payee, amount, AT) for payee, amount in SELLERS.items())
        publisher.publish(owed("d", 50_00, AT, "EUR"))
    await_posted(found, OPENED)
    yield found
    found.end()


@pytest.fixture
def office(ledger: Ledger) -> PayoutOffice:
    made = PayoutOffice(ledger.environ)
    made.set_up(*ROLES)
    return made


def sent(ledger: Ledger, office: PayoutOffice, asked: Any, more: int) -> None:
    """Until its entry is posted."""
    await_posted(ledger, OPENED + more)
    told = office("erin", "payout", "show", asked["request_id"])
    assert (told["state"], told["shard"] is None) == ("sent", False)


def test_a_payout_from_the_request_to_its_entry(ledger: Ledger, office: PayoutOffice) -> None:
    asked = office.ask("alice", "a", "60")
    assert (asked["state"], asked["approvals_needed"], asked["amount_minor"]) == ("waiting", 1, "6000")
    assert office("erin", "payout", "available", "a", "USD")["available_minor"] == "4000"
    assert "more than" in office.ask("alice", "a", "40.01", code=3)["error"]["message"]
    known = asked["request_id"]
    assert office.ask("alice", "a", "60", "--id", known)["request_id"] == known  # asked again
    assert "other content" in office.ask("alice", "a", "59", "--id", known, code=3)["error"]["message"]
    refusals = {
        ("alice", "finance"): "who asks for a payout does not approve it",
        ("bob", "executive"): "does not approve as",
        ("erin", "finance"): "does not approve as",
    }
    for (name, role), message in refusals.items():
        told = office.decide(name, "approve", known, "--as", role, code=3)
        assert message in told["error"]["message"], name
    assert "needs 1 approvals" in office.decide("erin", "release", known, code=3)["error"]["message"]
    wrong = office.decide("bob", "approve", known, "--as", "finance", "--hash", "0" * 64, code=3)
    assert "has the hash" in wrong["error"]["message"]
    told = office.decide("bob", "approve", known, "--as", "finance", "--hash", asked["form_hash"])
    assert told["state"] == "approved"
    hold = office("erin", "hold", "place", "a", "--reason", "reconciliation 7")["hold_id"]
    assert "are held" in office.decide("erin", "release", known, code=3)["error"]["message"]
    assert office("erin", "hold", "release", hold, "--reason", "x", code=3)["ok"] is False
    assert office("bob", "hold", "release", hold, "--reason", "corrected")["changed"] is True
    assert [it["hold_id"] for it in office("bob", "hold", "list", "--all")["holds"]] == [hold]
    assert office.decide("erin", "release", known)["closing"] == "released"
    sent(ledger, office, asked, 1)
    assert office.decide("erin", "release", known)["state"] == "sent"  # and again: nothing more is booked
    assert "already" in office.decide("erin", "reject", known, code=3)["error"]["message"]
    assert office("erin", "payout", "available", "a", "USD")["available_minor"] == "4000"
    assert_sound(ledger)
    assert ledger.ask("SELECT sum(posted), sum(rejected) FROM shards") == (OPENED + 1, 0)
    events = ledger.ask("SELECT array_agg(event_type ORDER BY event_type) FROM audit_outbox")
    assert events is not None
    told = list(events[0])
    assert {name: told.count(name) for name in set(told)} == {
        "approval_limit.changed": 1,
        "approver.changed": len(ROLES),
        "payout.requested": 1,
        "payout.approved": 1,
        "payout.released": 1,
        "payee.held": 1,
        "payee.let_go": 1,
    }


@pytest.mark.parametrize(
    ("payee", "amount", "yes"),
    [
        ("b", "10000", [("bob", "lead"), ("dora", "executive")]),
        ("c", "250000.00", [("bob", "finance"), ("carol", "lead"), ("dora", "executive")]),
    ],
)
def test_more_money_needs_more_people_each_in_another_role(
    office: PayoutOffice, payee: str, amount: str, yes: list[tuple[str, str]]
) -> None:
    asked = office.ask("alice", payee, amount)
    known = asked["request_id"]
    assert asked["approvals_needed"] == len(yes)
    for number, (name, role) in enumerate(yes, 1):
        assert office.decide("erin", "release", known, code=3)["ok"] is False
        told = office.decide(name, "approve", known, "--as", role)
        assert told["state"] == ("approved" if number == len(yes) else "waiting")
        if (name, role) == ("bob", "lead"):  # one person is one approval, whatever roles he has
            told = office.decide("bob", "approve", known, "--as", "finance", code=3)
            assert "of yours" in told["error"]["message"]
    office("root", "approvers", "revoke", yes[0][0], "--as", yes[0][1], "--reason", "left")
    assert office("erin", "payout", "show", known)["state"] == "waiting"
    assert office.decide("erin", "release", known, code=3)["ok"] is False


def test_what_is_rejected_or_too_old_is_available_again(ledger: Ledger, office: PayoutOffice) -> None:
    asked = office.ask("alice", "d", "50")
    assert office.ask("alice", "d", "0.01", code=3)["ok"] is False
    assert office.decide("alice", "reject", asked["request_id"])["state"] == "rejected"
    assert office.decide("bob", "approve", asked["request_id"], "--as", "finance", code=3)["ok"] is False
    asked = office.ask("alice", "d", "50")
    office.decide("bob", "approve", asked["request_id"], "--as", "finance")
    with psycopg.connect(ledger.environ["DATABASE_URL"]) as owner:  # a day passes
        owner.execute("ALTER TABLE payouts DISABLE TRIGGER USER")
        owner.execute("UPDATE payouts SET requested_at = requested_at - interval '24 hours'")
        owner.execute("ALTER TABLE payouts ENABLE TRIGGER USER")
    assert office("erin", "payout", "show", asked["request_id"])["state"] == "expired"
    assert "24 hours" in office.decide("erin", "release", asked["request_id"], code=3)["error"]["message"]
    assert office("erin", "payout", "available", "d", "USD")["available_minor"] == "5000"
    assert office("erin", "payout", "list")["payouts"] == []
    assert len(office("erin", "payout", "list", "--all")["payouts"]) == 2
    assert "no limit" in office.ask("alice", "d", "1", currency="EUR", code=3)["error"]["message"]


def test_two_who_ask_at_once_never_get_one_balance_twice(ledger: Ledger, office: PayoutOffice) -> None:
    """And those who are killed at any moment leave a request or none."""
    ask = ("payout", "request", "--payee", "e", "--amount", "40", "--currency", "USD", "--from", BANK, "--reason", "r")
    asking = [office.start("alice", *ask) for _ in range(6)]
    for process in asking:
        process.communicate()
    assert sorted(process.returncode for process in asking) == [0, 3, 3, 3, 3, 3]
    (asked,) = office("erin", "payout", "list")["payouts"]
    known = asked["request_id"]
    office.decide("bob", "approve", known, "--as", "finance")
    for seconds in (0.3, 0.6, 0.9, 1.2, 1.5):
        process = office.start("erin", "payout", "release", known, "--reason", "r")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.communicate()
    assert office.decide("erin", "release", known)["closing"] == "released"
    sent(ledger, office, asked, 1)
    assert ledger.ask("SELECT count(*) FROM payout_closings") == (1,)
    assert_sound(ledger)
