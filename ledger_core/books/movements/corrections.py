"""Conversion, adjustment, opening balance. Raises BadMovement, naming the field.

A conversion balances in each currency by the clearing account of the pair. What stands on that account is an open
position; once it is closed at another rate than it was opened at, what is left there is exactly the realised
difference. `carried_minor` books that difference, and leaves nothing.
"""

from __future__ import annotations

from ledger_core.books.accounts import account_type, normal_side
from ledger_core.books.chart import BANK, FX_GAIN, FX_LOSS, OPENING, PAYABLE, PSP, BadMovement, charted, fx_account
from ledger_core.books.movements.forms import Adjustment, Conversion, OpeningBalance
from ledger_core.books.movements.lines import amount, currency, event, leg
from ledger_core.books.settlements import SettlementEvent

CONVERTED, ADJUSTED, OPENED = "currency.converted", "ledger.adjusted", "ledger.opened"


def converted(form: Conversion) -> SettlementEvent:
    """Credit where it was sold from, debit where it was bought into, and the opposite on the clearing account.

    Raises BadMovement.
    """
    sold_in, bought_in = (
        currency(form.sold_currency, "sold_currency"),
        currency(form.bought_currency, "bought_currency"),
    )
    if sold_in == bought_in:
        raise BadMovement("bought_currency", f"is {sold_in}, as sold_currency: nothing was converted")
    sold, bought = amount(form.sold_minor, "sold_minor"), amount(form.bought_minor, "bought_minor")
    carried = bought if form.carried_minor is None else amount(form.carried_minor, "carried_minor")
    clearing = fx_account(sold_in, bought_in)
    gain = bought - carried
    lines = [
        leg(charted(form.sold_from, "sold_from", PSP, BANK, PAYABLE), -sold, sold_in),
        leg(clearing, sold, sold_in),
        leg(charted(form.bought_into, "bought_into", PSP, BANK, PAYABLE), bought, bought_in),
        leg(clearing, -carried, bought_in),
        leg(FX_GAIN.path if gain > 0 else FX_LOSS.path, -gain, bought_in),
    ]
    return event(form, CONVERTED, lines)


def adjusted(form: Adjustment) -> SettlementEvent:
    """The lines as they were written, when their accounts are of the chart and there is a reason.

    Raises BadMovement.
    """
    if not form.reason.strip():
        raise BadMovement("reason", "must not be empty")
    for number, line in enumerate(form.lines, 1):
        charted(line.account, f"lines[{number}].account")
        amount(line.amount_minor, f"lines[{number}].amount_minor")
        currency(line.currency, f"lines[{number}].currency")
    return event(form, ADJUSTED, form.lines, reverses=form.reverses, metadata={"reason": form.reason})


def opened(form: OpeningBalance) -> SettlementEvent:
    """Each balance on its account's own side (below zero: on the other), and equity on the other side of the sum.

    Raises BadMovement.
    """
    sums: dict[str, int] = {}
    lines = []
    seen: set[tuple[str, str]] = set()
    for number, balance in enumerate(form.balances, 1):
        place = f"balances[{number}]"
        code = currency(balance.currency, f"{place}.currency")
        account = charted(balance.account, f"{place}.account")
        if OPENING.has(account) or (account, code) in seen:
            raise BadMovement(f"{place}.account", f"{account} in {code} stands there twice, or is made by the others")
        seen.add((account, code))
        amount(abs(balance.amount_minor), f"{place}.amount_minor")
        signed = balance.amount_minor if normal_side(account_type(account)) == "debit" else -balance.amount_minor
        lines.append(leg(account, signed, code))
        sums[code] = sums.get(code, 0) + signed
    if not lines:
        raise BadMovement("balances", "needs one")
    return event(form, OPENED, lines + [leg(OPENING.path, -total, code) for code, total in sums.items()])
