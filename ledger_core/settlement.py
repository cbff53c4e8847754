"""The public path of `ledger_core.books.settlements`: the event that a shop publishes (docs/PUBLISHING.md)."""

from __future__ import annotations

from ledger_core.books.settlements import SettlementEvent, SettlementLine, SettlementProvider, UnbalancedLines

__all__ = ["SettlementEvent", "SettlementLine", "SettlementProvider", "UnbalancedLines"]
