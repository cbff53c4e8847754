"""The settlement event: what a publisher asks Finance to post, before any rule of posting was applied.

Two shapes of the same thing. `SettlementEvent` is the publisher's: it cannot be constructed unbalanced, without a
UUID, or with a time that is not UTC. `SettlementRecord` is the poster's: the fields exactly as they stood in the bytes,
nothing checked, because what is wrong with them is a verdict (`ledger_core.posting.rules`), not an exception here.
Balanced here does not mean posted: account names, currencies and limits are judged by the posting rules.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final, Literal, TypeAlias

import msgspec

from ledger_core.books.lines import AMOUNT_MINOR_MAX, Side
from ledger_core.books.personal import SALT_BYTES_MAX, SALT_BYTES_MIN, sealed

SETTLEMENT_BYTES_MAX: Final = 1_048_576  # of the message value; Kafka's own limit counts compressed bytes
EVENT_ID_FORM: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

LineFields: TypeAlias = tuple[str, Side, int, str, str | None]
"""account, side, amount_minor, currency, memo: a line as it stood in the bytes, unchecked but for the side."""

ProviderFields: TypeAlias = tuple[str, str, int, str]
"""name, reference, amount_minor, currency: as it stood in the bytes, unchecked."""


class UnbalancedLines(ValueError):
    """Debits differ from credits in some currency."""


class SettlementRecord(msgspec.Struct, frozen=True, gc=False):
    """One decoded settlement event, unchecked. `occurred_at_us` is microseconds since 1970-01-01 UTC."""

    event_id: str  # UUID that the publisher gave; one event id, one posting
    event_type: str  # settlement.captured, settlement.refunded, ...
    settlement_id: str  # the shop's id; the key of the record
    order_id: str  # the shop's id
    occurred_at_us: int
    lines: list[LineFields]  # as decoded, in the publisher's order
    provider: ProviderFields | None  # what the payment provider was asked for, if anything
    reverses: str | None  # event id of the entry that this one takes back
    pii_digest: str | None  # SHA-256, hex, of personal data and salt, which stand nowhere here
    metadata: dict[str, str]  # the publisher's own pairs, kept as they came


class SettlementLine(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """One leg as the publisher writes it; `amount_minor` is a positive integer of minor units."""

    account: str  # path of the account, such as asset:psp:stripe
    side: Literal["debit", "credit"]  # debit or credit
    amount_minor: int
    currency: str  # three capital letters, ISO 4217
    memo: str | None = None  # free text


class SettlementProvider(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What the payment provider was asked for: reconciliation matches on it."""

    name: str  # the provider, such as stripe
    reference: str  # the provider's own id of the payment
    amount_minor: int  # what was asked for, in minor units
    currency: str  # three capital letters, ISO 4217


