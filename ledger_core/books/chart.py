"""The chart of accounts: every family of accounts that movements of money use, and what each one says.

Guarantees: an account made here is one that the posting rules take; docs/ACCOUNTS.md shows this table, and a test
compares the two. Does not: limit what may be posted. The ledger opens an account on first use
(`ledger_core.books.accounts`), and a shop's own events may name others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger_core.books.accounts import account_type, is_account, normal_side
from ledger_core.books.lines import Side


class BadMovement(ValueError):
    """A movement of money that cannot be booked: `field` is what is wrong, the text says what it wants."""

    def __init__(self, field: str, wants: str) -> None:
        super().__init__(f"{field}: {wants}")
        self.field = field


@dataclass(frozen=True, slots=True)
class AccountFamily:
    """Accounts of one meaning: `asset:psp:<provider>`, or a single account when there is no name in it."""

    path: str  # with the colon at its end where a name follows
    name: str  # what the name is of; empty for a single account
    says: str  # what its balance says

    @property
    def pattern(self) -> str:
        return f"{self.path}<{self.name}>" if self.name else self.path

    @property
    def side(self) -> Side:
        """The side on which its balance grows."""
        return normal_side(account_type(self.path + "x" * bool(self.name)))

    def of(self, name: str, field: str) -> str:
        """The account of this name. Raises BadMovement, naming `field`."""
        account = self.path + name
        if not name or not is_account(account):
            raise BadMovement(field, f"wants words of a-z, 0-9, '_', '.', '-' joined by ':', not {name!r:.60}")
        return account

    def has(self, account: str) -> bool:
        return account.startswith(self.path) and account != self.path if self.name else account == self.path


PSP: Final = AccountFamily("asset:psp:", "provider", "money that a payment provider keeps for us")
BANK: Final = AccountFamily("asset:bank:", "bank", "money in a bank account of ours")
CLEARING: Final = AccountFamily(
    "asset:clearing:", "provider", "paid out by a provider and not seen on a bank statement yet"
)
DISPUTE: Final = AccountFamily(
    "asset:dispute:", "provider", "taken back by a provider for disputes that are not decided yet"
)
PROVIDER_RESERVE: Final = AccountFamily("asset:reserve:", "provider", "a deposit that a provider keeps back")
FX_CLEARING: Final = AccountFamily("asset:fx:", "pair", "open position between two currencies, such as eur-usd")
PAYABLE: Final = AccountFamily("liability:payable:", "payee", "owed to a seller")
PAYEE_RESERVE: Final = AccountFamily("liability:reserve:", "payee", "kept back from a seller, and owed later")
ROYALTIES: Final = AccountFamily("liability:royalties:", "holder", "owed to a holder of rights")
TAX: Final = AccountFamily("liability:tax:", "jurisdiction", "collected for a tax authority")
OPENING: Final = AccountFamily("equity:opening", "", "the other side of what stood before the first event")
FEES: Final = AccountFamily("revenue:fees", "", "fees that we keep of a sale")
SHIPPING: Final = AccountFamily("revenue:shipping", "", "shipping that buyers paid")
FX_GAIN: Final = AccountFamily("revenue:fx-gain", "", "realised gain of conversions")
DISCOUNTS: Final = AccountFamily("expense:discounts", "", "discounts that we gave")
PROVIDER_FEES: Final = AccountFamily("expense:provider-fees:", "provider", "what a provider takes for its service")
DISPUTE_FEES: Final = AccountFamily("expense:dispute-fees:", "provider", "what a provider takes for a dispute")
DISPUTES_LOST: Final = AccountFamily("expense:disputes", "", "lost disputes that we bear in the sellers' place")
FX_LOSS: Final = AccountFamily("expense:fx-loss", "", "realised loss of conversions")
ROUNDING: Final = AccountFamily("expense:rounding", "", "units that another party rounded differently")

CHART: Final = (
    PSP, BANK, CLEARING, DISPUTE, PROVIDER_RESERVE, FX_CLEARING, PAYABLE, PAYEE_RESERVE, ROYALTIES, TAX, OPENING,
    FEES, SHIPPING, FX_GAIN, DISCOUNTS, PROVIDER_FEES, DISPUTE_FEES, DISPUTES_LOST, FX_LOSS, ROUNDING,
)  # fmt: skip


def family_of(account: str) -> AccountFamily | None:
    """The family of an account; None when the chart has none for it."""
    return next((family for family in CHART if family.has(account) and is_account(account)), None)


def charted(account: str, field: str, *families: AccountFamily) -> str:
    """The account itself, when it is one of these families, or of any when none is named. Raises BadMovement."""
    if any(family.has(account) for family in families or CHART) and is_account(account):
        return account
    wanted = " or ".join(family.pattern for family in families) or "an account of the chart (docs/ACCOUNTS.md)"
    raise BadMovement(field, f"wants {wanted}, not {account!r:.140}")


def fx_account(one: str, other: str) -> str:
    """The clearing account of a pair of currencies, whichever of them is sold: eur-usd, never usd-eur."""
    first, second = sorted((one.lower(), other.lower()))
    return FX_CLEARING.of(f"{first}-{second}", "currency")
