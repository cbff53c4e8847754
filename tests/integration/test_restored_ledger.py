"""A ledger put back to the past catches up with the topic, signs nothing beside what is published, and goes on.

The database from the past is a copy made then: that a restore gives one is the claim of test_backup.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ledger_core.postgres.epochs import begin_epoch
from ledger_core.postgres.session import session
from tests.support import databases
from tests.support.backups import finance, until
from tests.support.posting_runs import TABLES
from tests.support.route import Ledger


@pytest.fixture
def past(environ: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of the ledger on its database as it was after the first events; more was published since."""
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
    name = urlsplit(copy).path
    roles = {key: value.rpartition("/")[0] + name for key, value in environ.items() if key.startswith("DATABASE_URL")}
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


def test_a_ledger_from_the_past_catches_up_signs_nothing_of_its_own_and_goes_on_after_a_rebuild(
    environ: dict[str, str], past: dict[str, str], tmp_path: Path
) -> None:
    live, back = environ["DATABASE_URL"], past["DATABASE_URL"]
    before = {table: count(back, table) for table in ("ranges", "proofs", "archive_objects", "manifests")}
    ledger = Ledger(past, tmp_path)
    processes = [ledger.start(name) for name in ("poster", "prover", "archiver")]
    try:
        until(lambda: count(back, "entries") == count(live, "entries"), 90)
        for process in processes[1:]:
            process.wait_said("published.refused")
    finally:
        for process in processes:
            process.stop()
    assert tables(back) == tables(live)  # byte for byte what was lost
    assert {table: count(back, table) for table in before} == before

    finance(past, "rebuild", "--from", f"s3://{past['S3_AUDIT_BUCKET']}", "--into", back)
    finance(past, "audit", "restore", "--from", "topic")
    finance(past, "publish", "--synthetic", "100", "--seed", "3")
    finance(past, "run", "all", "--until-idle")
    for what in ("ledger", "archive", "audit"):
        assert finance(past, "verify", what)["ok"]
    assert finance(past, "status")["shards"][0]["posted"] > 0
    assert count(back, "ranges") > count(live, "ranges")
