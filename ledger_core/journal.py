"""The journal entry: the balanced record of one settlement event, and the bytes that are chained.

Fields are declared in the order of their names, so that encoding a struct *is* canonical JSON (RFC 8785 on the safe
subset of `ledger_core.canonical`). An unbalanced entry cannot be constructed, also not by decoding one.
Whether the texts have the right form is decided in `ledger_core.posting_rules`, before an entry is made.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

ENTRY_VERSION: Final = 1
AMOUNT_MINOR_MAX: Final = 10**15  # one leg; ten thousand billion dollars in cents, far inside a bigint

Side = Literal["credit", "debit"]


class Line(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One leg. `amount_minor` is a positive decimal integer of the currency's minor units, as text."""

    account: str
    amount_minor: str
    currency: str
    memo: str | None = None
    side: Side


class Provider(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, kw_only=True):
    """What the payment provider was asked for: reconciliation matches on it."""

    amount_minor: str
    currency: str
    name: str
    reference: str


class Source(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, kw_only=True):
    """The Kafka record that asked for the posting. `offset` is a decimal integer, as text."""

    offset: str
    partition: int
    topic: str


class EntryFields(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of an entry, in canonical order, before anybody asked whether the lines balance.

    Only `ledger_core.verify_entries` decodes into it: it checks the balance of thousands of entries at once.
    """

    event_id: str
    event_type: str
    lines: tuple[Line, ...]
    metadata: dict[str, str]
    occurred_at: str
    order_id: str
    pii_digest: str | None = None
    provider: Provider | None = None
    recorded_at: str
    reverses: str | None = None
    seq: str
    settlement_id: str
    shard: int
    source: Source
    version: Literal[1]


class JournalEntry(EntryFields, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """The canonical journal entry (DESIGN, section 6). Times are RFC 3339 UTC with six decimals and `Z`.

    Raises ValueError on construction when there are no lines, when an amount is not a positive decimal integer up to
    AMOUNT_MINOR_MAX, or when debits differ from credits in any currency; decoding turns it into
    msgspec.ValidationError.
    """

    def __post_init__(self) -> None:
        check_balanced(self.lines)


def check_balanced(lines: tuple[Line, ...]) -> None:
    """Raise ValueError unless there are lines and, per currency, debits equal credits (G1)."""
    if not lines:
        raise ValueError("an entry needs lines")
    currency = lines[0].currency
    total = 0
    for line in lines:
        text = line.amount_minor
        amount = int(text)
        if not (0 < amount <= AMOUNT_MINOR_MAX) or str(amount) != text:
            raise ValueError(f"amount_minor {text!r} is not a positive decimal integer up to {AMOUNT_MINOR_MAX}")
        if line.currency != currency:
            _check_balanced_each_currency(lines)
            return
        if line.side == "debit":
            total += amount
        else:
            total -= amount
    if total:
        raise ValueError(f"unbalanced in {currency}: debits - credits = {total} minor units")


def _check_balanced_each_currency(lines: tuple[Line, ...]) -> None:
    totals: dict[str, int] = {}
    for line in lines:
        amount = int(line.amount_minor)
        if not (0 < amount <= AMOUNT_MINOR_MAX) or str(amount) != line.amount_minor:
            raise ValueError(f"amount_minor {line.amount_minor!r} is not a positive decimal integer")
        totals[line.currency] = totals.get(line.currency, 0) + (amount if line.side == "debit" else -amount)
    for currency, total in sorted(totals.items()):
        if total:
            raise ValueError(f"unbalanced in {currency}: debits - credits = {total} minor units")


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
