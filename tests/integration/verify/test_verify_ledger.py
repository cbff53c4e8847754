"""The oracle on a real Postgres: a sound ledger is sound, and each edit of a superuser is found where it was made."""

from __future__ import annotations

import pytest

from finance.workshop.devstack import Stack
from ledger_core.errors import Refused
from ledger_core.postgres.verify.ledger_reader import open_ledger_reader
from ledger_core.verify.oracle import AuditHead, Report, verify_audit, verify_ledger
from tests.simulator.ledger import MemoryLedger
from tests.simulator.tiny_shards import add_shard
from tests.support.archive_factory import Key
from tests.support.audit_factory import audit_events
from tests.support.databases import create_database, drop_database, role_url
from tests.support.journal_factory import TinyShard
from tests.support.ledger_writer import superuser, write_audit, write_ledger

KEY = Key("rsa-sha256")
CUTS = [(5, 6), (12, 14), (15, 20)]


@pytest.fixture
def ledger_url(database_url: str) -> str:
    ledger = MemoryLedger()
    one = TinyShard().post(5).silence(2).post(7).silence(1, reason="malformed").post(3).silence(2).post(4)
    add_shard(ledger, one, CUTS, KEY)
    add_shard(ledger, TinyShard(1).silence(3).post(2, currency="EUR"), [(0, 2), (2, 5)], KEY)
    write_ledger(database_url, ledger)
    return database_url


def check(url: str) -> Report:
    with open_ledger_reader(role_url(url, "finance_auditor")) as reader:
        return verify_ledger(reader, KEY.registry)


def test_sound_ledger_is_sound_to_the_auditors_role(ledger_url: str) -> None:
    report = check(ledger_url)
    assert report.findings == ()
    assert report.counts["entries"] == 21
    assert report.counts["signatures"] == 10
    assert report.counts["entries_not_proved_yet"] == 4


EDITS = [
    (
        "UPDATE entries SET body = replace(convert_from(body,'UTF8'), 'er-7\"', 'er-8\"')::bytea WHERE seq = 7",
        0,
        7,
        "body or entry_hash",
    ),
    ("UPDATE entries SET entry_hash = sha256('x') WHERE shard = 0 AND seq = 9", 0, 9, "body or entry_hash"),
    ("UPDATE entries SET event_id = gen_random_uuid() WHERE shard = 0 AND seq = 3", 0, 3, "event_id"),
    ("UPDATE entries SET source_offset = 99 WHERE shard = 0 AND seq = 19", 0, 19, "source_offset"),
    ("UPDATE entries SET recorded_at = recorded_at + interval '1 us' WHERE shard = 1 AND seq = 2", 1, 2, "recorded_at"),
    ("DELETE FROM entries WHERE shard = 0 AND seq = 8", 0, 8, "seq"),
    ("DELETE FROM entries WHERE shard = 0 AND seq = 17", 0, 17, "seq"),
    (
        "UPDATE lines SET amount_minor = amount_minor + 1 WHERE shard = 0 AND seq = 4 AND line_no = 2",
        0,
        4,
        "lines[2].amount_minor",
    ),
    ("UPDATE lines SET account_no = 2 WHERE shard = 0 AND seq = 1 AND line_no = 1", 0, 1, "lines[1].account_no"),
    ("UPDATE lines SET side = -side WHERE shard = 0 AND seq = 6 AND line_no = 3", 0, 6, "lines[3].side"),
    ("DELETE FROM lines WHERE shard = 0 AND seq = 18 AND line_no = 3", 0, 18, "lines[3]"),
    ("UPDATE accounts SET account = 'revenue:mine' WHERE shard = 0 AND account = 'revenue:fees'", 0, None, "account"),
    ("UPDATE balances SET credits = credits + 5 WHERE shard = 0 AND account_no = 3", 0, None, "credits"),
    ("DELETE FROM balances WHERE shard = 1 AND account_no = 1", 1, None, "debits"),
    ("UPDATE verdicts SET reason = 'malformed' WHERE shard = 0 AND source_offset = 5", 0, None, "reason"),
    ("DELETE FROM verdicts WHERE shard = 0 AND source_offset = 5", 0, 5, "source.offset"),
    ("UPDATE shards SET head_hash = sha256('x') WHERE shard = 0", 0, 19, "head_hash"),
    ("UPDATE ranges SET tree = sha256('x') || substr(tree, 33) WHERE shard = 0 AND range_no = 2", 0, 12, "tree"),
    ("UPDATE ranges SET verdict_tree = sha256('x') WHERE shard = 0 AND range_no = 2", 0, 12, "verdict_tree"),
    ("UPDATE ranges SET hash = sha256('x') WHERE shard = 0 AND range_no = 3", 0, 15, "hash"),
    ("DELETE FROM proofs WHERE shard = 0 AND range_no = 2", 0, 15, "proof"),
    ("DELETE FROM checkpoints WHERE shard = 0 AND tree_size = 12", 0, 12, "next_offset"),
    (
        "UPDATE checkpoints SET note = replace(convert_from(note,'UTF8'), '/0', '/1')::bytea WHERE tree_size = 5",
        0,
        5,
        "note",
    ),
    ("INSERT INTO lines VALUES (0, 500, 1, 1, 1, 100, 'USD')", None, None, "lines"),
]


