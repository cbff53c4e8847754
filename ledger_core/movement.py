"""The public path of `ledger_core.books.movements`: what a shop imports to book money that moves (docs/ACCOUNTS.md).

    from ledger_core.movement import SellerPayout, event_of

Guarantees: what stands here stays importable from here. Does not: publish (`producers.settlement_publisher` does).
"""

from __future__ import annotations

from ledger_core.books.chart import BadMovement
from ledger_core.books.movements.booking import event_of
from ledger_core.books.movements.forms import (
    Adjustment,
    Capture,
    Conversion,
    DisputeLost,
    DisputeOpened,
    DisputeWon,
    OpeningBalance,
    OpeningLine,
    PayoutArrived,
    PayoutReturned,
    ProviderFee,
    ProviderPayout,
    Refund,
    RoyaltyPayout,
    SellerPayout,
    Share,
    TaxRemittance,
)  # fmt: skip

__all__ = [
    "Adjustment", "BadMovement", "Capture", "Conversion", "DisputeLost", "DisputeOpened", "DisputeWon",
    "OpeningBalance", "OpeningLine", "PayoutArrived", "PayoutReturned", "ProviderFee", "ProviderPayout", "Refund",
    "RoyaltyPayout", "SellerPayout", "Share", "TaxRemittance", "event_of",
]  # fmt: skip
