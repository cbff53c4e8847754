"""What the audit topic says of closed ranges, asked by a database that may hold most of it: one pass for all shards.

Guarantees: the answer is that of reading the whole topic. An event of the topic that stands on this database's audit
chain says that all before it does (each commits to the one before), so what was announced up to there is asked of the
database, by an index; of the topic no more is read than back to such an event, and one step more, for a notary that
was killed while it published and began again. A database that was put back holds less of the chain, and more is read.
Each process reads a record once: the next question reads what came since, FRESH_SECONDS after it asked at the latest.
At most RANGES_ALL_MAX ranges are held, the oldest of each shard; the others come once these are closed.
Does not: judge the ranges (`published_guard`), or see two branches of a forked chain where the older end of one lies
further back than it reads: `finance audit verify` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from consumers.proving.published_guard import PublishedRange
from consumers.proving.published_ranges import RANGES_MAX, aside, closed_range, closed_range_of
from ledger_core.audit.events import AuditEvent, form_fault_of
from ledger_core.audit.set_aside import Place
from ledger_core.ports import Record
from ledger_core.signing.registry import SignerRegistry

STEP_RECORDS: Final = 5_000  # a reader of its own for each: fewer would spend most of the time on connecting
CLOSED_MAX: Final = 200  # of the ranges that wait for a proof, the newest are compared; each is, before it is signed
RANGES_ALL_MAX: Final = 20_000  # of all shards: 40 MB
RANGES_EACH_MIN: Final = 10  # of one shard, however many there are
FRESH_SECONDS: Final = 1.0  # shards are assigned by the hundred

_Found = dict[int, dict[tuple[int, str], PublishedRange]]


class Reader(Protocol):
    """See `consumers.kafka.partition_reader.PartitionReader`."""

    @property
    def done(self) -> bool: ...

    def read(self, records_max: int) -> list[Record]: ...

    def close(self) -> None: ...


class AuditChain(Protocol):
    """See `ledger_core.postgres.proving.held_ranges`. Every method may raise Unavailable("postgres")."""

    def newest(self, shard: int) -> int: ...

    def range_heads(self) -> dict[int, tuple[int, int]]: ...

    def chain_end(self) -> int: ...

    def chain_holds(self, seq: int, event_hash: str) -> bool: ...

    def chained(self, shard: int, from_no: int, at_most: int) -> list[AuditEvent]: ...


class ToldRanges(NamedTuple):
    """The answer for one shard."""

    ranges: list[PublishedRange]  # ascending
    more: bool  # there are further ones: ask again once these are closed


class PublishedTopic:
    """`bounds`: oldest offset of the topic, and the one after the newest; `open_reader` reads `[from, to)`."""

    def __init__(
        self,
        chain: AuditChain,
        bounds: Callable[[], tuple[int, int]],
        open_reader: Callable[[int, int], Reader],
        registry: SignerRegistry,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self._chain = chain
        self._bounds = bounds
        self._open_reader = open_reader
        self._registry = registry
        self._monotonic = monotonic
        self._aside: set[Place] = set()
        self._begin()

    def ranges(self, shard: int, proved_no: int) -> ToldRanges:
        """The ranges of the shard beyond the one that the database proved last, the oldest RANGES_MAX at most, and the
        newest one up to it. Raises Unavailable, Refused."""
        closed_no = self._chain.newest(shard)
        if shard in self._cut and max(self._found[shard])[0] <= closed_no:
            self._begin()  # those that were held are closed
        if self._anchor is not None and not self._chain.chain_holds(*self._anchor):
            self._begin()  # the database was put back
        self._catch_up()
        found = dict(self._found.get(shard, {}))
        more = shard in self._cut
        end_seq = 0 if self._anchor is None else self._anchor[0]
        from_no = max(1, proved_no, closed_no - CLOSED_MAX)
        at_most = RANGES_MAX + CLOSED_MAX
        chained = self._chain.chained(shard, from_no, at_most) if end_seq else []
        for event in chained:
            place = f"the audit topic (seq {event.seq})"
            item = closed_range_of(event, place, shard, self._registry) if event.seq <= end_seq else None
            if item is not None:
                found.setdefault((item.range_no, item.proof_hash), item)
        if len(chained) == at_most:  # what follows them comes later, and nothing behind it comes before
            more, last_no = True, int(str(chained[-1].payload["range_no"]))
            found = {key: item for key, item in found.items() if key[0] <= last_no}
        more |= _trim(found, (proved_no, closed_no), RANGES_MAX)
        return ToldRanges([found[key] for key in sorted(found)], more)

    def _begin(self) -> None:
        self._found: _Found = {}
        self._cut: set[int] = set()  # shards of which more was announced than is held
        self._end = 0  # everything below this offset was read, or stands on the chain before the anchor
        self._anchor: tuple[int, str] | None = None  # seq and hash of the furthest event that topic and chain hold
        self._asked_at = float("-inf")

    def _catch_up(self) -> None:
        now = self._monotonic()
        if now - self._asked_at < FRESH_SECONDS:
            return
        low, high = self._bounds()
        if high < self._end:
            self._begin()  # another topic
        floor, at = max(low, self._end), high
        if floor < at:
            known = len(self._aside)
            self._read_back(floor, at, self._chain.chain_end(), self._chain.range_heads())
            if floor > low and len(self._aside) > known:
                self._begin()  # perhaps a range that was read before is set aside now: read it again, without it
                self._catch_up()
                return
        self._end, self._asked_at = high, now

    def _read_back(self, floor: int, at: int, chain_end: int, heads: dict[int, tuple[int, int]]) -> None:
        found: _Found = {}
        cut: set[int] = set()
        steps_left: int | None = None  # unknown until an event was met that the chain holds
        while floor < at and steps_left != 0:
            start = max(floor, at - STEP_RECORDS)
            records = _read(self._open_reader(start, at))
            for record in reversed(records):  # what is set aside stands in front of the event that says so
                place = aside(record, self._registry)
                if place is not None:
                    self._aside.add(place)
                shard, item = closed_range(record, self._registry, self._aside)
                if item is not None:
                    found.setdefault(shard, {}).setdefault((item.range_no, item.proof_hash), item)
            met = self._meets(records, chain_end)
            steps_left = steps_left - 1 if steps_left is not None else (1 if met else None)
            at = start
            self._bound(found, cut, heads)
        if at <= floor:  # nothing between what was read before and this
            for shard, items in self._found.items():
                found.setdefault(shard, {}).update(items)
            cut |= self._cut
            self._bound(found, cut, heads)
        self._found, self._cut = found, cut

    def _meets(self, records: Sequence[Record], chain_end: int) -> bool:
        """Whether the furthest of the events that count, up to the end of the chain, stands on it."""
        furthest: AuditEvent | None = None
        for record in reversed(records):
            try:
                event = AuditEvent.from_json(record.value or b"")
            except ValueError:
                continue
            beyond = event.seq <= chain_end and (furthest is None or event.seq > furthest.seq)
            if beyond and form_fault_of(event, self._registry) is None:
                furthest = event
                if event.seq == chain_end:
                    break
        if furthest is None or not self._chain.chain_holds(furthest.seq, furthest.hash):
            return False
        self._anchor = max(self._anchor or (0, ""), (furthest.seq, furthest.hash))
        return True

    @staticmethod
    def _bound(found: _Found, cut: set[int], heads: dict[int, tuple[int, int]]) -> None:
        at_most = min(RANGES_MAX, max(RANGES_EACH_MIN, RANGES_ALL_MAX // max(1, len(found))))
        cut.update(shard for shard, items in found.items() if _trim(items, heads.get(shard, (0, 0)), at_most))


def _trim(items: dict[tuple[int, str], PublishedRange], head: tuple[int, int], at_most: int) -> bool:
    """`head`: newest proved and newest closed range. Leave the newest range up to the proved one, the newest CLOSED_MAX
    from there to the closed one, and the oldest `at_most` beyond it; True: there are more of these."""
    proved_no, closed_no = head
    newest_no = max((no for no, _ in items if no <= proved_no), default=0)
    waiting_no = min(max(proved_no, closed_no - CLOSED_MAX), closed_no)
    beyond = sorted(key for key in items if key[0] > closed_no)[at_most:]
    for key in [*(key for key in items if key[0] <= waiting_no and key[0] != newest_no), *beyond]:
        del items[key]
    return bool(beyond)


def _read(reader: Reader) -> Sequence[Record]:
    records: list[Record] = []
    try:
        while not reader.done:
            records += reader.read(STEP_RECORDS)
    finally:
        reader.close()
    return records