@pytest.mark.parametrize(("statement", "shard", "seq", "field"), EDITS, ids=[edit[0][:60] for edit in EDITS])
def test_edit_of_a_superuser_is_named(ledger_url: str, statement: str, shard: int, seq: int, field: str) -> None:
    with superuser(ledger_url) as connection:
        assert connection.execute(statement).rowcount >= 1
    findings = check(ledger_url).findings
    assert (shard, seq, field) in {(found.shard, found.seq, found.field) for found in findings}, findings


def test_edited_body_is_named_alone_and_not_with_all_that_follow(ledger_url: str) -> None:
    with superuser(ledger_url) as connection:
        connection.execute(EDITS[0][0])
    broken = [found.seq for found in check(ledger_url).findings if found.code == "ledger.chain"]
    assert broken == [7]


def test_history_rewritten_from_an_entry_on_contradicts_what_was_signed(database_url: str) -> None:
    ledger = MemoryLedger()
    add_shard(ledger, TinyShard().post(8), [(4, 4), (8, 8)], KEY)
    forged = MemoryLedger()
    add_shard(forged, TinyShard().post(2).post(6, currency="EUR"), [(4, 4), (8, 8)], Key("rsa-sha256"))
    forged.signed_notes, true_ranges = ledger.signed_notes, ledger.range_rows[0]
    write_ledger(database_url, forged)  # consistent in itself, signed by a key of the forger
    findings = check(database_url).findings
    assert {"proof.signature", "checkpoint.root"} <= {found.code for found in findings}
    assert true_ranges[0].hash != forged.range_rows[0][0].hash


def test_reader_sees_one_moment_while_the_ledger_grows(ledger_url: str) -> None:
    with open_ledger_reader(role_url(ledger_url, "finance_auditor")) as reader:
        before = reader.totals()
        with superuser(ledger_url) as connection:
            connection.execute("DELETE FROM entries WHERE seq > 2")
        assert reader.totals() == before
        assert verify_ledger(reader, KEY.registry).sound
    assert not check(ledger_url).sound


def test_audit_chain_of_the_table_is_checked_against_what_was_published(database_url: str) -> None:
    write_audit(database_url, audit_events(KEY))

    def report() -> Report:
        with open_ledger_reader(role_url(database_url, "finance_auditor")) as reader:
            return verify_audit(reader.audit_events(), KEY.registry, expected=[AuditHead(reader.published_seq())])

    assert report().sound
    with superuser(database_url) as connection:
        connection.execute("DELETE FROM audit_events WHERE seq = 4")
    assert [found.code for found in report().findings] == ["audit.truncated"]
    with superuser(database_url) as connection:
        connection.execute("UPDATE audit_events SET actor_id = 'operator:x' WHERE seq = 2")
    assert ("audit.payload", 2, "actor_id") in {(found.code, found.seq, found.field) for found in report().findings}
    with superuser(database_url) as connection:
        connection.execute("DELETE FROM audit_events")
    assert {found.code for found in report().findings} == {"audit.empty", "audit.truncated"}


def test_reader_refuses_a_database_that_is_not_migrated(stack: Stack) -> None:
    server = stack.env["DATABASE_URL"]
    empty = create_database(server, "template0")
    with open_ledger_reader(empty) as reader, pytest.raises(Refused, match="finance migrate"):
        reader.shards()
    drop_database(server, empty)
