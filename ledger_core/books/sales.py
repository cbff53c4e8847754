"""From a sale, as a shop knows it, to the settlement event that asks for its posting. Pure: same sale, same event.

Guarantees: the event balances; a sale whose parts do not add up to what the buyer paid is refused here, before it
leaves the shop; the same sale gets the same event id, so publishing it twice posts it once.
Does not: compute taxes, fees or royalties (the shop's own rules did), or convert currencies.

    buyer pays     = sum(gross - seller's discount) + shipping + taxes - house discount
    seller is owed = gross - seller's discount - fee - royalties        (negative: the seller owes, a debit)
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, field
from typing import Final

from ledger_core.books.lines import Side
from ledger_core.books.settlements import SettlementEvent, SettlementLine, SettlementProvider, microseconds
from ledger_core.errors import Rejected, RejectReason

CAPTURED: Final = "settlement.captured"
REFUNDED: Final = "settlement.refunded"


@dataclass(frozen=True, slots=True)
class Royalty:
    """What a rights holder gets out of a seller's share, in minor units."""

    holder: str  # the holder's id; names the account
    amount_minor: int  # in minor units, not negative


@dataclass(frozen=True, slots=True)
class Tax:
    """What is collected for a tax authority, on top of the prices, in minor units."""

    jurisdiction: str  # names the account
    amount_minor: int  # in minor units, not negative


@dataclass(frozen=True, slots=True)
class SellerShare:
    """One seller's part of a sale in minor units: `gross` at list price, `discount` the seller gives, `fee` we keep."""

    seller: str  # the seller's id; names the account
    gross_minor: int  # at list price, in minor units
    discount_minor: int = 0  # given by the seller, in minor units
    fee_minor: int = 0  # kept by the house, in minor units
    royalties: tuple[Royalty, ...] = ()  # paid out of this share


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """A sale, or a partial refund when `refunds` names the event id of the sale it gives back a part of.

    `paid_minor` is what the buyer really paid (or got back), as the payment provider knows it. Amounts are minor units
    of `currency`, never negative. `part` tells several refunds of one settlement apart ("1", "2").
    """

    settlement_id: str  # the shop's id; the key of the record
    order_id: str  # the shop's id
    occurred_at: dt.datetime  # business time; with a time zone
    currency: str
    paid_minor: int
    shares: tuple[SellerShare, ...]  # one a seller
    collected_in: str  # account that received the money, such as asset:psp:stripe
    house_discount_minor: int = 0  # given by the house, in minor units
    shipping_minor: int = 0  # in minor units
    taxes: tuple[Tax, ...] = ()  # on top of the prices
    provider: SettlementProvider | None = None  # what the payment provider was asked for
    refunds: str | None = None
    part: str = ""
    pii: dict[str, str] | None = None  # personal data; never enters the entry's body
    pii_salt: bytes | None = None  # at least 16 random bytes, chosen by the shop; set exactly when pii is
    metadata: dict[str, str] = field(default_factory=dict)  # the publisher's own pairs, kept as they came


def settlement_of(sale: Sale) -> SettlementEvent:
    """The settlement event of a sale. Raises Rejected (unbalanced, bad_amount) and ValueError (a field's form)."""
    _check_adds_up(sale)
    event_type = CAPTURED if sale.refunds is None else REFUNDED
    lines = [_line(sale, sale.collected_in, "debit", sale.paid_minor)]
    lines += [_line(sale, account, "credit", amount) for account, amount in _owed(sale).items()]
    lines.append(_line(sale, "expense:discounts", "debit", sale.house_discount_minor))
    return SettlementEvent(
        event_id=event_id_of(sale.settlement_id, event_type, sale.occurred_at, sale.part),
        event_type=event_type,
        settlement_id=sale.settlement_id,
        order_id=sale.order_id,
        occurred_at=sale.occurred_at,
        lines=tuple(line for line in lines if line.amount_minor),
        provider=sale.provider,
        reverses=sale.refunds,
        pii=sale.pii,
        pii_salt=sale.pii_salt,
        metadata=sale.metadata,
    )


