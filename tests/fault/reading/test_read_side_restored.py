"""A ledger that was lost: put back behind its read side, or rebuilt from the archive. The read side comes by the same
path, and is sound."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ledger_core.postgres.recovery.epochs import begin_epoch
from ledger_core.postgres.schema.bounds import set_bounds
from ledger_core.postgres.session import session
from tests.support import databases
from tests.support.read_side import assert_sound, await_posted
from tests.support.reading_apart import Apart
from tests.support.route import Ledger
from tests.support.waits import until

pytestmark = pytest.mark.services

MADE_ANEW = {  # the commands of the runbook, sections 9 E and 9 D
    "rebuilt from the archive": ["rebuild --from {archive} --into {back} --fill-from-topic"],
    "replayed from the topic": [
        "replay --from topic --into {back}",
        "audit restore --from topic --into {back}",
        "rebuild --from {archive} --into {back}",
    ],
}
ROWS = "SELECT shard, seq, e::text FROM reading_1.entries e ORDER BY 1, 2"


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(environ, tmp_path, {"range_idle_seconds": 1, "audit_export_idle_seconds": 1})
    yield found
    found.end()


def rows(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(ROWS).fetchall()


def stop(ledger: Ledger) -> None:
    for process in ledger.started:
        if process.running:
            process.stop()


@contextmanager
def copied(ledger: Ledger) -> Iterator[Callable[[], None]]:
    """A copy of the ledger's database as it is now, and what puts it back."""
    live = ledger.environ["DATABASE_URL"]
    server, name = databases.database_at(live, "postgres"), urlsplit(live).path.lstrip("/")
    copy = databases.create_database(server, name)

    def put_back() -> None:
        databases.drop_database(server, live)
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{urlsplit(copy).path.lstrip("/")}"'.encode())
        with psycopg.connect(live, autocommit=True) as connection:
            set_bounds(connection)  # the grants of a database are not copied from its template

    try:
        yield put_back
    finally:
        databases.drop_database(server, copy)


def test_a_read_side_ahead_of_a_ledger_that_was_put_back_takes_nothing_twice(ledger: Ledger, apart: Apart) -> None:
    poster, projector = ledger.start("poster"), ledger.start("projector")
    ledger.publish(200)
    await_posted(ledger, 200)
    poster.stop()
    with copied(ledger) as put_back:
        poster = ledger.start("poster")
        ledger.publish(150)
        await_posted(ledger, 350)
        assert_sound(ledger)
        before = rows(apart.url)
        poster.stop()
        put_back()
    assert ledger.ask("SELECT sum(posted) FROM shards") == (200,)
    ledger.start("poster")  # which posts and relays again what was lost: the same entries
    await_posted(ledger, 350)
    ledger.publish(50)
    await_posted(ledger, 400)
    assert_sound(ledger)
    assert projector.running
    assert projector.said("projector.stands") == []
    assert len(before) == 350
    assert set(before) < set(rows(apart.url))


def test_a_read_side_that_is_put_back_with_its_ledger_is_sound_once_both_have_caught_up(ledger: Ledger) -> None:
    """Its verdicts and links too: what was announced of a range binds the ledger that was put back."""
    ledger.start_all()
    ledger.publish(200)
    ledger.wait_finished()
    stop(ledger)
    with copied(ledger) as put_back:
        ledger.start_all()
        ledger.publish(150)
        ledger.wait_finished()
        assert_sound(ledger)
        stop(ledger)
        put_back()
    with session(ledger.environ["DATABASE_URL"], application_name="test") as owner:
        begin_epoch(
            owner, kind="restore", epoch_id=str(uuid.uuid4()), actor_id="operator:test", reason="lost", trace_id=""
        )
    done = ledger.command("audit", "restore", "--from", "topic")
    assert done.returncode == 0, done.stdout + done.stderr
    ledger.start_all()
    ledger.publish(50)
    ledger.wait_finished()
    assert_sound(ledger)
    assert ledger.ask("SELECT count(*) FROM reading_1.entries") == (400,)


@pytest.mark.parametrize("way", MADE_ANEW)
def test_a_ledger_that_is_made_anew_gets_its_read_side_from_the_topics(ledger: Ledger, way: str) -> None:
    ledger.start_all()
    ledger.publish(300)
    ledger.wait_finished()
    assert_sound(ledger)
    before = rows(ledger.environ["DATABASE_URL"])
    stop(ledger)
    server, name = databases.database_at(ledger.environ["DATABASE_URL"], "postgres"), f"test_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    back = databases.database_at(server, name)
    try:
        archive = f"s3://{ledger.environ['S3_AUDIT_BUCKET']}"
        for line in MADE_ANEW[way]:
            done = ledger.command(*line.format(archive=archive, back=back).split())
            assert done.returncode == 0, done.stdout + done.stderr
        for variable in [it for it in ledger.environ if it.startswith("DATABASE_URL_")]:
            role = f"finance_{variable.removeprefix('DATABASE_URL_').lower()}"
            ledger.environ[variable] = databases.role_url(back, role)
        ledger.environ["DATABASE_URL"] = back
        ledger.start("projector")
        until("it was made", lambda: ledger.ask("SELECT to_regclass('reading.projections') IS NOT NULL") == (True,))
        assert_sound(ledger)
        assert rows(back) == before
        ledger.start("poster")
        ledger.publish(50)
        await_posted(ledger, 350)
        assert_sound(ledger)
    finally:
        ledger.end()
        databases.drop_database(server, back)
