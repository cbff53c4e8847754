"""The audit chain's other copies on the real servers: exported, verified, read again, and brought back."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from finance.workshop.devstack import Stack
from ledger_core.errors import Refused
from ledger_core.signing.registry import SignerRegistry
from producers.signing.verified_signer import VerifiedSigner
from tests.support import audit, buckets
from tests.support.audit_checks import assert_chain
from tests.support.signing import kms_signer

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[3]
Signing = tuple[VerifiedSigner, SignerRegistry]


@pytest.fixture
def signing(stack: Stack) -> Signing:
    """The key that signers.json of the stack holds: the commands read it."""
    return kms_signer(stack.env, "ed25519")


def finance(environ: dict[str, str], *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "finance", "audit", *arguments, "--json"]
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300)
    assert ended.returncode == exit_code, f"exit {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def chain(environ: dict[str, str], signing: Signing, first: int, count: int) -> None:
    """Intents first..first+count-1, chained and published."""
    audit.append(environ["DATABASE_URL"], [audit.intent(number) for number in range(first, first + count)])
    notarize(environ, signing)


def notarize(environ: dict[str, str], signing: Signing) -> None:
    audit.run_until_idle(lambda: audit.build_notary(environ, *signing))


def as_superuser(environ: dict[str, str], statement: str) -> None:
    with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement.encode())


def codes(told: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in told["findings"]}


def test_the_chain_is_exported_once_and_its_own_events_do_not_feed_it(
    environ: dict[str, str], signing: Signing, tmp_path: Path
) -> None:
    chain(environ, signing, 0, 25)
    assert finance(environ, "export")["objects"] == 1
    notarize(environ, signing)  # the event of the export
    assert finance(environ, "export")["objects"] == 0, "an export's own event closes no range"
    chain(environ, signing, 25, 5)
    assert finance(environ, "export")["objects"] == 1
    assert finance(environ, "export")["objects"] == 0
    told = finance(environ, "verify", "--from", "s3", "--against", "topic", "--against", "db")
    assert (told["counts"]["events"], told["counts"]["objects"]) == (31, 2)
    assert told["counts"]["compared_with_topic"] == told["counts"]["compared_with_db"] == 31
    client, bucket = buckets.s3_client(environ), environ["S3_AUDIT_BUCKET"]
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=bucket, Prefix="dev/audit/")["Contents"]]
    assert keys == [f"dev/audit/seqs-{1:019d}-{25:019d}.jsonl.gz", f"dev/audit/seqs-{26:019d}-{31:019d}.jsonl.gz"]
    lines = b"".join(gzip.decompress(client.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys)
    assert lines.splitlines() == [value for _, value in audit.read_topic(environ)][:31]
    file = tmp_path / "audit_events.jsonl"
    file.write_bytes(lines)
    finance(environ, "verify", "--from", "file", "--file", str(file), "--expect-seq", "31")


def test_what_is_missing_cut_or_out_of_order_is_a_finding_wherever_it_stands(
    environ: dict[str, str], signing: Signing, tmp_path: Path
) -> None:
    file = tmp_path / "chain.jsonl"
    file.write_bytes(b"")
    from_file = ("verify", "--from", "file", "--file", str(file))
    assert codes(finance(environ, *from_file, exit_code=1)) == {"audit.empty"}
    assert "audit.empty" in codes(finance(environ, "verify", "--from", "topic", "--alone", exit_code=1))
    assert "audit.empty" in codes(finance(environ, "verify", "--from", "s3", "--alone", exit_code=1))
    chain(environ, signing, 0, 20)
    lines = [value + b"\n" for _, value in audit.read_topic(environ)]
    for cut, expected in (
        (lines[:-1], {"audit.truncated"}),
        (lines[1:], {"audit.seq"}),
        ([*lines[:5], lines[6], lines[5], *lines[7:]], {"audit.seq", "audit.created_at"}),
    ):
        file.write_bytes(b"".join(cut))
        assert codes(finance(environ, *from_file, "--expect-seq", "20", exit_code=1)) == expected
    file.write_bytes(b"".join(lines))
    assert codes(finance(environ, *from_file, "--expect-seq", "20", "--expect-hash", "0" * 64, exit_code=1)) == {
        "audit.head"
    }
    as_superuser(environ, "DELETE FROM audit_events WHERE seq > 17")
    assert "audit.truncated" in codes(finance(environ, "verify", "--from", "db", exit_code=1))


def test_reading_again_filters_and_adds_up(environ: dict[str, str], signing: Signing) -> None:
    chain(environ, signing, 0, 10)
    told = finance(environ, "replay", "--from", "db", "--trace-id", f"{7:032x}")
    assert [event["payload"]["source_offset"] for event in told["events"]] == ["7"]
    assert told["state"]["types"] == {"dead_letter.retried": 10}
    assert not told["state"]["halted"]
    assert len(finance(environ, "replay", "--from", "topic", "--type", "dead_letter.retried")["events"]) == 10
    assert finance(environ, "replay", "--from", "db", "--until", "2001-01-01")["events"] == []


def test_a_database_that_lost_its_end_is_refused_by_the_notary_until_it_is_restored(
    environ: dict[str, str], signing: Signing
) -> None:
    chain(environ, signing, 0, 30)
    before = audit.rows_newest_first(environ["DATABASE_URL"])
    as_superuser(environ, "DELETE FROM audit_events WHERE seq > 12")
    as_superuser(environ, "UPDATE notary_cursor SET published_seq = 12")
    # As a restore to the past brings it back: the intent of an event that is on the topic waits in the outbox again.
    as_superuser(
        environ,
        "INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id, created_at) VALUES ("
        "'dead_letter.retried', 'operator:tester', "
        f'\'{{"shard": 0, "source_offset": "20", "reason": "conflict"}}\', \'{20:032x}\', \'2001-01-01\')',
    )
    with pytest.raises(Refused, match="this chain ends at 12"):
        notarize(environ, signing)
    assert len(audit.rows_newest_first(environ["DATABASE_URL"])) == 12, "nothing was signed"
    told = finance(environ, "restore", "--from", "topic")
    assert (told["restored"], told["intents_taken"]) == (18, 1)
    assert audit.rows_newest_first(environ["DATABASE_URL"]) == before
    assert finance(environ, "restore", "--from", "topic")["restored"] == 0, "again changes nothing"
    notarize(environ, signing)
    rows = audit.rows_newest_first(environ["DATABASE_URL"])
    assert [row["event_type"] for row in rows[:2]] == ["audit_chain.restored", "dead_letter.retried"]
    finance(environ, "verify", "--from", "db")
    finance(environ, "verify", "--from", "topic")


def test_the_whole_chain_comes_back_from_the_archive_alone(
    environ: dict[str, str], signing: Signing, other_database: str
) -> None:
    chain(environ, signing, 0, 30)
    finance(environ, "export")
    told = finance(environ, "restore", "--from", "s3", "--into", other_database)
    assert told["restored"] == 30
    assert audit.rows_newest_first(other_database) == audit.rows_newest_first(environ["DATABASE_URL"])
    assert_chain(other_database, signing[1], range(30), outbox=1)
    restored = {**environ, "DATABASE_URL": other_database}
    notarize(restored, signing)
    assert len(audit.read_topic(environ)) == 31, "what was published is not published again"


def test_a_fork_is_refused_by_the_notary_and_by_a_restore(
    environ: dict[str, str], signing: Signing, other_database: str
) -> None:
    chain(environ, signing, 0, 10)
    fork = {**environ, "DATABASE_URL": other_database, "DATABASE_URL_AUDITOR": other_database}
    alone = audit.build_notary(fork, *signing, newest=lambda: None)
    audit.append(other_database, [audit.intent(number) for number in range(100, 115)])
    assert alone.step()  # it chains in a database that never heard of the topic; the next step would publish
    alone.close()
    with pytest.raises(Refused, match="one of them is a fork"):
        notarize(fork, signing)
    told = finance(fork, "restore", "--from", "topic", "--into", other_database, exit_code=3)
    assert "fork" in told["error"]["message"]
    assert "audit.contradiction" in codes(finance(fork, "verify", "--from", "db", exit_code=1))
