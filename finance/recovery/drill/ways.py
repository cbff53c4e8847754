"""The ways back, each by the very functions of its command, into a place of its own; then the judge.

    archive   finance rebuild, finance audit restore --from s3       objects and public keys, no topic, no database
    topic     finance replay, finance audit restore --from topic     the topics; the archive is the verdict log
    pitr      finance backup restore --to latest, adopt              base backup and WAL, with the private identity

Guarantees: what stops a way is a finding of it (the other ways go on), naming what stopped it with its remedy; what
came back before a range that is not sound is judged all the same. Scratch databases, servers and directories are gone
at the end.
Does not: write to the live ledger, publish, or store anything in a place of backups (what a stream still holds in its
spool stays there: it counts as lost).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from consumers.audit.restore import restore_chain
from finance.recovery.backup.assembly import copies_of, restorable, restore_terms
from finance.recovery.backup.base import cluster
from finance.recovery.backup.base.plan import Choice, Target
from finance.recovery.backup.base.restore import RESTORING, plan_of
from finance.recovery.backup.base.restore import restore as restore_files
from finance.recovery.backup.serve import serve
from finance.recovery.drill.judge import judge_audit, judge_ledger, measure
from finance.recovery.drill.leftovers import restored_directory
from finance.recovery.drill.live import Live
from finance.recovery.drill.report import AuditResult, DrillShardResult, Step, Sums, Way, WayResult, finding_of, line
from finance.recovery.drill.scratch import scratch_database
from finance.recovery.rebuild import RebuildRequest, rebuild
from finance.recovery.replay_into import ReplayPlan, replay_into
from finance.recovery.replay_sources import Source, open_archive_log
from finance.settings import clock
from finance.settings.deployment import STATE_FOLDER, Settings
from finance.wiring.audit_chain import ChainSource, chain_events
from finance.wiring.stores import open_audit_restore_store
from ledger_core.audit.events import AuditEvent
from ledger_core.errors import Corrupt, Refused, Unavailable
from ledger_core.findings import Collector
from ledger_core.postgres.recovery.recorded_verdicts import unfounded
from ledger_core.postgres.session import session
from ledger_core.signing.registry import SignerRegistry
from schemas.topology.model import Topology

Advance = Callable[[int], None]
Counting = Callable[[str, str, int | None], AbstractContextManager[Advance]]
"""Opens a progress bar: what is done, its unit, how many there are (None: not known)."""


@dataclass(frozen=True, slots=True)
class DrillScene:
    """What every way works with."""

    settings: Settings
    topology: Topology
    registry: SignerRegistry
    live: Live  # the ledger as the drill began
    drill_id: str  # hex; names what the drill leaves
    actor_id: str  # the operator, in the report
    counting: Counting  # the registry, counting look-ups

    @property
    def live_url(self) -> str:
        return self.settings.database_url("auditor")


@dataclass(slots=True)
class WayRun:
    """What one way has come to so far."""

    way: Way
    sources: tuple[str, ...]
    found: Collector = field(default_factory=Collector)
    steps: list[Step] = field(default_factory=list)
    shards: tuple[DrillShardResult, ...] = ()
    audit: AuditResult | None = None
    balances: tuple[Sums, ...] = ()
    stopped: bool = False

    @contextmanager
    def step(self, name: str, *, check: bool = False, unit: str = "") -> Iterator[Advance]:
        """Time a step; what it did is counted by what is yielded. What stops it is a finding, and raised on."""
        began, done = time.monotonic(), [0]

        def count(number: int) -> None:
            done[0] += number

        try:
            yield count
        finally:
            self.steps.append(
                Step(
                    name=name,
                    phase="check" if check else "restore",
                    milliseconds=str(round((time.monotonic() - began) * 1000)),
                    done=str(done[0]),
                    unit=unit,
                )
            )

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """What stops the block is a finding, with its remedy; then what follows from it is left out."""
        try:
            yield
        except Refused as error:
            self.found.add("drill.refused", f"{error.message}. Remedy: {error.remedy}")
        except Corrupt as error:
            self.found.add("drill.corrupt", str(error))
        except Unavailable as error:
            self.found.add("drill.unavailable", str(error))
        else:
            return
        self.stopped = True

    def result(self) -> WayResult:
        report = self.found.report()
        return WayResult(
            way=self.way,
            sources=tuple(line(source) for source in self.sources),
            steps=tuple(self.steps),
            shards=self.shards,
            audit=self.audit,
            balances=self.balances,
            keys=(),
            counts={name: str(number) for name, number in report.counts.items()},
            findings=tuple(finding_of(finding) for finding in report.findings),
            findings_beyond_max=str(report.findings_beyond_max),
            sound=report.sound,
        )


def drill_archive(scene: DrillScene, server: str) -> WayResult:
    """The archive and the public keys alone."""
    address = f"s3://{scene.settings.archive('auditor').bucket}"
    record = WayRun("archive", (address, str(scene.settings.signers_path)))
    with scratch_database(server, _name(scene, "archive")) as dsn:
        with record.stopping(), record.step("rebuild from the archive", unit="entries") as count:
            _rebuild(scene, record, address, dsn, count)
        if record.stopped:
            return record.result()
        must_reach = scene.live.exported_seq
        if must_reach:
            _restore_audit(scene, record, "s3", dsn)
        else:
            record.found.count("audit_exports_none_yet")
        _judge(scene, record, dsn, must_reach)
    return record.result()


def _rebuild(scene: DrillScene, record: WayRun, address: str, dsn: str, count: Advance) -> None:
    request = RebuildRequest((address,), scene.settings.env, scene.registry, dsn, (), None, scene.actor_id)
    rebuilt = rebuild(request, scene.settings, lambda what, total: scene.counting(what, "entries", total))
    count(sum(result.entries_written for result in rebuilt.shards))
    for result in rebuilt.shards:
        record.found.take(result.report)
    for stray in rebuilt.strays:
        record.found.add("drill.stray", stray)


def drill_topic(scene: DrillScene, server: str) -> WayResult:
    """The topics, with the archive (where there is none yet, the live database) as the log of verdicts that depend on
    another shard: the database is lost, as far as this way knows."""
    record = WayRun("topic", tuple(scene.topology.topics[name].name for name in ("settlements", "audit")))
    with scratch_database(server, _name(scene, "topic")) as dsn:
        with (
            record.stopping(),
            record.step("replay the settlements topic", unit="offsets") as count,
            scene.counting("replaying", "offsets", sum(head.next_offset for head in scene.live.heads.values())) as bar,
        ):
            log = _verdict_log(scene)
            record.sources += (f"verdict log: {'the archive' if log == 'archive' else 'the live database'}",)
            plan = ReplayPlan(scene.settings, scene.topology, scene.registry, log)
            told = 0

            def tell(done: int) -> None:
                nonlocal told
                bar(done - told)
                told = done

            runs = replay_into(
                plan, dsn, scene.actor_id, lambda runs: tell(sum(r.next_offset - r.first_offset for r in runs.values()))
            )
            count(sum(run.next_offset - run.first_offset for run in runs.values()))
        if record.stopped:
            return record.result()
        _restore_audit(scene, record, "topic", dsn)
        _judge(scene, record, dsn, scene.live.published_seq)
        if record.shards:
            _check_topic_whole(record, dsn)
    return record.result()


def _verdict_log(scene: DrillScene) -> Source:
    try:
        log = open_archive_log(scene.settings, scene.registry)
    except Refused:  # no settings of one
        return "database"
    return "archive" if any(log.covers(shard) for shard in scene.live.heads) else "database"


def _check_topic_whole(record: WayRun, dsn: str) -> None:
    """The topic holds all that was posted, and every verdict that depends on another shard has its reason."""
    for shard in record.shards:
        if shard.behind_offsets != "0":
            message = f"the topic ends {shard.behind_offsets} offsets before the ledger"
            record.found.add("drill.topic_short", message, shard=shard.shard, seq=int(shard.seq), field="next_offset")
    with session(dsn, application_name="finance drill", read_only=True, statement_timeout_ms=0) as connection:
        for number, offset, event_id in unfounded(connection):
            message = f"rejected because of another shard, and none has event id {event_id}"
            record.found.add("drill.unfounded", message, shard=number, field="verdict", place=f"offset {offset}")


def drill_pitr(scene: DrillScene) -> WayResult:
    """The newest base backup and all WAL that is stored."""
    settings, place = scene.settings, scene.settings.needed("BACKUP_PLACE")
    record = WayRun("pitr", (place, "BACKUP_IDENTITY_FILE"))
    directory = restored_directory(Path(STATE_FOLDER), scene.drill_id)
    server: cluster.Cluster | None = None
    try:
        with record.stopping():
            with record.step("read, decrypt, unpack", unit="bytes") as count:
                copies = copies_of(settings, ())
                terms = restore_terms(settings, copies, lambda _count: None)
                plan = plan_of(terms, restorable(settings, copies, None), Target("latest"), Choice())
                restored = restore_files(terms, plan, directory)
                count(restored.stored_bytes)
            record.sources = (place, f"backup {restored.backup.backup_id}", f"{restored.wal_files} file(s) of WAL")
            for ignored in restored.ignored:
                record.found.add("drill.wal", ignored)
            with record.step("recover, promote, begin the epoch"):
                served = serve(
                    settings,
                    restored,
                    scene.live_url,
                    owner=scene.live.owner,
                    actor_id=scene.actor_id,
                    reason=f"drill {scene.drill_id}",
                )
                server = served.server
            _judge(scene, record, served.dsn, 0)
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(directory.with_name(directory.name + RESTORING), ignore_errors=True)
    return record.result()


def _restore_audit(scene: DrillScene, record: WayRun, source: ChainSource, dsn: str) -> None:
    """The chain from its own copy; what is not of the form of an event is a finding."""
    with record.stopping(), record.step(f"restore the audit chain from {source}", unit="events") as count:
        found = Collector()
        try:
            with open_audit_restore_store(dsn) as store:
                events: Iterator[AuditEvent] = chain_events(source, scene.settings, scene.topology, found)
                restore_chain(
                    store,
                    events,
                    scene.registry,
                    source=source,
                    actor_id=scene.actor_id,
                    trace_id=clock.new_trace_id(),
                    published_seq=0,
                    advance=count,
                )
        finally:
            record.found.absorb(found)


def _judge(scene: DrillScene, record: WayRun, dsn: str, must_reach: int) -> None:
    """What came back, against the oracle, the published proofs and the live ledger."""
    with (
        record.stopping(),
        record.step("prove again and compare", check=True, unit="entries") as count,
        scene.counting(f"proving ({record.way})", "entries", sum(h.seq for h in scene.live.heads.values())) as bar,
    ):

        def both(number: int) -> None:
            count(number)
            bar(number)

        proved = judge_ledger(dsn, scene.live_url, scene.registry, record.found, both)
        record.shards, record.balances = measure(dsn, scene.live, proved)
    with record.stopping(), record.step("verify the audit chain", check=True, unit="events") as count:
        record.audit = judge_audit(
            dsn, scene.live_url, scene.registry, record.found, must_reach, scene.live.published_seq
        )
        count(int(record.audit.seq))


def _name(scene: DrillScene, way: Way) -> str:
    return f"finance_drill_{way}_{scene.drill_id[-8:]}"
