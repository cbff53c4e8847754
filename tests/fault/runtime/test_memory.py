"""No process holds more than 400 MB, whatever the topics hold: each of them runs for real over the worst that we know.

Measured is the peak of resident memory, by the kernel's own count (VmHWM of a service, ru_maxrss of a command with its
workers): it is what makes a container's limit kill. A limit on address space (RLIMIT_AS, RLIMIT_DATA) would count what
librdkafka's threads reserve and never touch, and end a sound process.

A process or a command that reads topics, ledger or archive is entered in the tables below.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import psycopg
import pytest

from finance.wiring.services import BUILDERS
from finance.workshop.devstack import Stack
from tests.support import databases, personal
from tests.support.heavy_events import LOADS, publish_packed
from tests.support.route import ROOT, Ledger, Running
from tests.support.waits import until

pytestmark = pytest.mark.services

BOUND_BYTES: Final = 400_000_000
DOWNSTREAM: Final = ("prover", "archiver", "notary", "projector")
COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "verify ledger": ("verify", "ledger"),
    "verify archive": ("verify", "archive"),
    "projection verify": ("projection", "verify", "--all"),
    "projection rebuild": ("projection", "rebuild"),
    "replay beside": ("replay", "--from", "topic"),
    "replay into": ("replay", "--from", "topic", "--into", "EMPTY"),
    "rebuild": ("rebuild", "--from", "ARCHIVE", "--into", "EMPTY"),
    "rebuild, then fill": ("rebuild", "--from", "ARCHIVE", "--into", "EMPTY", "--fill-from-topic"),
}
# A process of its own between: what is started straight from here counts the memory that it shares with us at first.
MEASURED: Final = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
NO_LIMIT: Final = {"poster_dead_letters_max": 10**9, "poster_dead_letter_window_records": 10**9}


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(environ, tmp_path, NO_LIMIT | {"range_idle_seconds": 1, "audit_export_idle_seconds": 1})
    yield found
    found.end()


def test_every_process_is_in_the_table() -> None:
    assert {"poster", "keeper", *DOWNSTREAM} == set(BUILDERS)


# (records, characters of each): as large as the topic takes, what is kept at most, and many of an ordinary day.
PERSONAL: Final = ((250, 900_000), (2_000, 60_000), (20_000, 200))


def test_the_keeper_holds_no_more_than_its_bound_whatever_comes(ledger: Ledger) -> None:
    said = 0
    for records, characters in PERSONAL:
        for first in range(said, said + records, 100):
            numbers = range(first, min(first + 100, said + records))
            personal.say(ledger.environ, *(personal.record(n, "x" * characters) for n in numbers))
        said += records
    keeper = ledger.start("keeper")

    def done() -> bool:
        assert keeper.running, keeper.tail()
        return bool(ledger.ask("SELECT coalesce(sum(next_offset), 0) FROM personal_cursors")[0] == said)

    until("everything is read", done, progress=lambda: len(keeper.lines), told=keeper.tail)
    peak = keeper.peak_bytes()
    assert peak <= BOUND_BYTES, f"{peak / 1e6:.0f} MB"
    kept, refused = ledger.ask("SELECT (SELECT count(*) FROM personal_data), (SELECT count(*) FROM personal_refused)")
    assert kept + refused == said


def test_no_process_holds_more_than_its_bound_whatever_comes(
    ledger: Ledger, stack: Stack, database_template: str
) -> None:
    peaks: dict[str, int] = {}
    topic = ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    for load, records in LOADS.items():
        ledger.published += publish_packed(ledger.environ["KAFKA_BROKERS"], topic, records())
        peaks[f"poster: {load}"] = _posted(ledger)
    assert ledger.ask("SELECT posted, duplicates FROM shards WHERE shard = 0") == (400 + 400 + 440, 100)

    peaks["poster: all of it published again"] = _published_again(ledger)

    running = {name: ledger.start(name) for name in DOWNSTREAM}
    ledger.wait_finished()
    _wait_projected(ledger, running["projector"])
    peaks |= {name: process.peak_bytes() for name, process in running.items()}
    for process in running.values():
        process.stop()

    for name, arguments in COMMANDS.items():
        empty = databases.create_database(stack.env["DATABASE_URL"], database_template)
        places = {"EMPTY": empty, "ARCHIVE": f"s3://{ledger.environ['S3_AUDIT_BUCKET']}"}
        peaks[name] = _peak_of(ledger.environ, [places.get(argument, argument) for argument in arguments])
        databases.drop_database(stack.env["DATABASE_URL"], empty)

    above = {name: size for name, size in peaks.items() if size > BOUND_BYTES}
    assert not above, {name: f"{size / 1e6:.0f} MB" for name, size in peaks.items()}
    print({name: f"{size / 1e6:.0f} MB" for name, size in peaks.items()})


def _posted(ledger: Ledger) -> int:
    """Post and relay all that waits with a poster of its own; its peak."""
    poster = ledger.start("poster")
    _wait_relayed(ledger, poster)
    peak = poster.peak_bytes()
    assert poster.stop() == 0, poster.tail()
    return peak


def _published_again(ledger: Ledger) -> int:
    """As after a rebuild without topics: everything lies before the shard's relay."""
    with psycopg.connect(ledger.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # a shard only grows
        connection.execute("UPDATE shards SET relayed_offset = first_offset")
    return _posted(ledger)


def _wait_relayed(ledger: Ledger, poster: Running) -> None:
    def done() -> bool:
        assert poster.running, poster.tail()
        query = "SELECT coalesce(sum(next_offset), 0), coalesce(sum(relayed_offset), 0) FROM shards"
        return bool(ledger.ask(query) == (ledger.published, ledger.published))

    until("everything is posted and relayed", done, progress=lambda: len(poster.lines), told=poster.tail)


def _wait_projected(ledger: Ledger, projector: Running) -> None:
    """It is no part of the route, so the route can be finished before it is."""
    read = "SELECT coalesce(sum(seq), 0) FROM reading_1.shards"

    def done() -> bool:
        assert projector.running, projector.tail()
        return bool(ledger.ask(read) == ledger.ask("SELECT sum(seq) FROM shards"))

    until("the projector has read everything", done, progress=lambda: ledger.ask(read), told=projector.tail)


def _peak_of(environ: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Run a command to its good end; the largest peak of it and its workers."""
    command = [sys.executable, "-c", MEASURED, sys.executable, "-m", "finance", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=dict(environ), capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return int(done.stderr.split()[-1]) * 1024
