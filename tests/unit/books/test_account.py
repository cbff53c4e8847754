"""An account names its type; anything else is refused with the right reason."""

import pytest

from ledger_core.books.accounts import AccountType, account_type, is_account, normal_side
from ledger_core.errors import Rejected, RejectReason


@pytest.mark.parametrize(
    ("account", "kind"),
    [
        ("asset:psp:stripe", AccountType.ASSET),
        ("liability:payable:seller-42", AccountType.LIABILITY),
        ("equity:opening", AccountType.EQUITY),
        ("revenue:fees", AccountType.REVENUE),
        ("expense:royalty:0.5_a", AccountType.EXPENSE),
        ("asset:" + "a" * 122, AccountType.ASSET),
    ],
)
def test_the_first_word_is_the_type(account: str, kind: AccountType) -> None:
    assert is_account(account)
    assert account_type(account) is kind


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        ("", RejectReason.UNKNOWN_ACCOUNT),
        ("cash", RejectReason.UNKNOWN_ACCOUNT),
        ("assets:psp", RejectReason.UNKNOWN_ACCOUNT),
        ("Asset:psp", RejectReason.UNKNOWN_ACCOUNT),
        (" asset:psp", RejectReason.UNKNOWN_ACCOUNT),
        ("asset", RejectReason.BAD_FIELD),
        ("asset:", RejectReason.BAD_FIELD),
        ("asset::psp", RejectReason.BAD_FIELD),
        ("asset:psp:", RejectReason.BAD_FIELD),
        ("asset:-psp", RejectReason.BAD_FIELD),
        ("asset:PSP", RejectReason.BAD_FIELD),
        ("asset:ps p", RejectReason.BAD_FIELD),
        ("asset:psp\n", RejectReason.BAD_FIELD),
        ("asset:zoë", RejectReason.BAD_FIELD),
        ("asset:٣", RejectReason.BAD_FIELD),
        ("asset:a\x00b", RejectReason.BAD_FIELD),
        ("asset:" + "a" * 123, RejectReason.BAD_FIELD),
        ("x" * 1_000_000, RejectReason.BAD_FIELD),
    ],
)
def test_any_other_text_is_refused_with_its_reason(account: str, reason: RejectReason) -> None:
    assert not is_account(account)
    with pytest.raises(Rejected) as caught:
        account_type(account)
    assert caught.value.reason is reason
    assert len(caught.value.detail) < 700


def test_assets_and_expenses_grow_by_debits() -> None:
    debit_types = {kind for kind in AccountType if normal_side(kind) == "debit"}
    assert debit_types == {AccountType.ASSET, AccountType.EXPENSE}
