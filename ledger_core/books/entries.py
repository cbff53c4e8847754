"""The journal entry: the balanced record of one settlement event, and the bytes that are chained.

Fields are declared in the order of their names, so that encoding a struct *is* canonical JSON (RFC 8785 on the safe
subset of `ledger_core.canonical`). An unbalanced entry cannot be constructed, also not by decoding one.
Whether the texts have the right form is decided in `ledger_core.posting.rules`, before an entry is made.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ledger_core.books.balance import check_balanced
from ledger_core.books.lines import Line

ENTRY_VERSION: Final = 1


class Provider(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, kw_only=True):
    """What the payment provider was asked for: reconciliation matches on it."""

    amount_minor: str  # what was asked for, in minor units, decimal text
    currency: str  # three capital letters, ISO 4217
    name: str  # the provider, such as stripe
    reference: str  # the provider's own id of the payment


class EntrySource(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, kw_only=True):
    """The Kafka record that asked for the posting. `offset` is a decimal integer, as text."""

    offset: str
    partition: int  # of the settlements topic; equal to the shard
    topic: str  # Kafka topic, prefix included
    value_sha256: str  # of the record's value, lower-case hex; its key is the settlement_id


class EntryFields(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of an entry, in canonical order, before anybody asked whether the lines balance.

    Only `ledger_core.books.entry_checks` decodes into it: it checks the balance of thousands of entries at once.
    """

    event_id: str  # UUID that the publisher gave; one event id, one posting
    event_type: str  # settlement.captured, settlement.refunded, ...
    lines: tuple[Line, ...]  # in the publisher's order; debits equal credits in each currency
    metadata: dict[str, str]  # the publisher's own pairs, kept as they came
    occurred_at: str  # business time, UTC, microseconds; set by the publisher
    order_id: str  # the shop's id
    pii_digest: str | None = None  # SHA-256, hex, of salt and pii; the pii itself stays outside
    provider: Provider | None = None  # what the payment provider was asked for, if anything
    recorded_at: str  # broker's append time of the record, UTC; may go back along a shard, as brokers' clocks do
    reverses: str | None = None  # event id of the entry that this one takes back
    rules: int = 1  # version of the posting rules that judged the event; left out when it is the first
    seq: str  # decimal text; the shard's entries count from 1 without a gap
    settlement_id: str  # the shop's id; the key of the record
    shard: int  # number of the shard: the partition of the settlements topic, from 0
    source: EntrySource  # the record that asked for it
    version: Literal[1]  # of the entry's format


class JournalEntry(EntryFields, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """The canonical journal entry (docs/FORMATS.md). Times are RFC 3339 UTC with six decimals and `Z`.

    Raises ValueError on construction when there are no lines, when an amount is not a positive decimal integer up to
    AMOUNT_MINOR_MAX, or when debits differ from credits in any currency; decoding turns it into
    msgspec.ValidationError.
    """

    def __post_init__(self) -> None:
        check_balanced(self.lines)


_encoder = msgspec.json.Encoder(order="deterministic")  # sorts `metadata`; struct fields are declared sorted
_decoder = msgspec.json.Decoder(JournalEntry)

encode_entry = _encoder.encode
"""JournalEntry -> canonical bytes. Texts must already be NFC without NUL or lone surrogates."""


def decode_entry(data: bytes) -> JournalEntry:
    """Canonical bytes -> JournalEntry, refusing anything that does not encode back to the same bytes.

    That one comparison refuses duplicate keys, blanks, other key order, other escapes and other number spellings.
    Raises ValueError (msgspec.ValidationError among them).
    """
    entry = _decoder.decode(data)
    if _encoder.encode(entry) != data:
        raise ValueError("not in canonical form: encoding it again gives other bytes")
    return entry
