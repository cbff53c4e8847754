"""What becomes of a record of the side topic, and of a row that waits. Pure.

Guarantees: what is kept has the digest of its entry; what is refused is noted by where it stood and its salted digest,
and nothing else. A publisher who writes under another one's event id adds data that wait, and replaces none: the
entry's digest decides between them, and it was signed for.
Does not: decide for an event that is not posted: its data wait, and are dropped when they waited for too long.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ledger_core.books.personal import NewRow, RefusedRow, SealedData, WaitingRow, sealed
from ledger_core.errors import Rejected
from ledger_core.ports import Record
from schemas.wire.personal import decode_personal, erased_event_id

ERASED = "erased"  # of an event whose data were erased
OTHER_DIGEST = "other_digest"  # its entry has another digest, or none
NO_EVENT = "no_event"  # nothing was posted under the event id in time
NOT_DECIDED = "not_decided"  # a record without a value, for data that no operator erased


@dataclass(frozen=True, slots=True)
class Read:
    """One record, read: data, or whose data it erases, or why it is neither."""

    offset: int  # where the record stood
    event_id: str | None = None  # None when it is neither
    data: SealedData | None = None  # None where it erases
    refused: str = ""  # a word; empty when it was read


@dataclass(slots=True)
class Sorted:
    """A batch of one partition, sorted."""

    rows: list[NewRow] = field(default_factory=list)  # to be added
    refused: list[RefusedRow] = field(default_factory=list)  # to be noted


def read(record: Record) -> Read:
    """Never raises: what cannot be read is refused, with the reason of the settlements' own list."""
    try:
        if record.value is None:
            return Read(record.offset, erased_event_id(record.key))
        found = decode_personal(record.key, record.value)
        return Read(record.offset, found.event_id, sealed(found.pii, found.salt))
    except Rejected as rejected:
        return Read(record.offset, refused=rejected.reason.value)


def sort(partition: int, reads: Iterable[Read], digests: Mapping[str, bytes | None], erased: Collection[str]) -> Sorted:
    """`digests`: of the entries that stand already. A row is new even where its entry stands: who erases meanwhile
    meets it among those that wait."""
    result = Sorted()

    def refuse(it: Read, word: str) -> None:
        digest = None if it.data is None else it.data.digest
        result.refused.append(RefusedRow(partition, it.offset, digest, word))

    for it in reads:
        if it.event_id is None:
            refuse(it, it.refused)
        elif it.data is None:
            if it.event_id not in erased:  # any publisher can send one: it says nothing by itself
                refuse(it, NOT_DECIDED)
        elif it.event_id in erased:
            refuse(it, ERASED)
        elif it.event_id in digests and digests[it.event_id] != it.data.digest:
            refuse(it, OTHER_DIGEST)
        else:
            result.rows.append(NewRow(it.event_id, it.data.digest, it.data.canonical, it.data.salt, it.offset))
    return result


def verdict(row: WaitingRow, digests: Mapping[str, bytes | None], erased: Collection[str]) -> str | None:
    """What becomes of a row that waits: empty, it is kept; a word, it goes, and why; None, it waits on."""
    if row.event_id in erased:
        return ERASED
    if row.event_id in digests:
        return "" if digests[row.event_id] == row.digest else OTHER_DIGEST
    return NO_EVENT if row.is_late else None
