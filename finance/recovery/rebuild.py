"""`finance rebuild`, put together: sources, guards, the epoch, workers, and what a rebuilt ledger cannot have.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. LIST, survey and compare            nothing is written; what does not fit is Refused
  2. MIGRATE an empty database, BIND it  a commit point: from now on it belongs to this environment
  3. BEGIN the epoch                     a commit point, once a rebuild
  4. WRITE ranges, a worker a shard      a commit point a range (`consumers.recovery.rebuild`)
  5. FILL from the topic                 a commit point a page (`consumers.recovery.topic_fill`)

Guarantees: nothing is written before the archive was listed and surveyed, the database found empty or a true prefix,
and the topics (where there are brokers) asked what they hold; then an empty database is migrated, and the epoch begins.
Does not: hold any of the steps: `consumers.recovery.rebuild` and `ledger_core.recovery.rebuild_checks` do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from consumers.kafka.topic_reader import TopicReader
from consumers.posting.relay import RelayTopics
from consumers.recovery.rebuild import Archive, Preparation, RebuildResult, archived_hash, job_of, open_archive, prepare
from consumers.recovery.topic_ends import look
from consumers.recovery.topic_fill import Filled, fill
from finance.recovery.rebuild_worker import Advance, Task, run_tasks
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.wiring.archive_source import open_source
from finance.wiring.kafka import open_partition, open_watermarks
from finance.wiring.stores import fill_store
from ledger_core.errors import Refused
from ledger_core.postgres.recovery import rebuild_state
from ledger_core.postgres.recovery.epochs import begin_epoch, not_the_ledger, read_epoch
from ledger_core.postgres.schema.deployment import bind_deployment, read_deployment
from ledger_core.postgres.schema.migrate import migrate
from ledger_core.postgres.session import Session, session
from ledger_core.proving.checkpoint import origin_of
from ledger_core.recovery.published import Published
from ledger_core.recovery.rebuild_checks import ENVIRONMENTS, HeldShard
from ledger_core.signing.registry import SignerRegistry
from schemas.topology.model import Topology

STATEMENT_TIMEOUT_MS = 0  # counting what is not held reads every row


@dataclass(frozen=True, slots=True)
class RebuildRequest:
    """What the operator asked for. `topology` None: the topics are not asked what they hold."""

    addresses: tuple[str, ...]  # the first one is the archive, the others heal it
    env: str  # environment, such as prod
    registry: SignerRegistry  # with every key that ever signed
    dsn: str  # of the database that is filled, as its owner
    shards: tuple[int, ...]  # empty: all that the archive has
    topology: Topology | None
    actor_id: str  # the operator, in the epoch
    fill_from_topic: bool = False  # also what the archive leaves out
    locks_may_have_ended: bool = False  # an archive past its retention does not prove a wrong clock
    workers_max: int | None = None  # processes at once; None: as many as processors


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was done. `migrated`: the database was empty; `not_held`: counts of what the archive leaves out."""

    shards: list[RebuildResult]  # one for each shard, in order
    strays: tuple[str, ...]  # keys below the environment that are not ours
    migrated: bool
    epoch_no: int  # that this rebuild began, or went on in
    filled: Filled | None  # None when it was not asked for
    not_held: dict[str, int]

    @property
    def sound(self) -> bool:
        return not self.strays and all(result.report.sound for result in self.shards)


def rebuild(
    request: RebuildRequest, settings: Settings, counting: Callable[[str, int | None], AbstractContextManager[Advance]]
) -> Rebuilt:
    """Put back what the database lacks. `counting` opens a progress bar over a number of entries, where it is known.

    Raises Refused (before anything is written, or at the range that contradicts the database), Corrupt, Unavailable.
    """
    # 1. LIST. Everything that can be refused is, before anything is written: a crash begins again.
    readers = [open_source(address, settings) for address in request.addresses]
    archive = open_archive(readers, request.env, request.registry)
    empty = rebuild_state.is_empty(request.dsn)
    with session(
        request.dsn, application_name="finance rebuild", statement_timeout_ms=STATEMENT_TIMEOUT_MS
    ) as connection:
        prepared = prepare(
            archive,
            [] if empty else _held(connection, request),
            lambda shard, seq: rebuild_state.entry_hash(connection, shard, seq),
            clock.utc_now(),
            locks_may_have_ended=request.locks_may_have_ended,
        )
        tasks = _tasks(request, settings, archive, prepared)
        # 2. MIGRATE. A crash here leaves tables without a shard: the next run takes the database for empty still.
        if empty:
            migrate(request.dsn)
        if not prepared.held and request.env in ENVIRONMENTS:  # or no process would take it
            bind_deployment(connection, request.env, _domain(prepared) or settings.domain)
        # 3. BEGIN. A crash before the COMMIT: no range was written; after: the next run goes on in this very epoch.
        if empty or any(prepared.surveys[task.job.shard].manifests for task in tasks):
            _begin_epoch(connection, request, archive)
        # 4. WRITE. A crash leaves a prefix of each shard, and the next run goes on behind it.
        with counting("rebuilding", sum(max(0, task.job.last_seq - task.job.held_seq) for task in tasks)) as advance:
            results = run_tasks(tasks, advance, request.workers_max)
        # 5. FILL. A crash leaves what was put back, and the next run asks for what is missing still.
        filled = _fill(connection, settings, counting) if request.fill_from_topic else None
        return Rebuilt(
            results,
            tuple(str(finding) for finding in archive.strays.findings),
            empty,
            read_epoch(connection).epoch_no,
            filled,
            rebuild_state.not_held(connection),
        )


