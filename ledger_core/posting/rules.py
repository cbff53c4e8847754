"""From a settlement event to a draft of its entry, or to the reason why there will be none. Pure.

Guarantees: the verdict depends on the record's bytes alone (what the shard already holds is
`ledger_core.posting.sequencing`'s part): no clock, no configuration. So every limit below is part of the published
rules; changing one changes verdicts at replay and needs a new rules version. `occurred_at` and trace headers are not
content (G2).
Does not: read other events.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

from ledger_core.books.accounts import account_type, is_account
from ledger_core.books.entries import JournalEntry, Provider
from ledger_core.books.lines import AMOUNT_MINOR_MAX, Line
from ledger_core.books.money import CURRENCIES
from ledger_core.books.settlements import PII_SALT_BYTES_MIN, LineFields, ProviderFields, SettlementRecord
from ledger_core.errors import Rejected, RejectReason
from ledger_core.normal_form import is_nfc
from ledger_core.posting.plans import Content, Draft

LINES_MAX: Final = 1_000
METADATA_PAIRS_MAX: Final = 32
TEXT_CHARACTERS_MAX: Final = 512
PII_SALT_BYTES_MAX: Final = 64
OCCURRED_AT_US_MAX: Final = 253_402_300_799_999_999  # the last microsecond of year 9999

# One pass over the four names every event has; the parts are told apart only when this fails.
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,127}"
_IDS = re.compile(rf"{_UUID}\n[a-z][a-z0-9_.]{{0,63}}\n{_NAME}\n{_NAME}")
_UUID_ONLY = re.compile(_UUID)
_EVENT_TYPE_ONLY = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_NAME_ONLY = re.compile(_NAME)
_METADATA_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
# A control character takes six bytes of JSON (a journal record must stay below its topic's limit, whatever comes) and
# can steer the terminal of whoever reads an entry. Tab and line feed are harmless and short.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_KNOWN_ACCOUNTS_MAX = 500_000
_known_accounts: set[str] = set()  # accounts already found well-formed: a payable comes back thousands of times

_canonical = msgspec.json.Encoder(order="deterministic")


def draft(fields: SettlementRecord, key: bytes | None) -> Draft:
    """Check every rule that needs the event alone.

    Raises Rejected with the first rule broken, in a fixed order: names, key, time, metadata, lines, balance, the rest.
    """
    event_id = fields.event_id
    event_type = fields.event_type
    settlement_id = fields.settlement_id
    order_id = fields.order_id
    if _IDS.fullmatch(f"{event_id}\n{event_type}\n{settlement_id}\n{order_id}") is None:
        raise _bad_name(fields)
    if key is None or key != settlement_id.encode():
        raise Rejected(RejectReason.KEY_MISMATCH, "the message key must be the settlement_id")
    occurred_at_us = fields.occurred_at_us
    if not 0 <= occurred_at_us <= OCCURRED_AT_US_MAX:
        raise Rejected(RejectReason.BAD_FIELD, "occurred_at is outside the years 1970 to 9999")
    metadata = fields.metadata
    if metadata:
        metadata = _checked_metadata(metadata)
    _check_lines(fields.lines)
    provider = fields.provider
    reverses = fields.reverses
    if reverses is not None and _UUID_ONLY.fullmatch(reverses) is None:
        raise Rejected(RejectReason.BAD_FIELD, "reverses is not a lower-case uuid")
    pii, salt = fields.pii, fields.pii_salt
    pii_bytes, digest = (None, None) if pii is None and salt is None else _pii_digest(pii, salt)
    if provider is not None:
        _check_provider(provider)
    return Draft(
        event_id,
        event_type,
        settlement_id,
        order_id,
        occurred_at_us,
        fields.lines,
        metadata,
        provider,
        reverses,
        digest,
        pii_bytes,
        salt if pii_bytes is not None else None,
    )


def _check_lines(lines: list[LineFields]) -> None:
    """Every leg well-formed, and per currency debits = credits; whoever writes the entry checks the balance again."""
    if not lines:
        raise Rejected(RejectReason.UNBALANCED, "an event needs lines")
    if len(lines) > LINES_MAX:
        raise Rejected(RejectReason.OVERSIZE, f"{len(lines)} lines, more than {LINES_MAX}")
    totals: dict[str, int] = {}
    for account, side, amount, currency, memo in lines:
        if account not in _known_accounts:
            _learn_account(account)
        if currency not in CURRENCIES:
            raise Rejected(RejectReason.BAD_CURRENCY, f"{currency[:16]!r} is not an ISO 4217 code in use")
        if not 0 < amount <= AMOUNT_MINOR_MAX:
            raise Rejected(RejectReason.BAD_AMOUNT, f"amount_minor {amount} is not within 1 to {AMOUNT_MINOR_MAX}")
        if memo is not None:
            check_text("memo", memo)
        totals[currency] = totals.get(currency, 0) + (amount if side == "debit" else -amount)
    for currency, total in totals.items():
        if total:
            raise Rejected(RejectReason.UNBALANCED, f"{currency}: debits - credits = {total} minor units")


def _learn_account(account: str) -> None:
    if not is_account(account):
        account_type(account)  # raises the reason
    if len(_known_accounts) >= _KNOWN_ACCOUNTS_MAX:
        _known_accounts.clear()
    _known_accounts.add(account)


def _checked_metadata(metadata: dict[str, str]) -> dict[str, str]:
    if len(metadata) > METADATA_PAIRS_MAX:
        raise Rejected(RejectReason.OVERSIZE, f"{len(metadata)} metadata pairs, more than {METADATA_PAIRS_MAX}")
    for key, value in metadata.items():
        if _METADATA_KEY.fullmatch(key) is None:
            raise Rejected(RejectReason.BAD_FIELD, f"metadata key {key[:64]!r} is not a lower-case word")
        check_text("metadata value", value)
    return metadata


def check_text(what: str, text: str) -> None:
    """Text that canonical JSON can hold for ever: NFC, no control character, no lone surrogate, not too long. Raises
    Rejected for any other.
    """
    if len(text) > TEXT_CHARACTERS_MAX:
        raise Rejected(RejectReason.OVERSIZE, f"{what} has {len(text)} characters, more than {TEXT_CHARACTERS_MAX}")
    if not text.isprintable() and _CONTROL.search(text):
        raise Rejected(RejectReason.BAD_FIELD, f"{what} holds a control character")
    if text.isascii():
        return
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise Rejected(RejectReason.BAD_FIELD, f"{what} holds a lone surrogate")
    if not is_nfc(text):
        raise Rejected(RejectReason.BAD_FIELD, f"{what} is not in Unicode normal form C")


def _check_provider(fields: ProviderFields) -> None:
    name, reference, amount, currency = fields
    for what, text in (("name", name), ("reference", reference)):
        if _NAME_ONLY.fullmatch(text) is None:
            raise Rejected(
                RejectReason.BAD_FIELD, f"provider {what} is not 1 to 128 characters of A-Z a-z 0-9 ._:/@+=-"
            )
    if currency not in CURRENCIES:
        raise Rejected(RejectReason.BAD_CURRENCY, f"provider currency {currency[:16]!r} is not an ISO 4217 code in use")
    if not 0 < amount <= AMOUNT_MINOR_MAX:
        raise Rejected(RejectReason.BAD_AMOUNT, f"provider amount_minor {amount} is not within 1 to {AMOUNT_MINOR_MAX}")


def _pii_digest(pii: dict[str, str] | None, salt: bytes | None) -> tuple[bytes, str]:
    """SHA256(canonical(pii) || salt): the entry can be published, the person cannot be guessed from it."""
    if pii is None or salt is None:
        raise Rejected(RejectReason.BAD_FIELD, "pii and pii_salt come together or not at all")
    if not PII_SALT_BYTES_MIN <= len(salt) <= PII_SALT_BYTES_MAX:
        wanted = f"{PII_SALT_BYTES_MIN} to {PII_SALT_BYTES_MAX}"
        raise Rejected(RejectReason.BAD_FIELD, f"pii_salt has {len(salt)} bytes, not {wanted}")
    if len(pii) > METADATA_PAIRS_MAX:
        raise Rejected(RejectReason.OVERSIZE, f"{len(pii)} pii pairs, more than {METADATA_PAIRS_MAX}")
    for key, value in pii.items():
        if _METADATA_KEY.fullmatch(key) is None:
            raise Rejected(RejectReason.BAD_FIELD, "a pii key is not a lower-case word")
        check_text("pii value", value)
    canonical = _canonical.encode(pii)
    return canonical, hashlib.sha256(canonical + salt).hexdigest()


def _bad_name(fields: SettlementRecord) -> Rejected:
    if _UUID_ONLY.fullmatch(fields.event_id) is None:
        return Rejected(RejectReason.BAD_FIELD, "event_id is not a lower-case uuid")
    if _EVENT_TYPE_ONLY.fullmatch(fields.event_type) is None:
        return Rejected(RejectReason.BAD_FIELD, "event_type is not a lower-case dotted word of up to 64 characters")
    field = "order_id" if _NAME_ONLY.fullmatch(fields.settlement_id) else "settlement_id"
    return Rejected(RejectReason.BAD_FIELD, f"{field} is not 1 to 128 characters of A-Z a-z 0-9 ._:/@+=-")


def claimed_event_id(fields: SettlementRecord) -> str | None:
    """The event id of a rejected event, when it is one: its verdict is then kept under it."""
    return fields.event_id if _UUID_ONLY.fullmatch(fields.event_id) else None


def content_of(asked: Draft | JournalEntry) -> Content:
    """The content of what is asked now, or of what was posted then."""
    if isinstance(asked, Draft):
        lines = tuple(
            Line(account=account, amount_minor=str(amount), currency=currency, memo=memo, side=side)
            for account, side, amount, currency, memo in asked.lines
        )
        provider = None
        if asked.provider is not None:
            name, reference, amount_minor, unit = asked.provider
            provider = Provider(amount_minor=str(amount_minor), currency=unit, name=name, reference=reference)
    else:
        lines, provider = asked.lines, asked.provider
    return Content(
        event_id=asked.event_id,
        event_type=asked.event_type,
        lines=lines,
        metadata=asked.metadata,
        order_id=asked.order_id,
        pii_digest=asked.pii_digest,
        provider=provider,
        reverses=asked.reverses,
        settlement_id=asked.settlement_id,
    )


def content_hash(content: Content) -> bytes:
    """SHA-256 of the canonical content."""
    return hashlib.sha256(_canonical.encode(content)).digest()


def differing_fields(one: Content, other: Content) -> list[str]:
    """Names of the fields in which two askings under one event id differ, in key order."""
    return [name for name in Content.__struct_fields__ if getattr(one, name) != getattr(other, name)]
