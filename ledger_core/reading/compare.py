"""Whether a projection says of an entry what the ledger's own bytes say. Pure.

Guarantees: every field that a projection keeps of an entry is compared but `known_at`, which the chain alone does not
give (`ledger_core.reading.known`). What the ledger's bytes mean is decided by the function that made the projection's
rows from the journal. Does not: check the chain: `finance verify ledger` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ledger_core.books.entries import decode_entry
from ledger_core.reading.rows import Leg, entry_row, time_us


class ComparedEntry(NamedTuple):
    """An entry as both sides have it."""

    entry_hash: bytes  # its link of the chain, 32 bytes
    event_id: str  # UUID
    event_type: str  # settlement.captured, ...
    settlement_id: str  # the shop's id
    order_id: str  # the shop's id
    provider: str | None  # name of the payment provider
    reference: str | None  # the provider's own id of the payment
    reverses: str | None  # event id of the entry that it takes back
    source_offset: int  # of the settlements topic
    occurred_us: int  # microseconds since 1970
    recorded_us: int  # microseconds since 1970
    effective_day: int  # UTC day of occurred_at, in days since 1970
    legs: tuple[Leg, ...]  # its lines, in their order


def of_ledger(body: bytes, entry_hash: bytes) -> ComparedEntry:
    """What the bytes of a posted entry say. Raises ValueError for what is not an entry."""
    entry = decode_entry(body)
    row = entry_row(entry, entry_hash, time_us(entry.recorded_at), 0)
    return ComparedEntry(
        row.entry_hash,
        row.event_id,
        row.event_type,
        row.settlement_id,
        row.order_id,
        row.provider,
        row.reference,
        row.reverses,
        row.source_offset,
        row.occurred_us,
        row.recorded_us,
        row.effective_day,
        tuple(row.legs),
    )


def differences(ledger: ComparedEntry, projection: ComparedEntry) -> Iterator[str]:
    """The fields that differ, in words without their values: an id may be a person's."""
    for name, ours, theirs in zip(ComparedEntry._fields, ledger, projection, strict=True):
        if ours != theirs:
            yield name
