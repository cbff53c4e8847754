"""The whole story of a settlement, an order or an event, from a projection.

Guarantees: of the caller's snapshot and the position that it names; an event whose record posted nothing is answered
with what became of it, and where what became of older records is not known, that is said. Bounded: the first
ENTRIES_MAX entries and as many other attempts, and it says when there are more. Does not: know why a record was
rejected in words (`finance dlq show` does).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ledger_core.postgres.reading.asking import Asked
from ledger_core.postgres.reading.projection_entries import By
from ledger_core.postgres.reading.projection_links import LinkOfEntry, link_of
from ledger_core.postgres.reading.projection_verdicts import (
    verdicts_known_from,
    verdicts_of_event,
    verdicts_of_settlement,
)
from ledger_core.postgres.reading.questions import EntryAnswer, Position, entries
from ledger_core.reading.story import Net, net_of, taken_back
from ledger_core.reading.verdicts import ProjectedVerdict

ENTRIES_MAX: Final = 200


class Story(NamedTuple):
    """What happened to a settlement, an order or an event."""

    entries: list[EntryAnswer]  # in the order in which they were known
    attempts: Sequence[ProjectedVerdict]  # records that posted nothing: duplicates and rejected ones
    attempts_from: Mapping[int, int]  # shards of which older attempts are not known: from this settlements offset on
    net: list[Net]  # what the entries come to
    reversed_by: dict[str, str]  # event id -> event id of the entry that took it back
    links: dict[tuple[int, int], LinkOfEntry]  # (shard, sequence) -> its range, proof and object, once it is closed
    more: bool  # whether there is more than this

    @property
    def found(self) -> bool:
        """Whether anything is known of it."""
        return bool(self.entries or self.attempts)


def story_of(asked: Asked, by: By, name: str, position: Position) -> Story:
    """Everything that is called so. An event id must be a UUID."""
    page = entries(asked, by, name, position, limit=ENTRIES_MAX)
    attempts: Sequence[ProjectedVerdict] = ()
    known_from: Mapping[int, int] = {} if by not in (By.EVENT, By.SETTLEMENT) else verdicts_known_from(asked.connection)
    if by is By.EVENT:
        attempts = verdicts_of_event(asked.connection, name, limit=ENTRIES_MAX + 1)
    elif by is By.SETTLEMENT:
        attempts = verdicts_of_settlement(asked.connection, name, limit=ENTRIES_MAX + 1)
    told = sorted(page.entries, key=lambda it: (it.entry.known_at, it.entry.shard, it.entry.seq))
    return Story(
        told,
        attempts[:ENTRIES_MAX],
        known_from,
        net_of(leg for it in told for leg in it.legs),
        taken_back((it.entry.event_id, it.entry.reverses) for it in told),
        _links(asked, told),
        page.next is not None or len(attempts) > ENTRIES_MAX,
    )


def _links(asked: Asked, told: Sequence[EntryAnswer]) -> dict[tuple[int, int], LinkOfEntry]:
    found = {(it.entry.shard, it.entry.seq): link_of(asked.connection, it.entry.shard, it.entry.seq) for it in told}
    return {place: link for place, link in found.items() if link is not None}
