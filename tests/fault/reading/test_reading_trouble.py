"""The read side in trouble: killed, lost, down, of another version or ledger. Posting never notices; afterwards it is
sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.projections import half_rebuilt
from tests.support.read_side import assert_sound, await_posted
from tests.support.reading_apart import Apart
from tests.support.route import ROOT, Ledger, Running
from tests.support.waits import until

pytestmark = pytest.mark.services

KILLS = 6


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(environ, tmp_path, {"projector_batch_records_max": 40})
    yield found
    found.end()


def unnoticed(poster: Running) -> None:
    """Posting met nothing of it."""
    assert poster.running
    assert [line for _, line in poster.lines if line.get("level") in ("warning", "error", "critical")] == []


def test_killed_again_and_again_under_load_it_misses_nothing(ledger: Ledger) -> None:
    poster = ledger.start("poster")
    with ledger.load(1500, 150):
        for _ in range(KILLS):
            projector = ledger.start("projector")
            projector.wait_said("service.started")
            before = ledger.ask("SELECT coalesce(sum(posted), 0) FROM shards")[0]
            more = f"SELECT coalesce(sum(posted), 0) > {min(before + 100, 1400)} FROM shards"
            until("something was posted", lambda more=more: bool(ledger.ask(more)[0]))  # type: ignore[misc]
            projector.kill()
    await_posted(ledger, 1500)
    ledger.start("projector")
    assert_sound(ledger)
    unnoticed(poster)


def test_a_rebuild_that_is_killed_goes_on_and_is_switched_to_once_it_is_whole(ledger: Ledger) -> None:
    ledger.start("poster")
    projector = ledger.start("projector")
    ledger.publish(1200)
    await_posted(ledger, 1200)
    assert_sound(ledger)
    projector.stop()
    with psycopg.connect(ledger.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("ALTER ROLE finance_projector CONNECTION LIMIT 0")  # it gets nowhere
        try:
            assert ledger.command("projection", "rebuild").returncode == 4
        finally:
            connection.execute("ALTER ROLE finance_projector CONNECTION LIMIT 5")
    numbers = "SELECT count(*), max(number) FROM reading.projections"
    assert ledger.ask(numbers) == (1, 1)
    half_rebuilt(ledger.environ, ROOT, batches=7)
    assert ledger.ask("SELECT count(*) FROM reading.projections WHERE building AND NOT asked") == (1,)
    (half,) = ledger.ask("SELECT sum(seq) FROM reading_2.shards")
    assert 0 < half < 1200
    assert_sound(ledger)  # the one that is asked
    assert ledger.command("projection", "rebuild").returncode == 0
    assert ledger.ask("SELECT place, number FROM reading.projections WHERE asked") == ("reading_2", 2)
    assert_sound(ledger)


def test_the_reading_database_is_down_and_then_lost_and_posting_goes_on(ledger: Ledger, apart: Apart) -> None:
    poster, projector = ledger.start("poster"), ledger.start("projector")
    ledger.publish(200)
    await_posted(ledger, 200)
    assert_sound(ledger)
    apart.shut()
    ledger.publish(300)
    await_posted(ledger, 500)
    projector.wait_said("service.unavailable", "service.refused")
    done = ledger.command("projection", "status")
    assert done.returncode in (3, 4), done.stdout
    apart.open()
    if not projector.running:
        projector = ledger.start("projector")
    assert_sound(ledger)

    apart.lose()
    ledger.publish(100)
    await_posted(ledger, 600)
    until("it ends, or waits", lambda: not projector.running or bool(projector.said("service.unavailable")))
    projector.kill()
    apart.make()
    ledger.start("projector").wait_said("service.started")
    assert_sound(ledger)
    unnoticed(poster)


def test_a_projection_of_another_version_is_neither_asked_nor_written_until_it_is_built_anew(ledger: Ledger) -> None:
    poster, projector = ledger.start("poster"), ledger.start("projector")
    ledger.publish(200)
    await_posted(ledger, 200)
    assert_sound(ledger)
    projector.stop()
    with psycopg.connect(ledger.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("UPDATE reading.projections SET version = 0")
    ledger.publish(100)
    await_posted(ledger, 300)
    projector = ledger.start("projector")
    assert projector.wait() == 3
    assert "finance projection rebuild" in projector.said("service.refused")[0]["remedy"]
    for asking in ("status", "verify"):
        done = ledger.command("projection", asking)
        assert done.returncode == 3
        assert "finance projection rebuild" in done.stderr
    assert ledger.command("projection", "rebuild").returncode == 0
    ledger.start("projector")
    assert_sound(ledger)
    unnoticed(poster)


def test_a_read_side_of_another_ledger_is_refused(ledger: Ledger, apart: Apart) -> None:
    ledger.start("poster")
    projector = ledger.start("projector")
    ledger.publish(60)
    await_posted(ledger, 60)
    assert_sound(ledger)
    projector.stop()
    with psycopg.connect(apart.url, autocommit=True) as connection:
        connection.execute("UPDATE reading.belongs SET domain = 'another.example'")
    projector = ledger.start("projector")
    assert projector.wait() == 3
    assert "this read side is of" in projector.said("service.refused")[0]["message"]
    assert apart.ask("SELECT sum(seq) FROM reading_1.shards") == (60,)


def test_no_lock_of_the_read_side_is_in_the_way_of_posting(ledger: Ledger) -> None:
    """Whatever its roles may lock is theirs alone: a session that holds all of it for ever delays nobody."""
    poster, projector = ledger.start("poster"), ledger.start("projector")
    ledger.publish(100)
    await_posted(ledger, 100)
    assert_sound(ledger)
    projector.stop()
    with psycopg.connect(ledger.environ["DATABASE_URL_PROJECTOR"]) as connection:
        connection.execute(
            "LOCK TABLE reading.projections, reading_1.shards, reading_1.entries IN ACCESS EXCLUSIVE MODE"
        )
        ledger.publish(300)
        await_posted(ledger, 400)
    ledger.start("projector")
    assert_sound(ledger)
    unnoticed(poster)
