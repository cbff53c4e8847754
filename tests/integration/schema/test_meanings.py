"""What an allowed statement can mean: a role speaks for itself, under ids of its own, at the server's time."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg import errors

from ledger_core.audit.event_types import EVENT_TYPES
from ledger_core.postgres.posting import control
from ledger_core.postgres.posting.control import HALTED
from ledger_core.postgres.schema.authority import MATRIX, ROLES
from tests.support.databases import role_url
from tests.support.decisions import DECISIONS, TIME, stand_decisions
from tests.support.journal_factory import TinyShard
from tests.support.journal_writer import write
from tests.support.meant_acts import (
    DONE,
    HALTS,
    HELD,
    OUTBOX,
    PERSONAL,
    PROOFS,
    SHARD_HALTS,
    SHARED,
    go_on,
    halt,
    stand,
    writers,
)
from tests.support.payout_acts import PAYOUTS


@pytest.fixture
def url(database_url: str) -> str:
    stand_decisions(database_url)
    return database_url


@pytest.mark.parametrize(
    ("role", "statement", "outcome"), [*HALTS, *PROOFS, *SHARD_HALTS, *PERSONAL, *OUTBOX, *PAYOUTS]
)
def test_a_role_says_what_is_its_own_to_say(url: str, role: str, statement: str, outcome: str) -> None:
    with psycopg.connect(role_url(url, f"finance_{role}")) as connection:
        try:
            connection.execute(statement.encode())
            connection.commit()
            came = DONE
        except psycopg.Error as error:
            came = str(error.sqlstate)
    assert came == outcome


def test_the_database_and_the_notary_go_by_one_list_of_event_types(url: str) -> None:
    with psycopg.connect(url) as connection:
        listed = set(connection.execute("SELECT event_type, actor FROM audit_event_types()").fetchall())
    assert listed == {
        (name, actor) for name, known in EVENT_TYPES.items() if known.door == "outbox" for actor in known.actors
    }


def _named_by_the_front_door(connection: psycopg.Connection[Any]) -> set[str]:
    """Tables in which finance_api writes who acted."""
    named = connection.execute(
        "SELECT table_name FROM information_schema.columns WHERE column_name = 'actor_id' AND table_schema = 'public'"
    ).fetchall()
    return {table for (table,) in named if "INSERT" in MATRIX.get(table, {}).get("api", "")}


def test_every_decision_of_an_operator_leaves_its_event_whoever_writes_the_row(url: str) -> None:
    write(url, TinyShard(shard=5).post(1))
    left = "SELECT coalesce(max(outbox_id), 0), count(*) FROM audit_outbox WHERE actor_id = 'operator:cfo'"
    with psycopg.connect(url) as owner:
        assert _named_by_the_front_door(owner) == {"audit_outbox", *DECISIONS}
        for table, statement in DECISIONS.items():
            (_, before) = owner.execute(left).fetchone() or (0, 0)
            owner.rollback()
            with psycopg.connect(role_url(url, "finance_api")) as api:
                api.execute(statement.encode())
            assert (owner.execute(left).fetchone() or (0, 0))[1] == before + 1, table
            owner.rollback()


def test_every_decision_names_one_operator_in_one_spelling(url: str) -> None:
    write(url, TinyShard(shard=5).post(1))
    for statement in DECISIONS.values():
        for name in ("", "Ada", "a b", "a\nb", "\x1b[2J", "a" * 65):
            with psycopg.connect(role_url(url, "finance_api")) as api, pytest.raises(errors.CheckViolation):
                api.execute(statement.replace("operator:cfo", f"operator:{name}").encode())


@pytest.mark.parametrize("upto", ["2025-11-01 00:00:01", "2199-01-01", "294276-01-01", "infinity"])
def test_times_are_accepted_up_to_what_waits_and_no_further(url: str, upto: str) -> None:
    write(url, TinyShard(shard=5).post(1))
    with psycopg.connect(role_url(url, "finance_api")) as api, pytest.raises(errors.CheckViolation):
        api.execute(TIME.format(upto, "cfo").encode())


def test_a_halt_is_never_refused_for_its_words(url: str) -> None:
    with psycopg.connect(role_url(url, "finance_prover"), autocommit=True) as prover:
        prover.execute("INSERT INTO halts (reason, actor_id, trace_id) VALUES ('a < b & c', 'service:prover', '<')")
    with psycopg.connect(url) as connection:
        said = connection.execute(
            "SELECT payload, trace_id FROM audit_outbox ORDER BY outbox_id DESC LIMIT 1"
        ).fetchone()
    assert said == ({"reason": "a \uff1c b \uff06 c"}, "\uff1c")


def test_every_table_that_two_roles_write_was_thought_about() -> None:
    assert {table for table in MATRIX if len(writers(table)) > 1} == set(SHARED)


@pytest.mark.parametrize("role", ROLES)
def test_nothing_that_a_role_holds_delays_an_operators_halt(url: str, role: str) -> None:
    with ExitStack() as held:
        for statement in HELD:
            open_ = held.enter_context(psycopg.connect(role_url(url, f"finance_{role}")))
            try:
                open_.execute(statement.encode())  # and stays in its transaction
            except psycopg.Error:
                open_.close()
        # A halt that waited for any of them would end as Unavailable, at the session's time-out.
        assert control.halt(role_url(url, "finance_api"), reason="now", actor_id="operator:a", trace_id="t")
        with psycopg.connect(role_url(url, "finance_poster")) as poster:
            assert poster.execute(HALTED.encode()).fetchone() == (True,)


def test_a_resume_lifts_no_halt_that_came_meanwhile(url: str) -> None:
    api = role_url(url, "finance_api")
    with psycopg.connect(role_url(url, "finance_prover")) as prover:
        prover.execute(halt("service:prover").encode())
        assert control.resume(api, reason="the first one is over", actor_id="operator:a", trace_id="t")
    with psycopg.connect(api) as connection:
        assert connection.execute(HALTED.encode()).fetchone() == (True,)
        assert control.read_control(connection).actor_id == "service:prover"


def test_each_halt_and_each_resume_leaves_its_event_whoever_writes_the_row(url: str) -> None:
    with psycopg.connect(role_url(url, "finance_archiver"), autocommit=True) as archiver:
        archiver.execute(halt("service:archiver", ", shard", ", 3").encode())
    assert control.resume(role_url(url, "finance_api"), reason="mended", actor_id="operator:a", trace_id="t")
    with psycopg.connect(url) as connection:
        left = connection.execute(
            "SELECT event_type, actor_id, payload FROM audit_outbox ORDER BY outbox_id"
        ).fetchall()
    assert left == [
        ("ledger.halted", "operator:first", {"reason": "r"}),
        ("ledger.halted", "service:archiver", {"reason": "r", "shard": 3}),
        ("ledger.resumed", "operator:a", {"reason": "mended"}),
    ]


def test_a_halted_shard_and_what_ends_its_halt_leave_their_events(url: str) -> None:
    with psycopg.connect(role_url(url, "finance_poster"), autocommit=True) as poster:
        poster.execute(stand("unreadable", 4).encode())
        poster.execute(stand("dead_letters", 9).encode())  # it is halted already
    with psycopg.connect(role_url(url, "finance_api"), autocommit=True) as api:
        api.execute(go_on(1, allowed="9").encode())
        api.execute(go_on(2, aside="7").encode())
    with psycopg.connect(url) as connection:
        left = connection.execute(
            "SELECT event_type, actor_id, payload FROM audit_outbox ORDER BY outbox_id OFFSET 1"
        ).fetchall()
    assert left == [
        ("ledger.shard_halted", "service:poster",
         {"shard": 2, "kind": "unreadable", "offset": "4", "reason": "d"}),
        ("ledger.shard_resumed", "operator:cfo",
         {"shard": 0, "kind": "dead_letters", "offset": "0", "reason": "r", "allowed_offset": "9"}),
        ("ledger.offsets_set_aside", "operator:cfo",
         {"shard": 1, "kind": "unreadable", "offset": "5", "reason": "r", "next_offset": "7"}),
    ]  # fmt: skip
