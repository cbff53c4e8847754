"""Every Kafka client of the project, made here: with the brokers, and with the certificate of whom it acts as.

Guarantees: nobody talks to the brokers but by `Settings.kafka_options`: TLS where a certificate is given, as the
process or principal that is named. A process works on topics with the partitions and time type of the topology alone.
Does not: hold a client; what it makes belongs to the caller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing

from confluent_kafka import Message

from consumers.audit.published_chain import PARTITION, newest_published
from consumers.kafka.group_source import KafkaSource
from consumers.kafka.holes import Explain, Holes
from consumers.kafka.log_batches import LogBatches
from consumers.kafka.partition_reader import PartitionReader
from consumers.kafka.reported_outcomes import WINDOW_OFFSETS, ReportedOutcomes
from consumers.kafka.topic_identity import NewestSource, identity_check
from consumers.kafka.topic_watch import TopicWatch
from consumers.kafka.watermarks import Watermarks
from consumers.proving.published_topic import AuditChain, PublishedTopic
from consumers.proving.tree_history import ReadJournal
from finance.settings.deployment import Settings
from ledger_core.audit.events import AuditEvent
from ledger_core.errors import Refused, Unreadable
from ledger_core.ports import Record
from ledger_core.signing.registry import SignerRegistry
from producers.kafka import topics as topics_kafka
from producers.kafka.one_writer import OneWriterPublisher
from producers.kafka.publisher import KafkaPublisher
from schemas.topology.model import Topic, Topology

OpenSource = Callable[[Callable[[int], int], Callable[[int], None]], KafkaSource]
"""What opens a source once its callbacks are known: where a shard starts, and what to do when it goes."""

# What a shard's meaning depends on: a poster on another count or another kind of time would write another ledger.
BINDING_SETTINGS = ("topic", "partitions", "message.timestamp.type")
# Of a topic that is kept for ever (one of the ledger's copies), or forgets by rule: what lets the brokers drop
# records of it, or keep them.
KEEPING_SETTINGS = (
    *("delete.retention.ms", "max.compaction.lag.ms", "min.compaction.lag.ms"),
    *("cleanup.policy", "retention.bytes", "retention.ms", "unclean.leader.election.enable"),
)
# What bounds the bytes that a batch unpacks to. Changed, anybody who may publish could send what no reader can hold.
UNPACKING_SETTINGS = ("compression.type", "max.message.bytes")
REPLAYS_AS = "auditor"  # whoever replays reads events, which carry no personal data
JOURNAL_RECORDS_MAX = 2000  # read at once
HEADER_BYTES = 512  # asked for of a batch whose header is wanted: it comes whole all the same
TOPICS_SECONDS_MAX = 5.0  # a process waits in its own loop, which says so; a command may be more patient


def check_topics(settings: Settings, topology: Topology, keys: tuple[str, ...], *, name: str = "api") -> None:
    """As `name`: refuse to work on topics that are missing, differ from the topology in what shards depend on, may take
    what no reader can hold, or may lose records that are kept for ever. Raises Refused.
    """
    topics = [topology.topics[key] for key in keys]
    binding = {(topic.name, setting) for topic in topics for setting in (*BINDING_SETTINGS, *UNPACKING_SETTINGS)}
    binding |= {(topic.name, setting) for topic in topics if topic.retention_days < 0 for setting in KEEPING_SETTINGS}
    brokers, options = settings.kafka_brokers, settings.kafka_options(name)
    for action in topics_kafka.check(topology, brokers, options, seconds_max=TOPICS_SECONDS_MAX):
        if (action.topic, action.setting) in binding:
            missing = action.kind == "create"
            raise Refused(
                f"topic {action.topic} is missing"
                if missing
                else f"topic {action.topic}: {action.setting} is {action.found}, the topology says {action.wanted}",
                remedy="run `finance topics apply`" if missing else action.remedy,
            )


def open_publisher(settings: Settings, name: str = "api") -> KafkaPublisher:
    """An ordered, idempotent producer that acts as `name`."""
    return KafkaPublisher(settings.kafka_brokers, settings.kafka_options(name))


def open_one_writer(settings: Settings, topic: Topic, name: str) -> OneWriterPublisher:
    """The one writer of a chain's topic, as `name`. Raises Refused for a topic that any number may write to."""
    if topic.transactional_id is None:
        raise Refused(f"{topic.name} takes any number of writers", remedy="correct its `value` in topology.yaml")
    return OneWriterPublisher(settings.kafka_brokers, topic.transactional_id, settings.kafka_options(name))


def open_watermarks(settings: Settings, name: str) -> Watermarks:
    """Questions about topics, asked as `name` without joining a group."""
    return Watermarks(settings.kafka_brokers, settings.kafka_options(name))


def newest_audit_event(
    settings: Settings, topology: Topology, registry: SignerRegistry, name: str
) -> AuditEvent | None:
    """The furthest event on the audit topic that counts, asked as `name`. Raises Unavailable and Refused."""
    watermarks = open_watermarks(settings, name)
    try:
        return newest_published(watermarks, topology.topics["audit"].name, registry)
    finally:
        watermarks.close()


def published_topic(
    settings: Settings,
    topology: Topology,
    registry: SignerRegistry,
    chain: AuditChain,
    name: str,
    progress: Callable[[], None],
) -> PublishedTopic:
    """What the audit topic says of closed ranges, asked as `name`. `progress` is called for each piece that is read: a
    database that was put back leads far back."""
    topic = topology.topics["audit"].name

    def open_piece(start: int, end: int) -> PartitionReader:
        progress()
        return open_partition(settings, topic, PARTITION, start, end, append_times=False, name=name)

    def bounds() -> tuple[int, int]:
        with closing(open_watermarks(settings, name)) as watermarks:
            return watermarks.bounds(topic, PARTITION)

    return PublishedTopic(chain, bounds, open_piece, registry, monotonic=time.monotonic)


