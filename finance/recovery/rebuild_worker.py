"""One shard of a rebuild in a process of its own: shards share nothing, so two cores put back two of them at once.

Guarantees: what a worker meets comes back as it was (a result, or the failure with its remedy), in the one order of
`finance.recovery.worker_pool`; what it committed is a prefix like any other.
Does not: decide anything: see `consumers.recovery.rebuild`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consumers.recovery.rebuild import RebuildJob, RebuildResult, rebuild_shard
from finance.recovery.worker_pool import run_pool
from finance.settings.deployment import Settings
from finance.wiring.archive_source import open_source
from finance.wiring.mac_keys import asking
from finance.wiring.stores import open_rebuild_store
from ledger_core.archive.listing import ShardListing
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.archived_range import ArchiveScene, sources_of

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Task:
    """Everything a worker needs. `listings`: the shard in each of the addresses."""

    settings: Settings
    dsn: str  # of the database that is filled
    env: str  # environment, such as prod
    signers: bytes  # the registry as JSON: keys do not travel between processes, and each asks about MACs itself
    addresses: tuple[str, ...]  # of the archives, the first one read
    listings: tuple[ShardListing, ...]
    job: RebuildJob  # one shard


def run_tasks(tasks: Sequence[Task], advance: Advance, workers_max: int | None = None) -> list[RebuildResult]:
    """Run every task, several at once; the results in the order of the tasks. Raises the first failure, at once."""
    workers = min(len(tasks), workers_max or os.cpu_count() or 1)
    if workers <= 1:
        return [_run(task, advance) for task in tasks]  # in this process: a second one gains nothing
    return run_pool("rebuild", tasks, _run, advance, workers_max=workers)


def _run(task: Task, advance: Advance) -> RebuildResult:
    readers = [open_source(address, task.settings) for address in task.addresses]
    sources = sources_of(readers, task.listings)
    registry = asking(task.settings, SignerRegistry.from_json(task.signers))
    with open_rebuild_store(task.dsn) as store:
        scene = ArchiveScene(task.env, registry, keep_lines=True)
        return rebuild_shard(task.job, scene, sources, store, advance)
