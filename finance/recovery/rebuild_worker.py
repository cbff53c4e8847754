"""One shard of a rebuild in a process of its own: shards share nothing, so two cores put back two of them at once.

Guarantees: what a worker meets comes back as it was (a result, or the failure with its remedy); a worker whose parent
is gone ends at its next range, and what it committed is a prefix like any other.
Does not: decide anything: see `consumers.recovery.rebuild`.
"""

from __future__ import annotations

import gc
import multiprocessing as mp
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from consumers.recovery.rebuild import RebuildJob, RebuildResult, rebuild_shard
from finance.settings.deployment import Settings
from finance.wiring.archive_source import open_source
from ledger_core.archive.listing import ShardListing
from ledger_core.errors import Corrupt, FinanceError, Refused, Unavailable
from ledger_core.postgres.recovery.rebuild_store import RebuildStore
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.archived_range import ArchiveScene, sources_of

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Task:
    """Everything a worker needs. `listings`: the shard in each of the addresses."""

    settings: Settings
    dsn: str
    env: str
    signers: bytes  # the registry as JSON: keys do not travel between processes
    addresses: tuple[str, ...]
    listings: tuple[ShardListing, ...]
    job: RebuildJob


def run_tasks(tasks: Sequence[Task], advance: Advance, workers_max: int | None = None) -> list[RebuildResult]:
    """Run every task, several at once; the results in order of shard. Raises what a task raised, when all ended."""
    workers = min(len(tasks), workers_max or os.cpu_count() or 1)
    if workers <= 1:
        return [_run(task, advance) for task in tasks]
    return _Pool(tasks, advance).run(workers)


def _run(task: Task, advance: Advance) -> RebuildResult:
    readers = [open_source(address, task.settings) for address in task.addresses]
    sources = sources_of(readers, task.listings)
    store = RebuildStore(task.dsn)
    try:
        scene = ArchiveScene(task.env, SignerRegistry.from_json(task.signers), keep_lines=True)
        return rebuild_shard(task.job, scene, sources, store, advance)
    finally:
        store.close()


def _work(task: Task, told: Connection) -> None:
    """A worker's whole life: progress as numbers, then the result, or the failure as (kind, message, remedy)."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)  # rows are no cycles
    try:
        told.send(_run(task, told.send))
    except BrokenPipeError:
        return  # the parent is gone
    except Refused as error:
        told.send(("refused", error.message, error.remedy))
    except Unavailable as error:
        told.send(("unavailable", error.what, error.detail))
    except Corrupt as error:
        told.send(("corrupt", str(error), ""))


class _Pool:
    """Workers that are started one after another and listened to all at once."""

    def __init__(self, tasks: Sequence[Task], advance: Advance) -> None:
        self._waiting = list(tasks)
        self._advance = advance
        self._running: dict[Connection, Any] = {}
        self._results: list[RebuildResult] = []
        self._failures: list[FinanceError] = []

    def run(self, workers: int) -> list[RebuildResult]:
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < workers and not self._failures:
                    self._start(self._waiting.pop(0))
                if self._failures:
                    self._waiting.clear()
                for told in wait(list(self._running)):
                    self._listen(told)  # type: ignore[arg-type]
        finally:
            for process in self._running.values():
                process.terminate()
        if self._failures:
            raise self._failures[0]
        return sorted(self._results, key=lambda result: result.shard)

    def _start(self, task: Task) -> None:
        context = mp.get_context("spawn")  # a fork would take our connections along
        told, tell = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(task, tell), daemon=True)
        process.start()
        tell.close()
        self._running[told] = process

    def _listen(self, told: Connection) -> None:
        try:
            message = told.recv()
        except EOFError:
            process = self._running.pop(told)
            process.join()
            if process.exitcode:
                self._failures.append(
                    Unavailable("worker", f"it ended with code {process.exitcode}; run the rebuild again")
                )
            return
        if isinstance(message, int):
            self._advance(message)
        elif isinstance(message, RebuildResult):
            self._results.append(message)
        else:
            self._failures.append(_failure(*message))


def _failure(kind: str, first: str, second: str) -> FinanceError:
    failures: Mapping[str, Callable[[], FinanceError]] = {
        "refused": lambda: Refused(first, remedy=second),
        "unavailable": lambda: Unavailable(first, second),
        "corrupt": lambda: Corrupt(first),
    }
    return failures[kind]()
