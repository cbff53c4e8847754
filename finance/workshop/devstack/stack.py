"""A named set of real servers: started together, restarted on the same ports and data, stopped cleanly.

Guarantees: two commands never change one stack at once; what a killed run left is found and ended before servers
start; a failed `up` leaves none of its servers running; other stacks and strangers' processes are never touched.
"""

from __future__ import annotations

import concurrent.futures
import json
import random
import shutil
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from finance.settings import clock
from finance.workshop.devstack import authority, environment, ports, processes
from finance.workshop.devstack.kafka import Kafka
from finance.workshop.devstack.kms import Kms
from finance.workshop.devstack.postgres import Postgres
from finance.workshop.devstack.s3 import S3
from finance.workshop.devstack.server import Say, Server, Site
from finance.workshop.devstack.state import StackPlace, State, write_private
from ledger_core.errors import Refused, Unavailable

_SERVERS: Final[dict[str, Server]] = {"postgres": Postgres(), "kafka": Kafka(), "s3": S3(), "kms": Kms()}
SERVICES: Final = tuple(_SERVERS)
# Work comes in by Kafka and ends in Postgres and the archive: they are stopped in the order of the flow.
_STOP_ORDER: Final = ("kafka", "postgres", "s3", "kms")


def quiet(_message: str) -> None:
    """For callers who want no progress."""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One server as it is now. `healthy` means that it answered a real question of its protocol."""

    service: str
    pid: int | None
    port: int
    uptime_seconds: float | None
    memory_bytes: int | None
    healthy: bool


class Stack:
    """One stack on disk. `Stack.up` is the usual way in; as a context manager it goes down at the end."""

    def __init__(self, name: str, root: Path = Path(".finance"), say: Say = quiet) -> None:
        self.place = StackPlace(root, name)
        self.say = say
        self._state = self.place.load()
        self._guard = threading.Lock()  # servers start in threads, and all of them write the state
        self._giving_up = threading.Event()

    @classmethod
    def up(
        cls,
        name: str,
        root: Path = Path(".finance"),
        services: Iterable[str] = SERVICES,
        say: Say = quiet,
        *,
        secure: bool = False,
    ) -> Self:
        """Start what does not run yet and wait until all of it is ready. Safe to repeat.

        `secure`: mutual TLS on every port, chosen at a stack's first start and kept. Raises Unavailable when a server
        does not start (with the end of its log), Refused on an unknown service, or a plain stack that is to be secure.
        """
        wanted = _known(services)
        stack = cls(name, root, say)
        began = time.monotonic()
        with stack.place.locked(say):
            stack._state = stack.place.load()
            authority.secure(name, stack._state, stack.place.tls, wanted=secure, now=clock.utc_now())
            stack._state.services = [name for name in SERVICES if name in {*stack._state.services, *wanted}]
            missing = [name for name in wanted if not stack._is_up(name)]
            stack._clean(missing)
            stack._choose_ports(missing)
            stack._start_all(missing)
            if missing:
                stack._state.ready_seconds = round(time.monotonic() - began, 2)
            stack._write()
        return stack

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def env(self) -> dict[str, str]:
        """All settings for this stack, as environment variables."""
        return environment.variables(self.place, self._state)

    @property
    def ready_seconds(self) -> float | None:
        """How long the last `up` that started something took."""
        return self._state.ready_seconds

    def down(self) -> None:
        """Stop every server cleanly. Data and ports stay."""
        with self.place.locked(self.say):
            self._down()

    def remove(self, *, keep_logs: bool = False) -> None:
        """Stop every server and wipe the stack's directory (all but the logs, when they are to be kept)."""
        with self.place.locked(self.say):
            self._down()
            if self.place.path.exists():
                for entry in self.place.path.iterdir():
                    if not (keep_logs and entry == self.place.logs):
                        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                if not keep_logs:
                    self.place.path.rmdir()
            self._state = State()
            self.place.lock_file.unlink(missing_ok=True)

    def stop(self, service: str) -> None:
        """Stop one server cleanly; `start` brings it back on the same port with the same data."""
        with self.place.locked(self.say):
            self._state = self.place.load()
            self._stop_all(_known([service]))

    def start(self, service: str) -> None:
        """Start one stopped or killed server of this stack again, on its own port; wait until it is ready. Raises
        Refused when the stack has no such server.
        """
        (name,) = _known([service])
        with self.place.locked(self.say):
            self._state = self.place.load()
            if name not in self._state.services:
                raise Refused(f"stack {self.name!r} has no {name}", remedy=f"finance dev up --services {name}")
            if not self._is_up(name):
                self._clean([name])
                self._start_all([name])
                self._write()

    def kill(self, service: str) -> None:
        """SIGKILL one server and everything it forked, as a crash would end it."""
        (name,) = _known([service])
        with self.place.locked(self.say):
            self._state = self.place.load()
            process = processes.find(self._state.processes.pop(name, None))
            if process is not None:
                processes.kill([process])
            self.place.save(self._state)

    def status(self) -> list[ServiceStatus]:
        """What runs and answers, in the order of SERVICES; only the services this stack has."""
        self._state = self.place.load()
        with concurrent.futures.ThreadPoolExecutor(len(SERVICES)) as pool:
            return list(pool.map(self._status_of, self._state.services))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # What follows expects the lock to be held.

    def _down(self) -> None:
        self._state = self.place.load()
        self._stop_all(_STOP_ORDER)
        processes.kill(processes.strays(self.place.path, SERVICES))
        self.place.env_file.unlink(missing_ok=True)  # settings must not lead to servers that are not there

    def _status_of(self, service: str) -> ServiceStatus:
        process = processes.find(self._state.processes.get(service))
        port = self._state.ports[service]
        if process is None:
            return ServiceStatus(service, None, port, None, None, healthy=False)
        family = [process, *process.children(recursive=True)]
        memory = sum(member.memory_info().rss for member in family)
        uptime = max(0.0, time.time() - process.create_time())
        return ServiceStatus(service, process.pid, port, uptime, memory, _SERVERS[service].is_ready(self._state))

    def _is_up(self, service: str) -> bool:
        return service in self._state.started and processes.find(self._state.processes.get(service)) is not None

    def _clean(self, services: Sequence[str]) -> None:
        """End what an earlier, killed run left of these services."""
        left = processes.strays(self.place.path, services) if services else []
        if left:
            self.say(f"ending {len(left)} process(es) left by an earlier run")
            processes.kill(left)
        for service in services:
            self._state.processes.pop(service, None)
            self._state.started = [name for name in self._state.started if name != service]
            _SERVERS[service].sweep(self._site())

    def _site(self) -> Site:
        return Site(self.place, self._state, self.say)

    def _choose_ports(self, services: Sequence[str]) -> None:
        choose = random.SystemRandom()
        for port_name in (port_name for service in services for port_name in _SERVERS[service].port_names):
            port = self._state.ports.get(port_name)
            if port is None or not ports.is_free(port):
                self._state.ports[port_name] = ports.pick(set(self._state.ports.values()), choose)

    def _start_all(self, services: Sequence[str]) -> None:
        if not services:
            return
        self._giving_up.clear()
        pool = concurrent.futures.ThreadPoolExecutor(len(services))
        try:
            for future in concurrent.futures.as_completed([pool.submit(self._start_one, name) for name in services]):
                future.result()
        except BaseException:  # also on Ctrl-C: nothing half-started stays behind
            self._giving_up.set()
            pool.shutdown()
            self._stop_all([service for service in _STOP_ORDER if service in services])
            raise
        pool.shutdown()

    def _start_one(self, service: str) -> None:
        server, began = _SERVERS[service], time.monotonic()
        site = self._site()
        self._run(server, server.prepare(site))
        if server.provision(site):
            self._stop_one(service)
            self._run(server, server.prepare(site))
        with self._guard:
            self._state.started = [*self._state.started, service]
            self.place.save(self._state)
        self.say(f"{service} is ready on 127.0.0.1:{self._state.ports[service]} ({time.monotonic() - began:.1f} s)")

    def _run(self, server: Server, launch: processes.Launch) -> None:
        log_file = self.place.logs / f"{server.name}.log"
        with self._guard:
            self._check_going_on(server.name)
            before = processes.log_size(log_file)
            record = processes.spawn(launch, log_file, processes.marker_of(self.place.path, server.name))
            self._state.processes[server.name] = record
            self.place.save(self._state)
        processes.wait_until_ready(
            server.name,
            record,
            lambda: self._check_going_on(server.name) and server.is_ready(self._state),
            server.ready_seconds_max,
            lambda: f"{processes.log_tail(log_file, before)}\n(all of it: {log_file})",
        )

    def _check_going_on(self, service: str) -> bool:
        if self._giving_up.is_set():
            raise Unavailable(service, "its start was given up, because another server failed or the user said so")
        return True

    def _stop_all(self, services: Sequence[str]) -> None:
        for service in services:
            self._stop_one(service)

    def _stop_one(self, service: str) -> None:
        server = _SERVERS[service]
        with self._guard:
            process = processes.find(self._state.processes.pop(service, None))
        if process is not None:
            began = time.monotonic()
            processes.stop(process, server.stop_signal, server.stop_seconds_max)
            server.sweep(self._site())
            self.say(f"{service} stopped ({time.monotonic() - began:.1f} s)")
            with self._guard:
                self.place.save(self._state)

    def _write(self) -> None:
        self.place.save(self._state)
        write_private(self.place.env_file, json.dumps(self.env, indent=2).encode() + b"\n")


def names(root: Path = Path(".finance")) -> list[str]:
    """Every stack below `root`, running or not."""
    return sorted(path.parent.name for path in root.glob("*/state.json"))


def _known(services: Iterable[str]) -> list[str]:
    wanted = list(dict.fromkeys(services))
    unknown = [service for service in wanted if service not in _SERVERS]
    if unknown or not wanted:
        raise Refused(
            f"no such service: {', '.join(unknown) or '(none named)'}", remedy=f"choose from {', '.join(SERVICES)}"
        )
    return wanted
