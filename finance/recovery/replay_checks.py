"""What a replay asks before it writes anything: is this the topic, the target and the ledger that belong together?

Guarantees: raises Refused with the remedy, or Unavailable; changes nothing. The topic must have the partitions and the
time of the topology, reach from what is needed to what is posted, and hold the newest posted records where they stood,
none of them from the future; the target must be empty or a true prefix of this replay, and not a live ledger; all
must be of one environment, and the registry must hold every key that signed what is compared.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final

from consumers.kafka.topic_identity import NewestSource, check_same_topic
from consumers.kafka.watermarks import Watermarks
from consumers.posting.decision import Decide
from consumers.recovery.replay import same_newest_entry
from finance.settings.deployment import Settings
from finance.wiring.kafka import REPLAYS_AS, check_topics, open_partition
from ledger_core.books.rule_versions import rules_of
from ledger_core.errors import Refused
from ledger_core.postgres.recovery import replay_target
from ledger_core.postgres.recovery.recorded_verdicts import newest_source
from ledger_core.postgres.recovery.replay_target import TargetState
from ledger_core.postgres.schema.deployment import read_deployment
from ledger_core.postgres.session import Session
from ledger_core.postgres.signing.signer_uses import proof_signers
from ledger_core.posting.plans import ShardHead
from ledger_core.proving.range_proof import parse_proof
from ledger_core.recovery.rebuild_checks import check_kids
from ledger_core.signing.registry import SignerRegistry
from ledger_core.times import format_time
from schemas.topology.model import Topology

CLOCK_MARGIN: Final = dt.timedelta(seconds=60)  # between the broker's clock and ours
LOST_REMEDY = "bring the topic back whole (its records at their offsets with their times), or use `finance rebuild`"


def check_settlements(settings: Settings, topology: Topology) -> None:
    """The topic is there, with its partitions and the broker's time. Raises Refused."""
    try:
        check_topics(settings, topology, ("settlements",), name=REPLAYS_AS)
    except Refused as refused:
        if "is missing" in refused.message:
            raise Refused(refused.message, remedy=LOST_REMEDY) from refused
        raise


def check_reach(watermarks: Watermarks, topic: str, shard: int, start: int) -> int:
    """The offset at which this replay ends, if the topic holds everything from `start` to it. Raises Refused."""
    low, high = watermarks.bounds(topic, shard)
    if low > start:
        raise Refused(
            f"{topic} [{shard}] begins at offset {low}: offsets {start} to {low - 1} are gone (retention)",
            remedy=LOST_REMEDY,
        )
    if high < start:
        raise Refused(f"{topic} [{shard}] ends at offset {high}, and {start} is due", remedy=LOST_REMEDY)
    return high


def check_clock(watermarks: Watermarks, topic: str, ends: Mapping[int, int], now: dt.datetime) -> None:
    """The broker's time of the newest record of each shard is not ahead of ours. `ends`: shard -> offset after it.
    Raises Refused.
    """
    for shard, end in ends.items():
        message = watermarks.newest(topic, shard) if end else None
        newest = now if message is None else dt.datetime.fromtimestamp(message.timestamp()[1] / 1000, dt.UTC)
        if newest > now + CLOCK_MARGIN:
            raise Refused(
                f"this clock says {format_time(now)}, and {topic} [{shard}] has a record of {format_time(newest)}",
                remedy="set the clock (NTP), then run it again; nothing was written",
            )


def check_deployment(connection: Session, settings: Settings, whose: str) -> None:
    """The database is of this environment, as far as it is bound to one. Raises Refused."""
    found = read_deployment(connection)
    if found is not None and found[0] != settings.env:
        raise Refused(
            f"{whose} belongs to environment {found[0]}, this is {settings.env}",
            remedy="check FINANCE_ENV and that database's address",
        )


def check_identity(watermarks: Watermarks, topic: str, shards: Sequence[int], newest: NewestSource) -> None:
    """The newest records that were read stand where they stood."""
    for shard in shards:
        record = newest(shard)
        if record is not None:
            check_same_topic(watermarks, topic, shard, record)


def check_prefix(
    settings: Settings, target: Session, state: TargetState, topic: str, shards: Sequence[int], decide: Decide
) -> None:
    """The newest entry of each shard of the target is what this replay makes of its record. Raises Refused."""
    for head in state.heads:
        if head.shard not in shards:
            continue
        if head.topic != topic:
            raise Refused(
                f"shard {head.shard} of the target grew from {head.topic}, not from {topic}",
                remedy="check FINANCE_TOPIC_PREFIX and FINANCE_ENV, or give an empty database",
            )
        if head.seq:
            _check_newest(settings, target, head, topic, decide)


def _check_newest(settings: Settings, target: Session, head: ShardHead, topic: str, decide: Decide) -> None:
    source = newest_source(target, head.shard)
    if source is None:
        raise Refused(f"shard {head.shard} of the target lacks its newest entry", remedy=replay_target.EMPTY_REMEDY)
    before = replay_target.hash_at(target, head.shard, head.seq - 1) if head.seq > 1 else None
    reader = open_partition(settings, topic, head.shard, source[0], source[0] + 1, name=REPLAYS_AS)
    try:
        records = reader.read(1)
    finally:
        reader.close()
    made = same_newest_entry(head, before, records[0], rules_of(source[2]), decide) if records else None
    if made != head.head_hash:
        raise Refused(
            f"shard {head.shard} of the target ends at seq {head.seq} with another entry than this replay makes of "
            f"offset {source[0]}: it is not a prefix of it",
            remedy=replay_target.EMPTY_REMEDY,
        )


def check_live(
    live: Session,
    target: Session | None,
    state: TargetState,
    settings: Settings,
    registry: SignerRegistry,
    topic: str,
    shards: Sequence[int],
) -> None:
    """The ledger to compare with is another database, of this environment, and the target is a prefix of it. Raises
    Refused.
    """
    check_deployment(live, settings, "the ledger to compare with")
    if target is not None and replay_target.is_locked(live):
        raise Refused(
            "--into is the live ledger's own database", remedy="give another, empty database; the poster continues this"
        )
    row = live.execute("SELECT proof FROM proofs ORDER BY signed_at LIMIT 1").fetchone()
    env = settings.env if row is None else parse_proof(row[0]).env
    if env != settings.env:
        raise Refused(f"that ledger signs as environment {env}, this is {settings.env}", remedy="check FINANCE_ENV")
    check_kids(proof_signers(live), registry, signed="that ledger")
    for head in replay_target.read_heads(live):
        if head.shard not in shards:
            continue
        if head.topic != topic:
            raise Refused(
                f"shard {head.shard} of the ledger grew from {head.topic}, not from {topic}",
                remedy="check FINANCE_TOPIC_PREFIX, FINANCE_ENV and DATABASE_URL_AUDITOR",
            )
        ours = state.head_of(head.shard)
        if ours is None or not ours.seq or ours.seq > head.seq:
            continue
        if replay_target.hash_at(live, head.shard, ours.seq) != ours.head_hash:
            raise Refused(
                f"shard {head.shard} of the target differs from the ledger at seq {ours.seq}",
                remedy=replay_target.EMPTY_REMEDY,
            )