def _held(connection: Session, request: RebuildRequest) -> list[HeldShard]:
    epoch = read_epoch(connection)
    if epoch.kind == "what-if":
        raise not_the_ledger(epoch)
    bound = read_deployment(connection)
    if bound is not None and bound[0] != request.env:
        raise Refused(
            f"this database belongs to environment {bound[0]}, and the archive's is {request.env}",
            remedy="check --env (FINANCE_ENV) and --into",
        )
    return rebuild_state.held_shards(connection)


def _domain(prepared: Preparation) -> str | None:
    """The domain that the archive's checkpoints carry."""
    origins = [found.origin for found in prepared.surveys.values() if found.origin]
    return origins[0].partition("/")[0] if origins else None


def _tasks(request: RebuildRequest, settings: Settings, archive: Archive, prepared: Preparation) -> list[Task]:
    shards = [shard for shard in archive.shards if not request.shards or shard in request.shards]
    missing = sorted(set(request.shards) - set(shards))
    if missing:
        raise Refused(
            f"the archive has nothing of shard {', '.join(map(str, missing))}",
            remedy=f"name one of {', '.join(map(str, archive.shards))}, or no --shard for all of them",
        )
    published = _published(request, settings, shards, archive, prepared)
    signers = request.registry.to_json()
    tasks = []
    for shard, known in zip(shards, published, strict=True):
        job = job_of(prepared, shard, known, origin_of(settings.domain, request.env, shard))
        listings = tuple(source.listing for source in archive.sources(shard))
        tasks.append(Task(settings, request.dsn, request.env, signers, request.addresses, listings, job))
    return tasks


def _published(
    request: RebuildRequest, settings: Settings, shards: Sequence[int], archive: Archive, prepared: Preparation
) -> list[Published]:
    """What the topics hold of each shard; without brokers nothing is known, and all of it is published again."""
    if request.topology is None:
        return [Published() for _ in shards]
    names = {key: topic.name for key, topic in request.topology.topics.items()}
    topics = RelayTopics(names["journal"], names["outcomes"], names["dead_letters"])
    ends = open_watermarks(settings, "api")
    try:
        return [
            look(
                ends,
                topics,
                shard,
                _archived_seq(prepared, shard),
                partial(archived_hash, archive, prepared.surveys[shard]),
            )
            for shard in shards
        ]
    finally:
        ends.close()


def _archived_seq(prepared: Preparation, shard: int) -> int:
    held = prepared.held.get(shard)
    newest = held.newest.last_seq if held is not None and held.newest is not None else 0
    return max(newest, prepared.surveys[shard].last_seq)


def _fill(
    connection: Session, settings: Settings, counting: Callable[[str, int | None], AbstractContextManager[Advance]]
) -> Filled:
    ends = open_watermarks(settings, "api")
    reader = TopicReader(
        ends.bounds,
        lambda topic, partition, start, end: open_partition(
            settings, topic, partition, start, end, append_times=False, name="api"
        ),
    )
    try:
        with counting("reading the topic", None) as advance:
            return fill(fill_store(connection), reader, advance)
    finally:
        ends.close()


def _begin_epoch(connection: Session, request: RebuildRequest, archive: Archive) -> None:
    """Once for each epoch: a rebuild that was interrupted goes on in the epoch that it began. An archive only grows, so
    one that holds more manifests since needs another: the database went on after that rebuild, and lost its end."""
    newest_of = [[max(it.listing.manifests, default=0) for it in archive.sources(shard)] for shard in archive.shards]
    manifests = sum(max(numbers, default=0) for numbers in newest_of)
    reason = f"rebuilt from {request.addresses[0]}, {manifests} manifests"
    newest = read_epoch(connection)
    if newest.kind == "rebuild" and newest.reason == reason:
        return
    begin_epoch(
        connection,
        kind="rebuild",
        epoch_id=clock.new_id(),
        actor_id=request.actor_id,
        reason=reason,
        trace_id=clock.new_trace_id(),
    )
