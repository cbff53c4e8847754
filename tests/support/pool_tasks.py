"""What workers do in the tests of the pool. Workers import it by name: a new interpreter knows no test."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from finance.recovery.worker_pool import run_pool
from ledger_core.errors import Corrupt, FinanceError, Refused, Unavailable


@dataclass(frozen=True, slots=True)
class Task:
    act: str
    path: Path  # what it writes, or waits for
    result: int = 1


def do(task: Task, say: Callable[[int], None]) -> int:
    if task.act in FAILURES:
        raise FAILURES[task.act]
    ACTS[task.act](task, say)
    return task.result


def parent_of(pid_path: str) -> None:
    """A whole command that runs one task which does not end."""
    run_pool("replay", [Task("for-ever", Path(pid_path))], do, lambda _number: None, workers_max=1)


FAILURES: dict[str, FinanceError] = {
    "refused": Refused("no", remedy="ask again"),
    "unavailable": Unavailable("postgres", "it sleeps"),
    "corrupt": Corrupt("two heads"),
    "other": FinanceError("a kind that no task lets through"),
}


def _for_ever(task: Task, say: Callable[[int], None]) -> None:
    task.path.write_text(str(os.getpid()))
    while True:
        say(0)
        time.sleep(0.02)


def _log(_task: Task, _say: Callable[[int], None]) -> None:
    structlog.get_logger().warning("worker.noticed")


def _touch(task: Task, _say: Callable[[int], None]) -> None:
    task.path.touch()


def _needs(task: Task, _say: Callable[[int], None]) -> None:
    task.path.unlink()


def _wait_for(task: Task, _say: Callable[[int], None]) -> None:
    _wait(task.path)


def _count(task: Task, say: Callable[[int], None]) -> None:
    for number in range(task.result):
        say(number)


def _refuse_after(task: Task, _say: Callable[[int], None]) -> None:
    _wait(task.path)
    raise Refused("no", remedy="ask again")


def _say_and_refuse(task: Task, say: Callable[[int], None]) -> None:
    say(os.getpid())
    _wait(task.path)
    raise Refused(f"task {task.result}", remedy="ask again")


def _killed_after(task: Task, _say: Callable[[int], None]) -> None:
    _wait(task.path)
    os.kill(os.getpid(), signal.SIGKILL)


def _bug(_task: Task, _say: Callable[[int], None]) -> None:
    raise ZeroDivisionError


def _wait(path: Path) -> None:
    while not path.exists():
        time.sleep(0.02)


ACTS: dict[str, Callable[[Task, Callable[[int], None]], None]] = {
    "touch": _touch,
    "needs": _needs,
    "wait-for": _wait_for,
    "count": _count,
    "for-ever": _for_ever,
    "refuse-after": _refuse_after,
    "say-and-refuse": _say_and_refuse,
    "killed-after": _killed_after,
    "bug": _bug,
    "log": _log,
}
