"""The rules on the fields of an event, each said once: whoever posts asks them, and whoever checks an entry asks again.

Guarantees: a field passes, or its check raises Rejected, on its own text and number alone: no clock, no configuration.
So every limit below is part of the published rules; changing one changes verdicts at replay, and makes a new version of
the rules. What differs between versions is passed in as a `RuleSet` (`ledger_core.books.rule_versions`); what stands
here as a constant is the same in all of them.
Does not: decide in which order rules are asked (`ledger_core.posting.rules` for an event that comes,
`ledger_core.books.entry_rules` for an entry that was posted), or read other events.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ledger_core.books.accounts import account_type, is_account
from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.books.rule_versions import RULES_1, RuleSet
from ledger_core.errors import Rejected, RejectReason
from ledger_core.normal_form import is_nfc
from ledger_core.ports import NO_APPEND_TIME_MS

if TYPE_CHECKING:  # settlements asks these rules itself, of personal data
    from ledger_core.books.settlements import LineFields

LINES_MAX: Final = 1_000
METADATA_PAIRS_MAX: Final = RULES_1.metadata_pairs_max  # of pii, by all rules; of metadata, by rules 1
TEXT_CHARACTERS_MAX: Final = 512
# Times of an entry are computed with: windows and locks are added to them. Bounds are constants, never the clock.
OCCURRED_AT_US_MAX: Final = 7_258_118_399_999_999  # the last microsecond of year 2199
RECORDED_AT_MS_MIN: Final = 946_684_800_000  # the first millisecond of year 2000: no broker is older
RECORDED_AT_MS_MAX: Final = OCCURRED_AT_US_MAX // 1000

UUID_FORM: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
EVENT_TYPE_FORM: Final = "[a-z][a-z0-9_.]{0,63}+"
NAME_FORM: Final = "[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,127}+"
# One pass over the four names every event has; the parts are told apart only when this fails.
_NAMES = re.compile(rf"{UUID_FORM}\n{EVENT_TYPE_FORM}\n{NAME_FORM}\n{NAME_FORM}")
is_uuid = re.compile(UUID_FORM).fullmatch
_is_event_type = re.compile(EVENT_TYPE_FORM).fullmatch
is_name = re.compile(NAME_FORM).fullmatch
_is_digest = re.compile("[0-9a-f]{64}").fullmatch
_METADATA_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
# A control character takes six bytes of JSON (a journal record must stay below its topic's limit, whatever comes) and
# can steer the terminal of whoever reads an entry. Tab and line feed are harmless and short.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_KNOWN_BYTES_MAX = 36_000_000  # 250,000 ordinary accounts
_KNOWN_BYTES = 115  # of an account beside its characters
_known_accounts: set[str] = set()  # accounts already found well-formed: a payable comes back thousands of times
_known_characters = 0  # of all of them


def check_names(event_id: str, event_type: str, settlement_id: str, order_id: str) -> None:
    """Raise Rejected for the first name without its form."""
    if _NAMES.fullmatch(f"{event_id}\n{event_type}\n{settlement_id}\n{order_id}") is None:
        raise _bad_name(event_id, event_type, settlement_id)


def check_occurred_at(occurred_at_us: int) -> None:
    """Raise Rejected for a business time outside the bounds."""
    if not 0 <= occurred_at_us <= OCCURRED_AT_US_MAX:
        raise Rejected(RejectReason.BAD_FIELD, "occurred_at is outside the years 1970 to 2199")


def check_recorded_at(timestamp_ms: int) -> None:
    """Raise Rejected unless the record's own time, which the broker gave it, is within the bounds."""
    if timestamp_ms == NO_APPEND_TIME_MS:
        raise Rejected(RejectReason.BAD_FIELD, "the record's time is its publisher's, not the broker's: send it again")
    if not RECORDED_AT_MS_MIN <= timestamp_ms <= RECORDED_AT_MS_MAX:
        message = f"the record's timestamp {timestamp_ms} ms is outside the years 2000 to 2199"
        raise Rejected(RejectReason.BAD_FIELD, message)


