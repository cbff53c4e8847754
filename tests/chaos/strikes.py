"""What befalls the ledger, one misfortune at a time, at random moments.

Guarantees: the same seed gives the same strikes in the same order. A process that ends by itself is started again when
it ended for a service that is away, and is a failure of the run otherwise: no strike makes a refusal right, a wrong
clock neither, be it the process's or a server's.
Does not: step the clocks of s3 and kms, of which nothing here takes a time.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import psycopg
import pytest

from finance.workshop.devstack import Stack
from ledger_core.postgres.recovery.epochs import begin_epoch
from ledger_core.postgres.schema.bounds import set_bounds
from ledger_core.postgres.session import session
from tests.chaos.buyers import Buyers
from tests.chaos.clocks import SteppedClock, compiled
from tests.chaos.load import PARTITIONS
from tests.support import databases
from tests.support.backups import finance
from tests.support.route import PROCESSES, Ledger, Running
from tests.support.waits import until

EXIT_REFUSED: Final = 3
EXIT_UNAVAILABLE: Final = 4
SERVERS: Final = ("postgres", "kafka", "s3", "kms")
CLOCKED: Final = ("postgres", "kafka")  # what they say of the time goes into records
DAY: Final = 86_400
STEPS: Final = (20, -20, 200, -200, 3_600, -3_600, 40 * DAY, -40 * DAY, 3_000 * DAY, -3_000 * DAY)  # seconds
# What a server dates stays dated so, so these are smaller.
SERVER_STEPS: Final = (20, -20, 200, -200, 3_600, -3_600)
ATTEMPTS_MAX: Final = 300  # to stop a poster inside a statement that waits for its rows
WAITS_FOR_ROWS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'finance-poster' AND state = 'active'
   AND wait_event = 'ClientRead' AND query LIKE 'COPY%'"""
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'finance-%' AND random() < 0.5"""


class Strikes:
    """The processes of one ledger, and what is done to them. `say` takes a line for whoever watches."""

    def __init__(self, ledger: Ledger, stack: Stack, buyers: Buyers, seed: int, say: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._stepping = compiled(ledger.folder)
        self._clocks: dict[int, SteppedClock] = {}  # by pid
        self._stack = stack
        self._buyers = buyers
        self._chance = random.Random(f"{seed}:strikes")
        self._say = say
        self._running: list[Running] = []
        self._copy: str | None = None  # of the database, some time ago
        ledger.folder.chmod(0o711)  # Postgres runs as another user
        self._server_clocks = {name: SteppedClock(self._stepping, ledger.folder / f"clock-{name}") for name in CLOCKED}
        self.counts: dict[str, int] = {}

    def start(self) -> None:
        """Two posters, two provers, and one of each other process."""
        self._running = [self._started(name) for name in (*PROCESSES, "poster", "prover")]

    def _started(self, name: str) -> Running:
        clock = SteppedClock(self._stepping, self._ledger.folder / f"clock-{len(self._clocks)}")
        process = self._ledger.start(name, environ=clock.environ)
        self._clocks[process.pid] = clock
        return process

    def stop(self) -> None:
        for process in self._running:
            if process.running:
                process.kill()
        self._running = []

    def strike(self) -> None:
        """The next one; afterwards everything that should run does."""
        acts: dict[Callable[[], None], int] = {
            self._kill: 6, self._freeze: 3, self._freeze_in_copy: 3, self._step_clock: 4, self._cut: 3,
            self._step_server: 3,
            self._crash: 3, self._copied: 1, self._put_back: 2, self._erase: 3, self._activate: 1,
        }  # fmt: skip
        act = self._chance.choices(list(acts), list(acts.values()))[0]
        name = act.__name__.lstrip("_")
        self.counts[name] = self.counts.get(name, 0) + 1
        self._say(name)
        act()
        self.look_after()

    def look_after(self) -> None:
        """Start again what ended for want of a service. Raises AssertionError for any other end, and for a halt."""
        halted, reason = self._ledger.ask("SELECT count(*) > 0, max(reason) FROM halts")
        assert not halted, f"posting is halted: {reason}"
        for process in [it for it in self._running if not it.running]:
            code = process.wait()
            assert code == EXIT_UNAVAILABLE, f"{process.name} ended with {code}:\n{process.tail()}"
            self._replace(process)

    def _replace(self, process: Running) -> None:
        self._running.remove(process)
        self._running.append(self._started(process.name))

    def _kill(self) -> None:
        process = self._chance.choice(self._running)
        process.kill()
        self._replace(process)

    def _freeze(self) -> None:
        process = self._chance.choice(self._running)
        process.freeze()
        time.sleep(self._chance.uniform(0.5, 15))
        process.thaw()

    def _freeze_in_copy(self) -> None:
        """A poster, while its server waits for rows with every lock of the batch held; whoever comes after it must get
        on meanwhile."""
        posters = [process for process in self._running if process.name == "poster"]
        for _ in range(ATTEMPTS_MAX):
            poster = self._chance.choice(posters)
            poster.freeze()
            time.sleep(0.02)  # the server takes what is on its way
            if self._ledger.ask(WAITS_FOR_ROWS)[0]:
                self.counts["frozen while its server waits"] = self.counts.get("frozen while its server waits", 0) + 1
                time.sleep(self._chance.uniform(2, 15))
                poster.thaw()
                return
            poster.thaw()
            time.sleep(self._chance.uniform(0.005, 0.03))
        self._freeze()

    def _step_clock(self) -> None:
        process = self._chance.choice(self._running)
        ahead = self._chance.choice(STEPS)
        self._say(f"clock of a {process.name} {ahead:+} s")
        self._clocks[process.pid].step(ahead)
        time.sleep(self._chance.uniform(0.5, 12))
        self._clocks[process.pid].step(0)

    def _step_server(self) -> None:
        server, ahead = self._chance.choice(CLOCKED), self._chance.choice(SERVER_STEPS)
        self._say(f"clock of {server} {ahead:+} s")
        self._server_clocks[server].step(ahead)
        time.sleep(self._chance.uniform(0.5, 12))
        self._server_clocks[server].step(0)
        if server == "kafka":
            self.accept_times()

    def accept_times(self) -> None:
        """As an operator does once a broker's clock is right again (RUNBOOK, section 13 D)."""
        for shard in PARTITIONS:
            self._command("accepted times", "shards", "accept-times", "--shard", str(shard), "--reason", "chaos")

    def _erase(self) -> None:
        """As an operator does whom a buyer asked (RUNBOOK, section 16)."""
        event_id = self._buyers.to_erase(self._chance)
        if event_id is not None:
            self._command("approved", "pii", "approve", event_id, "--reason", "chaos", operator="another")
            self._command("erased", "pii", "erase", event_id, "--reason", "chaos", "--wait", "5")

    def _activate(self) -> None:
        """As an operator does who installed new posting rules (RUNBOOK, section 17); in one shard, the other later."""
        shard = str(self._chance.choice(PARTITIONS))
        self._command("rules put in force", "rules", "activate", "2", "--shard", shard, "--reason", "chaos")

    def _command(self, count_as: str, *arguments: str, operator: str = "chaos") -> None:
        """An operator's command, which may find a service away, or nothing done yet, and fails in no other way."""
        told = self._ledger.command(*arguments, "--json", FINANCE_OPERATOR=operator)
        assert told.returncode in (0, 1, EXIT_REFUSED, EXIT_UNAVAILABLE), told.stderr
        if told.returncode == 0:
            self.counts[count_as] = self.counts.get(count_as, 0) + 1

    def _cut(self) -> None:
        """Sessions of half of the processes."""
        with psycopg.connect(self._ledger.environ["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(CUT)

    def _crash(self) -> None:
        server = self._chance.choice(SERVERS)
        self._say(f"crash of {server}")
        self._stack.kill(server)
        time.sleep(self._chance.uniform(0.5, 8))
        self._start_server(server)

    def _start_server(self, server: str) -> None:
        """By a clock of its own, which a server takes from our environment."""
        clock = self._server_clocks.get(server)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (clock.environ if clock else {}).items():
                patch.setenv(name, value)
            self._stack.start(server)

    def clock_servers(self) -> None:
        """Start those whose clocks step again, by clocks of their own."""
        for server in CLOCKED:
            self._stack.stop(server)
            self._start_server(server)

    def unclock_servers(self) -> None:
        """Leave them as they were: what they were given lies in a folder that goes."""
        for server in CLOCKED:
            self._stack.stop(server)
            self._stack.start(server)

    def _copied(self) -> None:
        """A copy of the database as a backup would give it back."""
        live = self._ledger.environ["DATABASE_URL"]
        self.stop()
        if self._copy is not None:
            databases.drop_database(live, self._copy)
        until("nobody is connected", lambda: self._sessions() == 0)
        self._copy = databases.create_database(live, urlsplit(live).path.lstrip("/"))
        self.start()

    def _put_back(self) -> None:
        """The database is lost, and comes back as it was, with a service away for a while (RUNBOOK, section 9)."""
        if self._copy is None:
            return self._copied()
        live, copy = self._ledger.environ["DATABASE_URL"], self._copy
        self.stop()
        away = self._chance.choice((None, "s3", "kms"))
        if away is not None:
            self._stack.kill(away)
        server = databases.database_at(live, "postgres")
        databases.drop_database(server, live)
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{_name(live)}" TEMPLATE "{_name(copy)}"'.encode())
            # Postgres copies a sequence as its page stands. Until the next checkpoint `nextval` writes no WAL for it,
            # and a crash gives numbers a second time. A restored base backup has no such window.
            connection.execute("CHECKPOINT")
        with session(live, application_name="chaos") as owner:
            set_bounds(owner)  # the grants of a database are not copied from its template
            begin_epoch(
                owner,
                kind="restore",
                epoch_id=str(uuid.uuid4()),
                actor_id="operator:chaos",
                reason=f"strike {sum(self.counts.values())}",
                trace_id="",
            )
        finance(self._ledger.environ, "audit", "restore", "--from", "topic")
        self.start()
        if away is not None:
            time.sleep(self._chance.uniform(1, 8))
            self._start_server(away)
        return None

    def _sessions(self) -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        server = databases.database_at(self._ledger.environ["DATABASE_URL"], "postgres")
        with psycopg.connect(server, autocommit=True) as connection:
            row = connection.execute(query, [_name(self._ledger.environ["DATABASE_URL"])]).fetchone()
        return int(row[0]) if row else 0


def _name(url: str) -> str:
    return urlsplit(url).path.lstrip("/")
