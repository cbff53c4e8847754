"""A ledger put back to the past catches up with the topic, signs nothing beside what is published, and goes on.

Most of the databases from the past are copies made then: that a restore gives one is the claim of test_backup.py.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from finance.workshop.devstack import Stack
from ledger_core.postgres.recovery.epochs import begin_epoch
from ledger_core.postgres.session import session
from tests.support import databases
from tests.support.backups import finance, lsn, own_server, restored, streaming, until_stored
from tests.support.databases import role_url
from tests.support.posting_runs import TABLES
from tests.support.route import Ledger
from tests.support.waits import until

SIGNED = {
    "ranges": "shard, range_no, first_seq, last_seq, first_offset, next_offset, payload, hash, checkpoint_text, tree, "
    "verdict_tree, head_hash",
    "proofs": "shard, range_no, proof_id, proof",
    "checkpoints": "shard, next_offset, tree_size, note",
    "archive_objects": "shard, range_no, object_key, version_id, sha256, stored_sha256",
    "manifests": "shard, manifest_no, payload, hash, manifest, object_key, version_id",
}


@pytest.fixture
def past(environ: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of the ledger on its database as it was after the first events; more was published since. All of it
    signed with RSA: what is adopted must come out the same under either algorithm, and the other test takes Ed25519."""
    environ |= {"AUDIT_SIGNING_ALG": "rsa-sha256", "AUDIT_SIGNING_KMS_KEY_ID": environ["KMS_KEY_RSA"]}
    finance(environ, "publish", "--synthetic", "300")
    finance(environ, "run", "all", "--until-idle")
    live = environ["DATABASE_URL"]
    copy = databases.create_database(live, urlsplit(live).path.lstrip("/"))
    finance(environ, "publish", "--synthetic", "200", "--seed", "2")
    finance(environ, "run", "all", "--until-idle")
    with session(copy, application_name="test") as connection:
        begin_epoch(
            connection, kind="restore", epoch_id=str(uuid.uuid4()), actor_id="operator:t", reason="lost", trace_id="t"
        )
    name = urlsplit(copy).path.lstrip("/")
    addresses = {key: value for key, value in environ.items() if key.startswith("DATABASE_URL")}
    roles = {key: databases.database_at(value, name) for key, value in addresses.items()}
    yield {**environ, **roles}
    databases.drop_database(live, copy)


def tables(url: str) -> dict[str, list[tuple[object, ...]]]:
    with psycopg.connect(url) as connection:
        return {
            table: connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table, columns in TABLES.items()
        }


def count(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        return int(row[0])


def signed(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Everything that was signed, or fixed to be signed, and pinned."""
    with psycopg.connect(url) as connection:
        return {
            table: connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2").fetchall()
            for table, columns in SIGNED.items()
        }


def test_a_ledger_from_the_past_catches_up_and_signs_again_what_was_published_and_nothing_beside_it(
    environ: dict[str, str], past: dict[str, str], tmp_path: Path
) -> None:
    live, back = environ["DATABASE_URL"], past["DATABASE_URL"]
    published = signed(live)
    ledger = Ledger(past, tmp_path)
    processes = [ledger.start(name) for name in ("poster", "prover", "archiver")]
    try:
        until("the copy has every manifest", lambda: count(back, "manifests") >= count(live, "manifests"))
    finally:
        for process in processes:
            process.stop()
    assert tables(back) == tables(live)  # byte for byte what was lost
    assert signed(back) == published

    rebuilt = finance(past, "rebuild", "--from", f"s3://{past['S3_AUDIT_BUCKET']}", "--into", back)
    assert signed(back) == published, rebuilt  # it finds its own work done
    go_on(past)
    assert count(back, "ranges") > count(live, "ranges")


def go_on(environ: dict[str, str]) -> None:
    """The chain comes back, new events are posted, proved and archived, and the oracle finds nothing."""
    finance(environ, "audit", "restore", "--from", "topic")
    finance(environ, "publish", "--synthetic", "100", "--seed", "3")
    finance(environ, "run", "all", "--until-idle")
    verify(environ)


def verify(environ: dict[str, str]) -> None:
    for what in ("ledger", "archive", "audit"):
        assert finance(environ, "verify", what)["ok"]


def proofs(url: str) -> dict[str, bytes]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT proof_id, proof FROM proofs").fetchall())


def test_ranges_that_were_announced_and_lost_before_they_were_archived_come_back_to_the_byte(
    stack: Stack, environ: dict[str, str], tmp_path: Path
) -> None:
    """On a true restore of a cluster: what was posted and announced after the moment was in no archive."""
    with own_server(stack, "lost") as (own, server):
        live = {**environ, **server, "BACKUP_PARTIAL_SECONDS": "1"}
        url = live["DATABASE_URL"]
        ledger = Ledger(live, tmp_path, {"range_entries_max": 30, "range_idle_seconds": 1})
        finance(live, "migrate")
        with streaming(live):
            finance(live, "backup", "create")
            run(ledger, ("poster", "prover", "notary", "archiver"), lambda: offsets(url) == 100, publish=100)
            moment = now(url)
            run(ledger, ("poster", "prover", "notary"), lambda: announced(url) and offsets(url) == 250, publish=150)
            until_stored(live, lsn(url))
        held, published = count(url, "archive_objects"), proofs(url)
        assert len(published) >= held + 5
        arguments = ("--to", moment, "--reason", "disk lost")
        with restored(live, own.place.path / "restored", *arguments) as copy:
            assert count(copy, "ranges") < count(url, "ranges")
            back = {name: it for name, it in live.items() if not name.startswith("DATABASE_URL")}
            back["DATABASE_URL"] = copy
            back |= {name: role_url(copy, role_of(name)) for name in live if name.startswith("DATABASE_URL_")}
            again = Ledger(back, tmp_path, ledger.limits)
            run(again, ("poster", "prover", "archiver"), lambda: count(copy, "manifests") == len(published))
            assert proofs(copy) == published
            assert tables(copy) == tables(url)
            assert signed(copy)["ranges"] == signed(url)["ranges"]
            assert signed(copy)["checkpoints"] == signed(url)["checkpoints"]
            finance(back, "audit", "restore", "--from", "topic")
            verify(back)


def run(ledger: Ledger, names: tuple[str, ...], done: Callable[[], bool], publish: int = 0) -> None:
    processes = [ledger.start(name) for name in names]
    try:
        if publish:
            ledger.publish(publish)
        until("the restored ledger has caught up", done)
    finally:
        for process in processes:
            process.stop()


def role_of(name: str) -> str:
    return f"finance_{name.removeprefix('DATABASE_URL_').lower()}"


def number(url: str, query: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0] or 0)


def offsets(url: str) -> int:
    """How many settlement offsets are proved, over all shards."""
    query = "SELECT sum(next_offset - first_offset) FROM ranges JOIN proofs USING (shard, range_no)"
    return number(url, query)


def announced(url: str) -> bool:
    """Everything that was asked for is on the audit topic."""
    waiting = "SELECT count(*) FROM audit_outbox"
    behind = "SELECT (SELECT max(seq) FROM audit_events) - (SELECT published_seq FROM notary_cursor)"
    return number(url, waiting) == 0 and number(url, behind) == 0


def now(url: str) -> str:
    time.sleep(0.05)
    with psycopg.connect(url) as connection:
        row = connection.execute('SELECT to_char(clock_timestamp(), \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')').fetchone()
        assert row is not None
        return str(row[0])
