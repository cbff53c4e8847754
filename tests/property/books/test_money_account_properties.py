"""Round trips and agreement of the quick check with the full one, on any input."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from ledger_core.books.accounts import account_type, is_account
from ledger_core.books.money import CURRENCIES, EXPONENTS, Money, format_major, parse_major, to_decimal
from ledger_core.errors import Rejected

moneys = st.builds(Money, st.integers(-(10**30), 10**30), st.sampled_from(sorted(CURRENCIES)))


@given(moneys)
def test_formatting_and_parsing_are_inverse(money: Money) -> None:
    assert parse_major(format_major(money), money.currency) == money
    assert parse_major(to_decimal(money), money.currency) == money
    assert Fraction(to_decimal(money)) == Fraction(money.amount_minor, 10 ** EXPONENTS[money.currency])


@given(st.text(alphabet="0123456789.-+eE, ", max_size=45), st.sampled_from(["USD", "JPY", "KWD"]))
@example("-0", "USD")
def test_what_is_parsed_equals_the_decimal_of_the_text(text: str, currency: str) -> None:
    try:
        money = parse_major(text, currency)
    except Rejected:
        return
    assert Decimal(format_major(money)) == Decimal(text)


words = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,9}", fullmatch=True)
types = st.sampled_from(["asset", "liability", "equity", "revenue", "expense"])


@given(types, st.lists(words, min_size=1, max_size=8))
def test_typed_words_joined_by_colons_are_an_account(kind: str, rest: list[str]) -> None:
    account = ":".join([kind, *rest])
    assert is_account(account)
    assert account_type(account) == kind


@given(st.text(max_size=140) | st.text(alphabet="aset:-_.0A\n", max_size=140).map("asset:".__add__))
def test_the_quick_check_and_the_full_one_agree(text: str) -> None:
    try:
        account_type(text)
        sound = True
    except Rejected:
        sound = False
    assert bool(is_account(text)) is sound
