"""An entry as the projection keeps it. Pure.

Guarantees: no text that a publisher may fill as it likes: memo, metadata and the digest of personal data stay in the
ledger, where the entry's body is read by shard and sequence. Ids, accounts and the provider's reference have a form.
Does not: say where a line stands in its account's series; who writes it numbers it.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from typing import Final

import msgspec

from ledger_core.books.entries import EntryFields
from ledger_core.times import EPOCH

DAY_US: Final = 86_400 * 1_000_000
MONTHS_A_YEAR: Final = 12


class Leg(msgspec.Struct, frozen=True, gc=False):
    """A line of an entry."""

    account: str  # path of the account
    currency: str  # three capital letters, ISO 4217
    amount_minor: int  # minor units; a debit is positive, a credit negative


class ProjectedEntry(msgspec.Struct, frozen=True, gc=False):
    """An entry, with what questions find it by."""

    shard: int  # number of the shard, from 0
    seq: int  # place in the shard's chain, from 1
    entry_hash: bytes  # its link of the chain, 32 bytes
    event_id: str  # UUID
    event_type: str  # settlement.captured, ...
    settlement_id: str  # the shop's id
    order_id: str  # the shop's id
    provider: str | None  # name of the payment provider
    reference: str | None  # the provider's own id of the payment
    reverses: str | None  # event id of the entry that it takes back
    source_offset: int  # offset of its record in the settlements topic
    occurred_us: int  # business time, microseconds since 1970
    recorded_us: int  # the broker's time, microseconds since 1970
    known_us: int  # since when the ledger knows it (ledger_core.reading.known)
    legs: Sequence[Leg]  # its lines, in their order

    @property
    def effective_day(self) -> int:
        """The UTC day of occurred_at, in days since 1970."""
        return self.occurred_us // DAY_US

    @property
    def known_month(self) -> int:
        """The month since which it is known, as months since the year 0: the partition it is kept in."""
        return month_of(self.known_us)


def month_of(moment_us: int) -> int:
    """Months since the year 0, UTC: 2025-11 is 24310."""
    return _month_of_day(moment_us // DAY_US)


@functools.lru_cache(maxsize=1024)
def _month_of_day(day: int) -> int:
    moment = EPOCH + dt.timedelta(days=day)
    return moment.year * MONTHS_A_YEAR + moment.month - 1


def time_us(text: str) -> int:
    """Microseconds since 1970 of a time of an entry, whose form was checked."""
    since = dt.datetime.fromisoformat(text) - EPOCH
    return since.days * DAY_US + since.seconds * 1_000_000 + since.microseconds  # a division costs seven times that


def entry_row(entry: EntryFields, entry_hash: bytes, recorded_us: int, known_us: int) -> ProjectedEntry:
    """The row of an entry whose form and balance were checked."""
    provider = entry.provider
    return ProjectedEntry(
        entry.shard,
        int(entry.seq),
        entry_hash,
        entry.event_id,
        entry.event_type,
        entry.settlement_id,
        entry.order_id,
        None if provider is None else provider.name,
        None if provider is None else provider.reference,
        entry.reverses,
        int(entry.source.offset),
        time_us(entry.occurred_at),
        recorded_us,
        known_us,
        [
            Leg(leg.account, leg.currency, int(leg.amount_minor) * (1 if leg.side == "debit" else -1))
            for leg in entry.lines
        ],
    )
