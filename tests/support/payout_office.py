"""Operators at work on payouts: each runs commands in a name of his own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ledger_core.books.movements.booking import event_of
from ledger_core.books.movements.forms import OpeningBalance, OpeningLine
from ledger_core.books.settlements import SettlementEvent
from tests.support.route import ROOT
from tests.support.waits import PATIENCE_SECONDS

BANK = "asset:bank:main"


def owed(payee: str, amount_minor: int, at: Any, currency: str = "USD") -> SettlementEvent:
    """The event that makes us owe a seller so much."""
    line = OpeningLine(f"liability:payable:{payee}", amount_minor, currency)
    return event_of(OpeningBalance(settlement_id=f"open_{payee}_{currency}", occurred_at=at, balances=(line,)))


@dataclass
class PayoutOffice:
    """`finance payout ...` by name of the operator."""

    environ: Mapping[str, str]

    def start(self, operator: str, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "finance", *words, "--json"],
            cwd=ROOT,
            env={**self.environ, "FINANCE_OPERATOR": operator},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, operator: str, *words: str, code: int = 0) -> Any:
        process = self.start(operator, *words)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == code, f"{words}: {process.returncode}\n{out}\n{err}"
        return json.loads(out)

    def set_up(self, *roles: tuple[str, str]) -> None:
        """Limits of 10,000 and 250,000 USD, and who approves in which role."""
        amounts = ("--second-from", "10000", "--third-from", "250000")
        self("root", "approvers", "limit", "USD", *amounts, "--reason", "as the board decided")
        for name, role in roles:
            self("root", "approvers", "grant", name, "--as", role, "--reason", "starts today")

    def ask(self, operator: str, payee: str, amount: str, *more: str, code: int = 0, currency: str = "USD") -> Any:
        what = ("--payee", payee, "--amount", amount, "--currency", currency, "--from", BANK, "--reason", "week 48")
        return self(operator, "payout", "request", *what, *more, code=code)

    def decide(self, operator: str, what: str, request_id: str, *more: str, code: int = 0) -> Any:
        return self(operator, "payout", what, request_id, *more, "--reason", "checked", code=code)