def refund_of(event: SettlementEvent, occurred_at: dt.datetime, part: str = "") -> SettlementEvent:
    """The full refund of an event: every line on the other side, under the same settlement (so the same shard)."""
    return SettlementEvent(
        event_id=event_id_of(event.settlement_id, REFUNDED, occurred_at, part),
        event_type=REFUNDED,
        settlement_id=event.settlement_id,
        order_id=event.order_id,
        occurred_at=occurred_at,
        lines=tuple(
            SettlementLine(line.account, _OTHER[line.side], line.amount_minor, line.currency, line.memo)
            for line in event.lines
        ),
        provider=event.provider,
        reverses=event.event_id,
        metadata=event.metadata,
    )


def event_id_of(settlement_id: str, event_type: str, occurred_at: dt.datetime, part: str = "") -> str:
    """A UUIDv8 (RFC 9562, 5.8): 48 bits of the millisecond it happened, then 74 bits of a hash of what happened.

    Time first keeps the ledger's unique index local; the hash makes the same sale the same event, wherever and however
    often it is published, as long as `occurred_at` is the sale's own time and not the time of publishing.
    """
    identity = f"{settlement_id}\0{event_type}\0{part}".encode()
    digest = int.from_bytes(hashlib.sha256(identity).digest()[:10], "big")
    number = (microseconds(occurred_at) // 1000 & (1 << 48) - 1) << 80 | digest
    number = number & ~(0xF << 76) | 8 << 76  # version
    number = number & ~(0x3 << 62) | 2 << 62  # variant
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_OTHER: Final[dict[Side, Side]] = {"debit": "credit", "credit": "debit"}


def _line(sale: Sale, account: str, side: Side, amount_minor: int) -> SettlementLine:
    """A leg of a sale, turned over for a refund, and for a negative amount (a seller who owes)."""
    turned = (amount_minor < 0) != (sale.refunds is not None)
    return SettlementLine(account, _OTHER[side] if turned else side, abs(amount_minor), sale.currency)


def _owed(sale: Sale) -> dict[str, int]:
    """What everyone is owed, by account, in the order of the sale; a seller who comes twice gets one line."""
    owed: dict[str, int] = {}
    fees = 0
    royalties: dict[str, int] = {}
    for share in sale.shares:
        cut = share.fee_minor
        for royalty in share.royalties:
            account = f"liability:royalties:{royalty.holder}"
            royalties[account] = royalties.get(account, 0) + royalty.amount_minor
            cut += royalty.amount_minor
        account = f"liability:payable:{share.seller}"
        owed[account] = owed.get(account, 0) + share.gross_minor - share.discount_minor - cut
        fees += share.fee_minor
    owed |= royalties
    for tax in sale.taxes:
        account = f"liability:tax:{tax.jurisdiction}"
        owed[account] = owed.get(account, 0) + tax.amount_minor
    owed["revenue:shipping"] = sale.shipping_minor
    owed["revenue:fees"] = fees
    return owed


def _check_adds_up(sale: Sale) -> None:
    """Refuse negative parts, and parts that do not add up to what the buyer paid."""
    amounts = [sale.paid_minor, sale.house_discount_minor, sale.shipping_minor]
    amounts += [tax.amount_minor for tax in sale.taxes]
    total = sale.shipping_minor - sale.house_discount_minor + sum(tax.amount_minor for tax in sale.taxes)
    for share in sale.shares:
        amounts += (share.gross_minor, share.discount_minor, share.fee_minor)
        amounts += [royalty.amount_minor for royalty in share.royalties]
        total += share.gross_minor - share.discount_minor
    if min(amounts) < 0:
        raise Rejected(RejectReason.BAD_AMOUNT, f"{sale.settlement_id}: a part of the sale is negative")
    if total != sale.paid_minor:
        raise Rejected(
            RejectReason.UNBALANCED,
            f"{sale.settlement_id}: the parts come to {total} minor units of {sale.currency}, but {sale.paid_minor} "
            "were paid",
        )
