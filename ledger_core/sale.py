"""The public path of `ledger_core.books.sales`: what a shop imports to build settlement events (docs/PUBLISHING.md)."""

from __future__ import annotations

from ledger_core.books.sales import Royalty, Sale, SellerShare, Tax, event_id_of, refund_of, settlement_of

__all__ = ["Royalty", "Sale", "SellerShare", "Tax", "event_id_of", "refund_of", "settlement_of"]