def journal_reader(settings: Settings, topology: Topology, name: str) -> ReadJournal:
    """(shard, offset) -> the records of the journal from there to its present end, read as `name`."""
    topic = topology.topics["journal"].name

    def read(shard: int, offset: int) -> Generator[Record]:
        watermarks = open_watermarks(settings, name)
        try:
            _, end = watermarks.bounds(topic, shard)
        finally:
            watermarks.close()
        reader = open_partition(settings, topic, shard, offset, end, append_times=False, name=name)
        try:
            while not reader.done:
                yield from reader.read(JOURNAL_RECORDS_MAX)
        finally:
            reader.close()

    return read


def open_partition(
    settings: Settings,
    topic: str,
    partition: int,
    offset: int,
    end_offset: int,
    *,
    name: str,
    append_times: bool = True,
    explained: bool = False,
) -> PartitionReader:
    """Records `[offset, end_offset)` of one partition, read as `name` without joining a group. `explained`: offsets
    without a record must be those of transactions."""
    options = settings.kafka_options(name)
    brokers = settings.kafka_brokers
    explain = open_holes(settings, topic, name).explain if explained else None
    return PartitionReader(
        brokers, topic, partition, offset, end_offset, options, append_times=append_times, explain=explain
    )


def open_holes(settings: Settings, topic: str, name: str) -> Holes:
    """What explains offsets without a record, asked as `name`; it asks nothing before it meets one."""

    def leader(topic: str, partition: int) -> tuple[str, int]:
        watermarks = open_watermarks(settings, name)
        try:
            return watermarks.leader(topic, partition)
        finally:
            watermarks.close()

    return Holes(topic, lambda: LogBatches(leader, settings.kafka_options(name)))


def end_of_unreadable(settings: Settings, topic: str, partition: int, offset: int, *, name: str = "api") -> int:
    """The offset behind the batch at `offset`, which no reader can read; asked as `name`. Raises Refused where it can
    be read, or where the log has no records, Unavailable."""
    with closing(open_watermarks(settings, name)) as watermarks:
        log = LogBatches(watermarks.leader, settings.kafka_options(name))
        try:
            batches = log.read(topic, partition, offset, HEADER_BYTES)
        finally:
            log.close()
    place = f"{topic} [{partition}] offset {offset}"
    batch = next((it for it in batches if it.first <= offset <= it.last and it.kind == "records"), None)
    if batch is None:
        raise Refused(f"{place}: the log has no records there", remedy="resume the shard: its poster reads again")
    reader = open_partition(settings, topic, partition, offset, batch.last + 1, name=name)
    try:
        while not reader.done:
            for record in reader.read(JOURNAL_RECORDS_MAX):
                raise Refused(
                    f"{place}: the record at offset {record.offset} can be read, and gets its verdict by the rules",
                    remedy="resume the shard: its poster reads again",
                )
    except Unreadable:
        return batch.last + 1
    finally:
        reader.close()
    raise Refused(f"{place}: nothing is there to be read", remedy="resume the shard: its poster reads again")


def reported_outcomes(settings: Settings, topology: Topology, progress: Callable[[], None]) -> ReportedOutcomes:
    """What the outcomes topic has reported, asked as the poster. `progress` is called for each window that is read."""
    topic = topology.topics["outcomes"].name

    def windows(shard: int) -> Iterator[list[Message]]:
        with closing(open_watermarks(settings, "poster")) as watermarks:
            for window in watermarks.windows_back(topic, shard, WINDOW_OFFSETS):
                progress()
                yield window

    def newest(shards: Iterable[int]) -> Iterator[Message]:
        with closing(open_watermarks(settings, "poster")) as watermarks:
            for message in watermarks.newest_windows(topic, shards, WINDOW_OFFSETS):
                progress()
                yield message

    return ReportedOutcomes(topic, windows, newest)


def settlements_opener(settings: Settings, topology: Topology, newest_source: NewestSource) -> OpenSource:
    """The poster's source: it reads on only in the topic that its shards grew from, and over no lost record."""
    topic = topology.topics["settlements"].name
    check = identity_check(lambda: open_watermarks(settings, "poster"), topic, newest_source)
    return source_opener(
        "poster",
        settings,
        topology,
        check_partitions=check,
        append_times=True,
        explain=open_holes(settings, topic, "poster").explain,
    )


def source_opener(
    name: str,
    settings: Settings,
    topology: Topology,
    *,
    key: str | None = None,
    check_partitions: Callable[[Sequence[int]], None] = lambda _partitions: None,
    append_times: bool = False,
    explain: Explain | None = None,
) -> OpenSource:
    """What opens the process's source once its callbacks are known; its topic is watched for as long as it is read.
    `key`: of another topic than its first. Raises Refused when the topology gives the process no such topic.
    """
    process = topology.processes[name]
    key = key or process.consumes
    if key is None or key not in process.consumed:
        raise Refused(f"the topology gives {name} no topic or no group", remedy="correct topology.yaml")
    group = settings.topic_prefix + process.consumed[key]
    options = {**settings.kafka_group_options(name), **settings.kafka_options(name)}

    def check() -> None:
        check_topics(settings, topology, (key,), name=name)

    return lambda start_offset, on_revoked: KafkaSource(
        settings.kafka_brokers,
        topology.topics[key].name,
        group,
        start_offset,
        on_revoked,
        options,
        check_append_times=check if append_times else None,
        watch=TopicWatch(check, check_partitions),
        explain=explain,
    )
