"""Shards in processes of their own: started one after another, listened to all at once. Rebuild and replay use it.

The order of failures, one for both: the failure that arrives first is raised, as it was (kind, message and remedy); of
two that are there at once, that of the task named first. From then on no task starts, and a worker that still runs ends
at its next message, or is killed after GRACE_SECONDS. What each of them committed is a prefix like any other, so the
same command run again goes on from there.

Guarantees: a worker ends with its parent, however that ends: a parent that is gone reads no more, and the worker's next
message fails. A worker that ends without a result (killed, out of memory, a bug) is Unavailable, never a success. An
interrupt is the parent's: workers do not hear it.
Does not: run a task again, or know what a task is.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Final, Generic, Literal, TypeVar

from finance.runtime.process import spare_the_collector
from finance.telemetry.log_lines import log_to_stderr
from ledger_core.errors import Corrupt, FinanceError, Refused, Unavailable

GRACE_SECONDS: Final = 10.0
KILL_SECONDS: Final = 10.0

T = TypeVar("T")  # a task: all that its worker needs
P = TypeVar("P")  # a task's progress
R = TypeVar("R")  # a task's result
Say = Callable[[P], None]
"""How a task reports its progress. Raises BrokenPipeError when its parent is gone; a task lets that through."""
Work = Callable[[T, Say[P]], R]
"""What a worker does with its task. A function of a module: a new interpreter imports it by name."""


@dataclass(frozen=True, slots=True)
class Progress(Generic[P]):
    """One message of a running task."""

    what: P  # how far it is, as the task counts


@dataclass(frozen=True, slots=True)
class TaskDone(Generic[R]):
    """The last message of a task that succeeded."""

    result: R  # what the task returned


@dataclass(frozen=True, slots=True)
class Failure:
    """The last message of a task that failed: an error as plain texts, which cross a process boundary."""

    kind: Literal["refused", "unavailable", "corrupt"]  # which of our errors it was
    first: str  # the message; of "unavailable" the word for what does not answer
    second: str = ""  # the remedy; of "unavailable" the detail

    @classmethod
    def of(cls, error: FinanceError) -> Failure:
        """Other kinds than these three no task lets through; one that does is a contradiction, named by its text."""
        if isinstance(error, Refused):
            return cls("refused", error.message, error.remedy)
        if isinstance(error, Unavailable):
            return cls("unavailable", error.what, error.detail)
        return cls("corrupt", str(error))

    def error(self) -> FinanceError:
        if self.kind == "refused":
            return Refused(self.first, remedy=self.second)
        if self.kind == "unavailable":
            return Unavailable(self.first, self.second)
        return Corrupt(self.first)


@dataclass(slots=True)
class _Running:
    """A worker that was started: its task's place in the order, and its process."""

    place: int
    process: BaseProcess


def run_pool(
    name: str, tasks: Sequence[T], work: Work[T, P, R], on_progress: Callable[[P], None], *, workers_max: int
) -> list[R]:
    """Run every task, at most `workers_max` at once; the results stand in the order of the tasks.

    `name` is the command's, for processes and messages. Raises the first failure (Refused, Unavailable, Corrupt).
    """
    waiting = list(enumerate(tasks))
    running: dict[Connection, _Running] = {}
    results: dict[int, R] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers_max:
                started, worker = _start(name, *waiting.pop(0), work)
                running[started] = worker
            ready = wait(list(running))
            for pipe in [pipe for pipe in running if pipe in ready]:  # in the order of the tasks
                message: Progress[P] | TaskDone[R] | Failure = _receive(name, pipe, running[pipe])
                if isinstance(message, Failure):
                    raise message.error()
                if isinstance(message, Progress):
                    on_progress(message.what)
                else:
                    worker = running.pop(pipe)
                    results[worker.place] = message.result
                    _end({pipe: worker})
    finally:
        _end(running)
    return [results[place] for place in range(len(tasks))]


def _start(name: str, place: int, task: T, work: Work[T, P, R]) -> tuple[Connection, _Running]:
    context = multiprocessing.get_context("spawn")  # a fork would take our connections along
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_life, args=(task, work, there), name=f"{name}-{place}", daemon=True)
    process.start()
    there.close()  # or the end of the worker would never be the end of the pipe
    return here, _Running(place, process)


def _life(task: T, work: Work[T, P, R], parent: Connection) -> None:
    """A worker's whole life: progress, then the result or the failure."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and its end is ours
    spare_the_collector()
    log_to_stderr()  # the parent's stdout is this one, and it is for the command's result

    def say(what: P) -> None:
        parent.send(Progress(what))

    try:
        try:
            parent.send(TaskDone(work(task, say)))
        except FinanceError as error:
            parent.send(Failure.of(error))
    except (BrokenPipeError, ConnectionResetError):
        return  # the parent is gone


def _receive(name: str, pipe: Connection, worker: _Running) -> Progress[P] | TaskDone[R] | Failure:
    try:
        message: Progress[P] | TaskDone[R] | Failure = pipe.recv()
    except (EOFError, OSError):  # OSError: it ended within a message
        worker.process.join(GRACE_SECONDS)
        code = worker.process.exitcode
        return Failure("unavailable", name, f"a worker ended with code {code}: run it again, it goes on from there")
    return message


def _end(workers: dict[Connection, _Running]) -> None:
    """Wait until they are gone: one that still works ends at its next message, whose pipe is closed."""
    for pipe in workers:
        pipe.close()
    latest = monotonic() + GRACE_SECONDS
    for worker in workers.values():
        worker.process.join(max(0.0, latest - monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join(KILL_SECONDS)