def check_lines(lines: Sequence[LineFields], rules: RuleSet = RULES_1) -> None:
    """Every leg well-formed, and per currency debits = credits, or Rejected is raised; whoever writes the entry checks
    the balance again."""
    check_line_count(len(lines))
    totals: dict[str, int] = {}
    currencies = rules.currencies
    for account, side, amount, currency, memo in lines:
        if account not in _known_accounts:
            _learn_account(account)
        if currency not in currencies:
            raise _bad_currency(currency)
        if not 0 < amount <= AMOUNT_MINOR_MAX:
            raise Rejected(RejectReason.BAD_AMOUNT, f"amount_minor {amount} is not within 1 to {AMOUNT_MINOR_MAX}")
        if memo is not None:
            check_text("memo", memo)
        totals[currency] = totals.get(currency, 0) + (amount if side == "debit" else -amount)
    for currency, total in totals.items():
        if total:
            raise Rejected(RejectReason.UNBALANCED, f"{currency}: debits - credits = {total} minor units")


def check_line_count(count: int) -> None:
    """Raise Rejected for no line, or too many."""
    if count == 0:
        raise Rejected(RejectReason.UNBALANCED, "an event needs lines")
    if count > LINES_MAX:
        raise Rejected(RejectReason.OVERSIZE, f"{count} lines, more than {LINES_MAX}")


def check_account(account: str) -> None:
    """Raise Rejected for what is not an account."""
    if account not in _known_accounts:
        _learn_account(account)


def check_currency(currency: str, rules: RuleSet = RULES_1) -> None:
    """Raise Rejected for a code that the rules do not have."""
    if currency not in rules.currencies:
        raise _bad_currency(currency)


def check_metadata(metadata: dict[str, str], rules: RuleSet = RULES_1) -> None:
    """Raise Rejected for too many pairs, or one without its form."""
    if len(metadata) > rules.metadata_pairs_max:
        raise Rejected(RejectReason.OVERSIZE, f"{len(metadata)} metadata pairs, more than {rules.metadata_pairs_max}")
    for key, value in metadata.items():
        if not is_metadata_key(key):
            raise Rejected(RejectReason.BAD_FIELD, f"metadata key {key[:64]!r} is not a lower-case word")
        check_text("metadata value", value)


def is_metadata_key(key: str) -> bool:
    """Whether it is a lower-case word."""
    return _METADATA_KEY.fullmatch(key) is not None


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


def check_reverses(reverses: str | None) -> None:
    """Raise Rejected for what is not a UUID."""
    if reverses is not None and is_uuid(reverses) is None:
        raise Rejected(RejectReason.BAD_FIELD, "reverses is not a lower-case uuid")


def check_pii_digest(digest: str) -> None:
    """Raise Rejected for what is not a hash."""
    if _is_digest(digest) is None:
        raise Rejected(RejectReason.BAD_FIELD, "pii_digest is not a hash of 64 lower-case hex digits")


def check_provider(name: str, reference: str, amount: int, currency: str, rules: RuleSet = RULES_1) -> None:
    """Raise Rejected for a name, an amount or a currency outside the rules."""
    for what, text in (("name", name), ("reference", reference)):
        if is_name(text) is None:
            raise Rejected(
                RejectReason.BAD_FIELD, f"provider {what} is not 1 to 128 characters of A-Z a-z 0-9 ._:/@+=-"
            )
    if currency not in rules.currencies:
        raise Rejected(RejectReason.BAD_CURRENCY, f"provider currency {currency[:16]!r} is not an ISO 4217 code in use")
    if not 0 < amount <= AMOUNT_MINOR_MAX:
        raise Rejected(RejectReason.BAD_AMOUNT, f"provider amount_minor {amount} is not within 1 to {AMOUNT_MINOR_MAX}")


def _learn_account(account: str) -> None:
    global _known_characters
    if not is_account(account):
        account_type(account)  # raises the reason
    if _known_characters + _KNOWN_BYTES * len(_known_accounts) >= _KNOWN_BYTES_MAX:
        _known_accounts.clear()
        _known_characters = 0
    _known_accounts.add(account)
    _known_characters += len(account)


def _bad_currency(currency: str) -> Rejected:
    return Rejected(RejectReason.BAD_CURRENCY, f"{currency[:16]!r} is not an ISO 4217 code in use")


def _bad_name(event_id: str, event_type: str, settlement_id: str) -> Rejected:
    if is_uuid(event_id) is None:
        return Rejected(RejectReason.BAD_FIELD, "event_id is not a lower-case uuid")
    if _is_event_type(event_type) is None:
        return Rejected(RejectReason.BAD_FIELD, "event_type is not a lower-case dotted word of up to 64 characters")
    field = "order_id" if is_name(settlement_id) else "settlement_id"
    return Rejected(RejectReason.BAD_FIELD, f"{field} is not 1 to 128 characters of A-Z a-z 0-9 ._:/@+=-")
