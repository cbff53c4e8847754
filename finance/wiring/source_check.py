"""Asking the oracle whether the settlements topic still holds what the archive was made of: no database is asked.

Guarantees: the topic is read once, as the auditor, up to where the archive reaches. What it no longer holds, from its
beginning on or anywhere, is a finding and no reason to stop. Raises Unavailable and Refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

from consumers.kafka.partition_reader import PartitionReader
from consumers.posting.decision import decide
from finance.settings.deployment import Settings
from finance.wiring.kafka import open_partition, open_watermarks
from ledger_core.archive.listing import ArchiveReader, list_archive
from ledger_core.errors import Unreadable
from ledger_core.findings import Collector, Report
from ledger_core.posting.activation import RulesJudge
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.archive_walk import ShardWalk
from ledger_core.verify.archived_range import ArchiveScene, sources_of
from ledger_core.verify.range_tally import Position
from ledger_core.verify.source import SourceCheck, SourcePlace
from schemas.topology.model import Topology

READS_AS = "auditor"
RECORDS_MAX = 2000  # in one read


def check_source_of(
    settings: Settings,
    topology: Topology,
    registry: SignerRegistry,
    archive: ArchiveReader,
    env: str,
    shards: Sequence[int],
    advance: Callable[[int], None],
) -> Report:
    """The archive of `env` (or only `shards` of it), and the topic beside it. `advance` is called with records read."""
    found = Collector()
    listings = list_archive(archive, env, found)
    wanted = sorted(shards or listings)
    if not listings:
        found.add("archive.empty", f"there is no manifest of environment {env}: an empty archive proves nothing")
    topic = topology.topics["settlements"].name
    for shard in wanted:
        found.shard = shard
        if shard not in listings:
            found.add("archive.empty", f"there is no manifest of shard {shard}")
            continue
        scene = ArchiveScene(env, registry, keep_lines=True)
        walk = ShardWalk(scene, shard, sources_of([archive], [listings[shard]]), found, Position.genesis(shard))
        check = _check(shard, env, registry, found)
        with closing(_reads(settings, topic, shard)) as reads:
            ahead = _Ahead(reads, advance)
            for verified in walk.ranges():
                source = verified.proof.shards[0].source
                check.take(verified, ahead.between(int(source.first_offset), int(source.next_offset)))
    found.shard = found.place = None
    return found.report()


def _check(shard: int, env: str, registry: SignerRegistry, found: Collector) -> SourceCheck:
    check: SourceCheck
    check = SourceCheck(shard, lambda record, rules: decide(record, rules, judge), found)
    judge = RulesJudge(env, registry, told=check.activated)
    return check


def _reads(settings: Settings, topic: str, shard: int) -> Generator[SourcePlace]:
    """Everything that the partition holds now, from its oldest offset on."""
    with closing(open_watermarks(settings, READS_AS)) as watermarks:
        first, end = watermarks.bounds(topic, shard)
    with closing(open_partition(settings, topic, shard, first, end, name=READS_AS)) as reader:
        while not reader.done:
            yield from _next(reader)


def _next(reader: PartitionReader) -> list[SourcePlace]:
    try:
        return [SourcePlace(record.offset, record) for record in reader.read(RECORDS_MAX)]
    except Unreadable as found:
        reader.pass_over(found.offset + 1)
        return [SourcePlace(found.offset, None)]


class _Ahead:
    """Reads given out range by range: what lies behind a range's end waits for the next."""

    def __init__(self, reads: Iterator[SourcePlace], advance: Callable[[int], None]) -> None:
        self._reads = reads
        self._advance = advance
        self._waiting: SourcePlace | None = None

    def between(self, first: int, end: int) -> Iterator[SourcePlace]:
        """Those of `[first, end)`; what stands before, of a range that the archive has lost, is passed over."""
        while True:
            read = self._waiting or next(self._reads, None)
            self._waiting = None
            if read is None:
                return
            if read.offset >= end:
                self._waiting = read
                return
            self._advance(1)
            if read.offset >= first:
                yield read
