"""Money is exact: what cannot be told in whole minor units is refused, never rounded."""

from decimal import Decimal, localcontext

import pytest

from ledger_core.books.money import (
    CURRENCIES,
    CURRENCIES_1,
    EXPONENTS,
    Money,
    exponent_of,
    format_major,
    parse_major,
    to_decimal,
)
from ledger_core.errors import Rejected, RejectReason


@pytest.mark.parametrize(
    ("text", "currency", "amount_minor"),
    [
        ("19.99", "USD", 1999),
        ("19.9", "USD", 1990),
        ("19", "USD", 1900),
        ("-0.01", "EUR", -1),
        ("5", "JPY", 5),
        ("1.234", "KWD", 1234),
        ("0.0001", "CLF", 1),
        ("9007199254740993.01", "USD", 900719925474099301),  # beyond what a float can hold
    ],
)
def test_major_units_are_read_exactly(text: str, currency: str, amount_minor: int) -> None:
    assert parse_major(text, currency) == Money(amount_minor, currency)
    assert parse_major(Decimal(text), currency) == Money(amount_minor, currency)


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "+1", "1e2", "1,000", "1.", ".5", "NaN", "-Infinity", "0x1", "１", "1\n", "--1", "1" * 41]
)
def test_any_other_spelling_of_a_number_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_major(text, "USD")
    assert caught.value.reason is RejectReason.BAD_AMOUNT


@pytest.mark.parametrize(("text", "currency"), [("0.001", "USD"), ("1.000", "USD"), ("1.0", "JPY"), ("1.0000", "KWD")])
def test_more_decimals_than_the_currency_has_are_refused_not_rounded(text: str, currency: str) -> None:
    with pytest.raises(Rejected, match="decimals") as caught:
        parse_major(text, currency)
    assert caught.value.reason is RejectReason.BAD_AMOUNT


@pytest.mark.parametrize("value", [19.99, 20, True, None, Decimal("NaN"), Decimal("Infinity")])
def test_a_float_or_another_type_is_no_amount(value: object) -> None:
    with pytest.raises(Rejected) as caught:
        parse_major(value, "USD")  # type: ignore[arg-type]
    assert caught.value.reason is RejectReason.BAD_AMOUNT


@pytest.mark.parametrize("amount", [1.0, True, "1", Decimal(1)])
def test_minor_units_are_integers_only(amount: object) -> None:
    with pytest.raises(Rejected):
        Money(amount, "USD")  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["", "usd", "US", "USDX", "XAU", "XXX", "XTS", "XDR", "DEM", "ＵＳＤ"])
def test_a_code_without_minor_units_or_not_in_use_is_no_currency(code: str) -> None:
    assert code not in CURRENCIES
    with pytest.raises(Rejected) as caught:
        exponent_of(code)
    assert caught.value.reason is RejectReason.BAD_CURRENCY


def test_the_table_has_each_code_of_the_2026_list_once() -> None:
    counts = [sum(EXPONENTS[code] == exponent for code in CURRENCIES_1) for exponent in range(5)]
    assert counts == [17, 0, 139, 7, 2]
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in EXPONENTS)


def test_amounts_of_two_currencies_do_not_add_up() -> None:
    assert Money(1, "USD") + Money(2, "USD") - Money(4, "USD") == -Money(1, "USD")
    with pytest.raises(ValueError, match="USD and EUR"):
        Money(1, "USD") + Money(1, "EUR")


def test_a_narrow_decimal_context_rounds_nothing() -> None:
    with localcontext() as context:
        context.prec = 3
        assert to_decimal(Money(123456789, "USD")) == Decimal("1234567.89")
        assert parse_major(Decimal("1234567.89"), "USD") == Money(123456789, "USD")
    assert str(Money(-5, "USD")) == "-0.05 USD"
    assert format_major(Money(0, "JPY")) == "0"