class SettlementEvent(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A settlement event that balances. Raises ValueError on construction, naming the field and what it wants.

    Personal data and their salt are the publisher's own: they never travel in the event, which has their digest alone.
    """

    event_id: str  # UUID that the publisher gave; one event id, one posting
    event_type: str  # settlement.captured, settlement.refunded, ...
    settlement_id: str  # the shop's id; the key of the record
    order_id: str  # the shop's id
    occurred_at: dt.datetime  # business time; with a time zone
    lines: tuple[SettlementLine, ...]  # at least two; debits equal credits in each currency
    provider: SettlementProvider | None = None  # what the payment provider was asked for, if anything
    reverses: str | None = None  # event id of the entry that this one takes back
    pii: dict[str, str] | None = None  # personal data; published beside the event
    pii_salt: bytes | None = None  # salt of pii_digest; set exactly when pii is
    pii_digest: str | None = None  # of data that were published before; left out where pii is given
    metadata: dict[str, str] = {}  # msgspec gives every struct its own

    def __post_init__(self) -> None:
        _check_identity(self)
        check_lines(self.lines)
        if self.provider is not None:
            _check_amount(self.provider.amount_minor, "provider.amount_minor")
        if (self.pii is None) != (self.pii_salt is None):
            raise ValueError("pii and pii_salt come together: without a salt the digest of a name can be guessed")
        if self.pii is not None and self.pii_digest is not None:
            raise ValueError("pii_digest: is made of pii and pii_salt, and is left out where they are given")
        if self.pii_salt is not None and not SALT_BYTES_MIN <= len(self.pii_salt) <= SALT_BYTES_MAX:
            wanted = f"{SALT_BYTES_MIN} to {SALT_BYTES_MAX}"
            raise ValueError(f"pii_salt: wants {wanted} random bytes, has {len(self.pii_salt)}")

    @property
    def digest(self) -> str | None:
        """The hex digest that stands for the personal data. Raises Rejected where these are outside the rules."""
        if self.pii is None or self.pii_salt is None:
            return self.pii_digest
        return sealed(self.pii, self.pii_salt).digest.hex()


def _check_identity(event: SettlementEvent) -> None:
    for name in ("event_id", "reverses"):
        text = getattr(event, name)
        if text is not None and not EVENT_ID_FORM.fullmatch(text):
            raise ValueError(f"{name}: wants a UUID in lower-case text form, not {text!r}")
    for name in ("event_type", "settlement_id", "order_id"):
        if not getattr(event, name):
            raise ValueError(f"{name}: must not be empty")
    if event.occurred_at.utcoffset() != dt.timedelta(0):
        raise ValueError(f"occurred_at: wants a time in UTC, not {event.occurred_at.isoformat()}")


def check_lines(lines: tuple[SettlementLine, ...]) -> None:
    """Raise ValueError unless there are lines with amounts in range; UnbalancedLines unless each currency balances."""
    if not lines:
        raise ValueError("lines: an event needs lines")
    totals: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        _check_amount(line.amount_minor, f"lines[{number}].amount_minor")
        signed = line.amount_minor if line.side == "debit" else -line.amount_minor
        totals[line.currency] = totals.get(line.currency, 0) + signed
    off = {currency: total for currency, total in sorted(totals.items()) if total}
    if off:
        words = ", ".join(f"{currency} by {total} minor units" for currency, total in off.items())
        raise UnbalancedLines(f"lines: unbalanced, debits - credits is off in {words}")


def _check_amount(amount_minor: int, name: str) -> None:
    if not 0 < amount_minor <= AMOUNT_MINOR_MAX:
        raise ValueError(f"{name}: wants an integer from 1 to {AMOUNT_MINOR_MAX}, not {amount_minor}")


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def microseconds(time: dt.datetime) -> int:
    """Microseconds since 1970-01-01 UTC, exactly (never through a float)."""
    return (time - _EPOCH) // _MICROSECOND


def event_from_record(record: SettlementRecord) -> SettlementEvent:
    """The publisher's shape of a record that was read, for tools that show or send it again. Raises ValueError."""
    return SettlementEvent(
        event_id=record.event_id,
        event_type=record.event_type,
        settlement_id=record.settlement_id,
        order_id=record.order_id,
        occurred_at=_EPOCH + record.occurred_at_us * _MICROSECOND,
        lines=tuple(SettlementLine(*line) for line in record.lines),
        provider=None if record.provider is None else SettlementProvider(*record.provider),
        reverses=record.reverses,
        pii_digest=record.pii_digest,
        metadata=record.metadata,
    )


def record_from_event(event: SettlementEvent) -> SettlementRecord:
    """What the poster will read of an event: lets a publisher ask the posting rules before it publishes."""
    provider = event.provider
    return SettlementRecord(
        event.event_id,
        event.event_type,
        event.settlement_id,
        event.order_id,
        microseconds(event.occurred_at),
        [(line.account, line.side, line.amount_minor, line.currency, line.memo) for line in event.lines],
        None if provider is None else (provider.name, provider.reference, provider.amount_minor, provider.currency),
        event.reverses,
        event.digest,
        event.metadata,
    )
