"""Putting back from the settlements topic what the archive leaves out: originals of dead letters.

Guarantees: nothing is put in that was not proved: an original's content hash must be that of its verdict line. A record
that does not match says that the topic is another one: Refused. What the topic no longer holds stays missing, and is
counted. Run again, it goes on.
Does not: bring back the words beside a verdict, or change anything that is there. Personal data have a topic of their
own, which the keeper reads anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from consumers.posting.decision import decide
from ledger_core.books.rule_versions import VERSIONS
from ledger_core.errors import Refused
from ledger_core.ports import Record
from ledger_core.posting.plans import Draft
from ledger_core.posting.rules import content_hash, content_of

PAGE: Final = 1_000  # what is missing, asked for at once
FOUND_BYTES_MAX: Final = 8 * 1024 * 1024  # of originals, put back in one transaction


class MissingOriginal(Protocol):
    @property
    def offset(self) -> int: ...
    @property
    def content_hash(self) -> bytes | None: ...


class FillRows(Protocol):
    """See `ledger_core.postgres.recovery.fill_store`."""

    def shards(self) -> list[tuple[int, str]]: ...

    def missing_originals(self, shard: int, after_offset: int, limit: int) -> Sequence[MissingOriginal]: ...

    def add_originals(self, shard: int, records: Sequence[Record]) -> None: ...


class Records(Protocol):
    """See `consumers.kafka.topic_reader.TopicReader`."""

    def records(self, topic: str, partition: int, offsets: Sequence[int]) -> Iterator[Record]: ...


@dataclass(frozen=True, slots=True)
class Filled:
    """What was put back."""

    dead_letter_originals: int  # rows put back


def fill(rows: FillRows, topic: Records, advance: Callable[[int], None] = lambda _count: None) -> Filled:
    """Fill every shard. Raises Refused, Unavailable; what was put back before stays."""
    originals = 0
    for shard, name in rows.shards():
        originals += _fill_originals(rows, topic, shard, name, advance)
    return Filled(originals)


def _fill_originals(rows: FillRows, topic: Records, shard: int, name: str, advance: Callable[[int], None]) -> int:
    filled, after = 0, -1
    while missing := rows.missing_originals(shard, after, PAGE):
        after = missing[-1].offset
        wanted = {item.offset: item.content_hash for item in missing}
        found: list[Record] = []
        size = 0
        for record in topic.records(name, shard, sorted(wanted)):
            digests = {hashlib.sha256(record.value or b"").digest()}  # of a record that was rejected unread
            for rules in VERSIONS.values():  # by whichever of them it was rejected: the content is that of the verdict
                outcome = decide(record, rules).outcome
                if isinstance(outcome, Draft):
                    digests.add(content_hash(content_of(outcome)))
            if wanted[record.offset] not in digests:
                raise _another(record, "its content is not what was rejected there")
            found.append(record)
            size += len(record.value or b"") + len(record.key or b"")
            if size >= FOUND_BYTES_MAX:
                rows.add_originals(shard, found)
                advance(len(found))
                filled, found, size = filled + len(found), [], 0
        rows.add_originals(shard, found)
        filled += len(found)
        advance(len(found))
    return filled


def _another(record: Record, what: str) -> Refused:
    place = f"{record.topic} [{record.partition}], offset {record.offset}"
    return Refused(
        f"{place}: not the topic that this ledger grew from: {what}",
        remedy="check KAFKA_BROKERS and FINANCE_TOPIC_PREFIX; leave --fill-from-topic out if the topic is lost",
    )
