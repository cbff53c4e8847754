"""The chart of accounts is open: an account exists once it is used, and its first word says what it is.

`asset:psp:stripe`, `liability:payable:seller-42`, `revenue:fees`. Guarantees: the type of an account never changes,
being part of its name. Does not: know which accounts were opened (the shard's chain does) or hold balances.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from ledger_core.books.lines import Side
from ledger_core.errors import Rejected, RejectReason

ACCOUNT_CHARS_MAX: Final = 128


class AccountType(enum.StrEnum):
    """The five types of double-entry bookkeeping, as the first word of an account."""

    ASSET = "asset"
    LIABILITY = "liability"
    EQUITY = "equity"
    REVENUE = "revenue"
    EXPENSE = "expense"


_WORD: Final = "[a-z0-9][a-z0-9_.-]*+"
_ACCOUNT: Final = re.compile(rf"(?s:(?=.{{1,{ACCOUNT_CHARS_MAX}}}\Z))(?:{'|'.join(AccountType)})(?::{_WORD})+")

is_account = _ACCOUNT.fullmatch
"""`is_account(text)` is truthy exactly for a well-formed account of a known type: one C call, for the posting path.
When it is not, `account_type(text)` raises the reason."""


def account_type(account: str) -> AccountType:
    """The account's type, read from its first word.

    Raises Rejected(UNKNOWN_ACCOUNT) when that word is not an account type, Rejected(BAD_FIELD) when the account is not
    two or more words `[a-z0-9][a-z0-9_.-]*` joined by colons, of at most 128 characters in all.
    """
    first, _, rest = account.partition(":")
    if is_account(account):
        return AccountType(first)
    if len(account) > ACCOUNT_CHARS_MAX:
        raise Rejected(
            RejectReason.BAD_FIELD, f"account of {len(account)} characters, at most {ACCOUNT_CHARS_MAX} are allowed"
        )
    if first not in _TYPE_WORDS:
        known = ", ".join(AccountType)
        raise Rejected(RejectReason.UNKNOWN_ACCOUNT, f"account {account!r}: its first word must be one of {known}")
    if not rest:
        raise Rejected(
            RejectReason.BAD_FIELD, f"account {account!r}: a type alone is not an account, name one below it"
        )
    raise Rejected(
        RejectReason.BAD_FIELD, f"account {account!r}: words of a-z, 0-9, '_', '.', '-' joined by ':' are wanted"
    )


def normal_side(kind: AccountType) -> Side:
    """The side on which the balance of this type grows: debit for assets and expenses, credit for the others."""
    return "debit" if kind in _DEBIT_TYPES else "credit"


_TYPE_WORDS: Final = frozenset(kind.value for kind in AccountType)
_DEBIT_TYPES: Final = frozenset({AccountType.ASSET, AccountType.EXPENSE})
