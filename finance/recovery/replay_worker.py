"""One shard of a replay in a process of its own, which reports to its parent how far it is.

Guarantees: it ends with its parent (`finance.recovery.worker_pool`), and then nothing more is committed. A head that
another process moved is read again a few times: the worker of a killed run may finish its batch.
Does not: check that topic and target belong together (`finance.recovery.replay_checks` has).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from consumers.recovery.replay import ShardReplay
from consumers.recovery.rule_sets import RULE_SETS
from finance.recovery.replay_sources import Source, open_log
from finance.recovery.worker_pool import Say
from finance.settings.deployment import Settings
from finance.wiring.kafka import REPLAYS_AS, open_partition
from finance.wiring.stores import open_poster_store
from ledger_core.errors import Refused
from ledger_core.posting.activation import RulesJudge, nothing_told
from ledger_core.posting.store_port import Fenced, Halted
from ledger_core.recovery.replay_port import StopAt
from ledger_core.signing.registry import SignerRegistry

FENCED_RETRIES_MAX: Final = 5
FENCED_WAIT_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """What a worker is given. `end_offset`: the topic's end as the replay began."""

    settings: Settings
    dsn: str  # of the database that is filled
    topic: str  # settlements, prefix included
    shard: int  # its partition
    end_offset: int
    stop: StopAt  # where it ends
    rules: str  # name of the rules that decide
    log: Source  # where first verdicts are looked up
    signers: bytes  # signers.json: whose control records count
    batch_records_max: int  # in one transaction
    journal_seq: int  # the newest entry that the journal topic has


@dataclass(frozen=True, slots=True)
class ReplayMessage:
    """Where a shard stands: after each batch, and at its end."""

    shard: int  # its partition
    next_offset: int = 0  # the first offset not replayed yet
    seq: int = 0  # of the newest entry; 0 before the first
    from_log: int = 0  # verdicts taken from the log so far


def work(job: ReplayJob, say: Say[ReplayMessage]) -> ReplayMessage:
    """Replay one shard to its end. Raises Refused, Unavailable, Corrupt."""
    for attempt in range(FENCED_RETRIES_MAX + 1):
        try:
            return _replay(job, say)
        except Fenced as error:
            if attempt == FENCED_RETRIES_MAX:
                raise Refused(
                    f"{error}: another process posts into this database",
                    remedy="stop it (a second replay, a poster), then run the replay again: it goes on from there",
                ) from error
            time.sleep(FENCED_WAIT_SECONDS)
        except Halted as error:
            raise Refused(
                "posting is halted in the database that is filled", remedy="lift the halt there, then run it again"
            ) from error
    raise AssertionError("the last attempt returns or raises")


def _replay(job: ReplayJob, say: Say[ReplayMessage]) -> ReplayMessage:
    with _replaying(job) as replay:
        while replay.step():
            head = replay.head
            say(ReplayMessage(job.shard, head.next_offset, head.seq, replay.from_log))
        head = replay.head
        return ReplayMessage(job.shard, head.next_offset, head.seq, replay.from_log)


@contextmanager
def _replaying(job: ReplayJob) -> Iterator[ShardReplay]:
    with open_poster_store(job.dsn) as store:
        head = store.open_shard(job.shard, job.topic)
        reader = open_partition(
            job.settings, job.topic, job.shard, head.next_offset, job.end_offset, name=REPLAYS_AS, explained=True
        )
        try:
            with open_log(job.log, job.settings) as log:
                told = nothing_told if log is None else log.activated
                judge = RulesJudge(job.settings.env, SignerRegistry.from_json(job.signers), told)
                yield ShardReplay(
                    head,
                    reader=reader,
                    store=store,
                    log=log,
                    decide=RULE_SETS[job.rules](judge),
                    stop=job.stop,
                    batch_records_max=job.batch_records_max,
                    journal_seq=job.journal_seq,
                )
        finally:
            reader.close()
