"""A halt and its audit intent are one change; reading the ledger before it is migrated is refused."""

from __future__ import annotations

import psycopg
import pytest

from ledger_core.errors import Refused
from ledger_core.postgres.posting import control
from ledger_core.postgres.posting.control import read_control
from ledger_core.postgres.session import session
from tests.support.databases import role_url

ACTOR = "operator:alice"


def intents(database_url: str) -> list[tuple[str, str, dict[str, str], str]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "SELECT event_type, actor_id, payload, trace_id FROM audit_outbox ORDER BY outbox_id"
        ).fetchall()


def test_each_halt_and_each_resume_leave_one_intent(database_url: str) -> None:
    api = role_url(database_url, "finance_api")
    assert control.halt(api, reason="off by 1  ", actor_id=ACTOR, trace_id="t1")
    assert not control.halt(api, reason="off by 1", actor_id=ACTOR, trace_id="t2")  # said already
    assert control.halt(api, reason="off by 2", actor_id="operator:bob", trace_id="t2")  # beside the first
    with session(api, application_name="test") as connection:
        now = read_control(connection)
    assert (now.halted, now.reason, now.actor_id) == (True, "off by 1", ACTOR)
    assert control.resume(api, reason="mended", actor_id=ACTOR, trace_id="t3")
    assert not control.resume(api, reason="mended", actor_id=ACTOR, trace_id="t4")
    assert intents(database_url) == [
        ("ledger.halted", ACTOR, {"reason": "off by 1"}, "t1"),
        ("ledger.halted", "operator:bob", {"reason": "off by 2"}, "t2"),
        ("ledger.resumed", ACTOR, {"reason": "mended"}, "t3"),
    ]


@pytest.mark.parametrize("reason", ["", "   ", "two\nlines", "nul\0", "x" * 1001])
def test_a_reason_that_cannot_stand_on_the_audit_chain_is_refused(database_url: str, reason: str) -> None:
    with pytest.raises(Refused, match="reason"):
        control.halt(database_url, reason=reason, actor_id=ACTOR, trace_id="t")
    assert intents(database_url) == []


def test_an_intent_that_cannot_be_written_leaves_posting_as_it_was(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE audit_outbox RENAME TO gone")
    with pytest.raises(Refused, match="audit_outbox"):
        control.halt(role_url(database_url, "finance_api"), reason="r", actor_id=ACTOR, trace_id="t")
    with session(database_url, application_name="test") as connection:
        assert not read_control(connection).halted


@pytest.mark.parametrize("role", ["poster", "prover", "archiver", "notary"])
def test_every_process_may_halt_when_it_finds_a_contradiction(database_url: str, role: str) -> None:
    assert control.halt(role_url(database_url, f"finance_{role}"), reason="r", actor_id=f"service:{role}", trace_id="t")
    assert [intent[:2] for intent in intents(database_url)] == [("ledger.halted", f"service:{role}")]


def test_the_auditor_may_not_halt(database_url: str) -> None:
    with pytest.raises(Refused, match="may not"):
        control.halt(role_url(database_url, "finance_auditor"), reason="r", actor_id=ACTOR, trace_id="t")
