"""`finance replay --into`: checks first, then one worker a shard, then the comparison.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. CHECK topic, target and ledger   nothing is written; a guard that says no is Refused
  2. CLAIM the target                 a commit point: its schema and its epoch
  3. REPLAY, a worker a shard         a commit point a batch (`consumers.recovery.replay`), compared as it is written

Guarantees: the same at every run; killed anywhere and run again it goes on. Nothing is published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from consumers.kafka.journal_end import newest_in_journal, surely_relayed_seq
from consumers.kafka.watermarks import Watermarks
from consumers.recovery.rule_sets import LEDGER_RULES, RULE_SETS
from finance.recovery import replay_checks
from finance.recovery.replay_sources import APPLICATION, Source, open_archive_log
from finance.recovery.replay_worker import ReplayJob, ReplayMessage, work
from finance.recovery.worker_pool import run_pool
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.wiring.kafka import REPLAYS_AS, open_watermarks
from ledger_core.errors import Refused
from ledger_core.postgres.posting.newest_record import newest_record
from ledger_core.postgres.recovery import replay_target
from ledger_core.postgres.recovery.epochs import EpochKind
from ledger_core.postgres.schema.deployment import bind_deployment
from ledger_core.postgres.session import Session, session
from ledger_core.recovery.replay_port import StopAt
from ledger_core.signing.registry import SignerRegistry
from schemas.topology.model import Topology


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What is asked of a replay. `shards` empty: all of the topology."""

    settings: Settings
    topology: Topology
    registry: SignerRegistry
    compare: Source  # with the database or the archive
    shards: tuple[int, ...] = ()
    stop: StopAt = field(default_factory=StopAt)  # where it ends
    rules: str = LEDGER_RULES  # name of the rules that decide
    from_offset: int | None = None  # inclusive; None: from the target's head

    @property
    def topic(self) -> str:
        return self.topology.topics["settlements"].name

    @property
    def wanted(self) -> tuple[int, ...]:
        return self.shards or tuple(range(self.topology.topics["settlements"].partitions))

    @property
    def is_ledger(self) -> bool:
        """Whether what comes out is the ledger: the whole topic, by the ledger's own rules."""
        return not self.stop and self.rules == LEDGER_RULES

    @property
    def kind(self) -> EpochKind:
        return "replay" if self.is_ledger else "what-if"

    @property
    def reason(self) -> str:
        """Why the epoch began: the same at every run of the same replay."""
        if self.is_ledger:
            return f"replay of {self.topic}"
        return f"replay of {self.topic} to {self.stop} by rules {self.rules}: not the ledger"


@dataclass(slots=True)
class ShardRun:
    """One shard of the run: from where, to where, and how it stands."""

    shard: int
    first_offset: int
    end_offset: int
    next_offset: int
    seq: int = 0
    from_log: int = 0


Tell = Callable[[Mapping[int, ShardRun]], None]
"""Called with the shards' progress, again and again."""


def replay_into(plan: ReplayPlan, dsn: str, actor_id: str, tell: Tell) -> dict[int, ShardRun]:
    """Run it to its end. Raises Refused (nothing was written, or what was stands), Unavailable, Corrupt."""
    with ExitStack() as stack:
        target = stack.enter_context(session(dsn, application_name=APPLICATION))
        # 1. CHECK. The lock ends with the session; nothing is written, and a crash begins again.
        replay_target.lock(target)
        jobs, runs = _check(plan, dsn, target, stack)
        # 2. CLAIM. A crash before the COMMIT: the target is as it was; after: the next run of the same replay takes it.
        ids = (clock.new_id(), clock.new_trace_id())
        replay_target.claim(
            target, dsn, kind=plan.kind, reason=plan.reason, epoch_id=ids[0], actor_id=actor_id, trace_id=ids[1]
        )
        bind_deployment(target, plan.settings.env, plan.settings.domain)
        tell(runs)
        # 3. REPLAY. A crash leaves a prefix of each shard, and the next run goes on behind it.
        _run_workers(jobs, runs, tell)
    return runs


def _check(
    plan: ReplayPlan, dsn: str, target: Session, stack: ExitStack
) -> tuple[list[ReplayJob], dict[int, ShardRun]]:
    """Every guard, and what the workers have to do. Writes nothing."""
    settings, topic, shards = plan.settings, plan.topic, plan.wanted
    replay_checks.check_settlements(settings, plan.topology)
    state = replay_target.inspect(target, dsn)
    replay_target.check_claimable(state, kind=plan.kind, reason=plan.reason)
    if state.epoch is not None:
        replay_checks.check_deployment(target, settings, "the target")
    watermarks = open_watermarks(settings, REPLAYS_AS)
    stack.callback(watermarks.close)
    runs = {}
    for shard in shards:
        head = state.head_of(shard)
        start = head.next_offset if head else 0
        if plan.from_offset not in (None, start):
            raise Refused(
                f"shard {shard} of the target goes on at offset {start}, not at {plan.from_offset}",
                remedy="leave --from-offset out; without --into it starts the comparison where you say",
            )
        end = replay_checks.check_reach(watermarks, topic, shard, start)
        runs[shard] = ShardRun(shard, start, end, start, head.seq if head else 0)
    ends = {run.shard: run.end_offset for run in runs.values()}
    replay_checks.check_clock(watermarks, topic, ends, clock.utc_now())
    if state.heads:
        replay_checks.check_identity(watermarks, topic, shards, lambda shard: newest_record(target, shard))
        replay_checks.check_prefix(settings, target, state, topic, shards, RULE_SETS[plan.rules](None))
    _check_source(plan, target, state, watermarks)
    batch = plan.topology.limits.poster_batch_records_max
    journal = plan.topology.topics["journal"].name
    jobs = [
        ReplayJob(
            settings,
            dsn,
            topic,
            run.shard,
            run.end_offset,
            plan.stop,
            plan.rules,
            plan.compare,
            plan.registry.to_json(),
            batch,
            surely_relayed_seq(newest_in_journal(watermarks, journal, run.shard), batch) if plan.is_ledger else 0,
        )
        for run in runs.values()
    ]
    return jobs, runs


def _check_source(plan: ReplayPlan, target: Session, state: replay_target.TargetState, watermarks: Watermarks) -> None:
    """The ledger, or the archive, that it is compared with speaks of this very topic."""
    if plan.compare == "database":
        with session(plan.settings.database_url("auditor"), application_name=APPLICATION, read_only=True) as live:
            replay_checks.check_live(live, target, state, plan.settings, plan.registry, plan.topic, plan.wanted)
            replay_checks.check_identity(watermarks, plan.topic, plan.wanted, lambda shard: newest_record(live, shard))
    elif plan.compare == "archive":
        log = open_archive_log(plan.settings, plan.registry)
        log.check_readable()
        if not any(log.covers(shard) for shard in plan.wanted):
            raise Refused(
                f"the archive has no manifest of shard {', '.join(map(str, plan.wanted))}",
                remedy="name other shards, or replay with --compare nothing",
            )
        replay_checks.check_identity(watermarks, plan.topic, plan.wanted, log.newest_record)


def _run_workers(jobs: Sequence[ReplayJob], runs: dict[int, ShardRun], tell: Tell) -> None:
    """A process a shard; the first failure ends them all."""

    def take(told: ReplayMessage) -> None:
        run = runs[told.shard]
        run.next_offset, run.seq, run.from_log = told.next_offset, told.seq, told.from_log
        tell(runs)

    for told in run_pool("replay", jobs, work, take, workers_max=len(jobs)):
        take(told)
