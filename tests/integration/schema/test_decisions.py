"""Decisions of operators: none takes effect off the audit chain, whatever session or words it comes by."""

from __future__ import annotations

import contextlib

import psycopg
import pytest
from psycopg import errors

from ledger_core.audit.admission import admission_fault
from ledger_core.ports import AuditIntent
from tests.support.databases import role_url
from tests.support.decisions import DECISIONS, stand_decisions
from tests.support.journal_factory import TinyShard
from tests.support.journal_writer import write

pytestmark = pytest.mark.services


@pytest.fixture
def url(database_url: str) -> str:
    stand_decisions(database_url)
    return database_url


NEWEST_INTENT = "SELECT event_type, actor_id, payload, trace_id FROM audit_outbox ORDER BY outbox_id DESC LIMIT 1"
SETTINGS = (
    "SET bytea_output = 'escape'",
    "SET datestyle = 'German, DMY'",
    "SET timezone = 'Asia/Tokyo'",
    "SET intervalstyle = 'sql_standard'",
    "SET extra_float_digits = -15",
)
WORDS = ("e\u0301", "a < b & c", "a\nb", "\x1b[2J", "\u202e", "x" * 1001, "x" * 201, "")


def test_a_decision_stands_only_where_its_event_can_be_chained(url: str) -> None:
    """Whatever the session says, and whatever words come: the notary chains the event, or there is no decision."""
    write(url, TinyShard(shard=5).post(1))
    stood = 0
    for table, statement in DECISIONS.items():
        for words in ("r", *WORDS):
            for column in ("'r'", "''"):  # the reason, and the trace id where there is one
                changed = statement.replace(column, "%(words)s", 1)
                if words == "r" and column == "''":
                    continue
                with psycopg.connect(role_url(url, "finance_api")) as api, contextlib.suppress(psycopg.Error):
                    for setting in SETTINGS:
                        api.execute(setting.encode())
                    api.execute(changed.encode(), {"words": words} if "%(words)s" in changed else None)
                    row = api.execute(NEWEST_INTENT).fetchone()
                    assert row is not None
                    assert admission_fault(AuditIntent(*row)) is None, f"{table}: {words!r} for {column}"
                    stood += 1
                    api.rollback()
    assert stood >= len(DECISIONS)


def test_personal_data_are_shown_by_a_decision_that_cannot_be_taken_back(url: str) -> None:
    shown = "SELECT count(*) FROM disclosed_personal(%s, %s)"
    decide = (
        "INSERT INTO personal_disclosures (from_ts, to_ts, fields, reason, actor_id, trace_id) "
        "VALUES ('2025-01-01', '2026-01-01', '{}', 'r', 'operator:cfo', '') RETURNING disclosure_no"
    )
    entry = TinyShard(shard=5).post(1)
    write(url, entry)
    event_id = entry.entries[0].entry.event_id
    with psycopg.connect(url) as owner:
        owner.execute(
            "INSERT INTO personal_data (event_id, digest, pii, salt, source_partition, source_offset, kept) "
            """SELECT %s, personal_digest(d.pii, d.salt), d.pii, d.salt, 9, 9, true
                 FROM (SELECT '{"name":"Ada"}'::bytea, '0123456789abcdef'::bytea) AS d (pii, salt)""",
            (event_id,),
        )
    with psycopg.connect(role_url(url, "finance_api")) as api:
        (number,) = api.execute(decide).fetchone() or (0,)
        assert api.execute(shown, (number, [event_id])).fetchone() == (0,)
        with api.transaction():
            (inner,) = api.execute(decide).fetchone() or (0,)
            assert api.execute(shown, (inner, [event_id])).fetchone() == (0,)
        assert api.execute(shown, (inner, [event_id])).fetchone() == (0,)
        api.commit()
        assert api.execute(shown, (number, [event_id])).fetchone() == (1,)
        assert api.execute(shown, (inner, [event_id])).fetchone() == (1,)


WINDOWS = ("'-infinity', '2026-01-01'", "'2025-01-01', 'infinity'", "'2025-01-01', '12000-01-01'")


@pytest.mark.parametrize("window", WINDOWS)
def test_a_decision_to_show_personal_data_has_a_window(url: str, window: str) -> None:
    with psycopg.connect(role_url(url, "finance_api")) as api, pytest.raises(errors.CheckViolation):
        api.execute(
            "INSERT INTO personal_disclosures (from_ts, to_ts, fields, reason, actor_id, trace_id) "
            f"VALUES ({window}, '{{}}', 'r', 'operator:cfo', '')".encode()
        )
