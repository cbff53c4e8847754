"""One leg of a journal entry: account, side, amount. Whether the legs balance: `ledger_core.books.balance`. Pure."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

AMOUNT_MINOR_MAX: Final = 10**15  # one leg; ten thousand billion dollars in cents, far inside a bigint

Side = Literal["credit", "debit"]


class Line(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One leg. `amount_minor` is a positive decimal integer of the currency's minor units, as text."""

    account: str  # path of the account, such as asset:psp:stripe
    amount_minor: str
    currency: str  # three capital letters, ISO 4217
    memo: str | None = None  # free text of the publisher
    side: Side  # debit or credit
