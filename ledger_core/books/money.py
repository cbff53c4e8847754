"""Money is an integer of minor units with a currency; people read and write it in major units, exactly.

Guarantees: no float comes in or goes out; `parse_major(format_major(m), m.currency) == m`; a text with more decimals
than the currency has is refused, never rounded. Does not: convert currencies, group thousands, know locales or symbols.

The codes are ISO 4217 list one as published on 2026-01-01, without the codes that have no minor unit (metals, SDR, test
codes), and those that a later version of the posting rules adds. Which of them a line may have is part of every posting
verdict: each version has its own set (`ledger_core.books.rule_versions`), and no set ever changes. A code withdrawn
later stays: what was sold in it is still settled and refunded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from ledger_core.errors import Rejected, RejectReason

MAJOR_TEXT_CHARS_MAX: Final = 40

_EXPONENT_2 = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU
CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES
KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR
NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP
TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
"""
_EXPONENT_0 = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_EXPONENT_3 = "BHD IQD JOD KWD LYD OMR TND"
_EXPONENT_4 = "CLF UYW"
# Withdrawn before that list (ANG with amendment 176, BGN with 180): rules 2 take them back, for what was sold in them.
_EXPONENT_2_OF_RULES_2 = "ANG BGN"

EXPONENTS: Final = MappingProxyType(
    {
        code: exponent
        for exponent, codes in (
            (2, _EXPONENT_2 + _EXPONENT_2_OF_RULES_2),
            (0, _EXPONENT_0),
            (3, _EXPONENT_3),
            (4, _EXPONENT_4),
        )
        for code in codes.split()
    }
)
"""ISO 4217 alphabetic code -> number of decimals of the major unit. `code in CURRENCIES` is the cheaper test."""

CURRENCIES: Final = frozenset(EXPONENTS)  # of all versions of the posting rules
CURRENCIES_2: Final = CURRENCIES
CURRENCIES_1: Final = CURRENCIES_2 - frozenset(_EXPONENT_2_OF_RULES_2.split())

_MAJOR = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Money:
    """`amount_minor` minor units of `currency`, of either sign (a balance may be negative; a line may not).

    Raises Rejected(BAD_CURRENCY) for a code not in CURRENCIES, Rejected(BAD_AMOUNT) when the amount is not an integer.
    """

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        exponent_of(self.currency)
        if type(self.amount_minor) is not int:  # bool and IntEnum are ints too, and not amounts
            raise Rejected(RejectReason.BAD_AMOUNT, f"amount_minor must be an integer, not {self.amount_minor!r}")

    def __add__(self, other: Money) -> Money:
        return Money(self.amount_minor + self._same_currency(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount_minor - self._same_currency(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount_minor, self.currency)

    def __str__(self) -> str:
        return f"{format_major(self)} {self.currency}"

    def _same_currency(self, other: Money) -> int:
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")
        return other.amount_minor


def exponent_of(currency: str) -> int:
    """Decimals of the currency's major unit (USD 2, JPY 0, KWD 3). Raises Rejected(BAD_CURRENCY)."""
    exponent = EXPONENTS.get(currency)
    if exponent is None:
        raise Rejected(RejectReason.BAD_CURRENCY, f"{currency!r:.40} is not an ISO 4217 code in use with minor units")
    return exponent


def parse_major(value: str | Decimal, currency: str) -> Money:
    """`"19.99"` or Decimal("19.99") with `"USD"` -> Money(1999, "USD"), exactly.

    The text is `-?digits[.digits]` in ASCII: no plus sign, blank, exponent, grouping, infinity or NaN. Zeros beyond the
    currency's decimals are refused too, since they claim a precision that the currency does not have.
    Raises Rejected(BAD_CURRENCY) and Rejected(BAD_AMOUNT).
    """
    exponent = exponent_of(currency)
    text = format(value, "f") if isinstance(value, Decimal) and value.is_finite() else str(value)
    match = _MAJOR.fullmatch(text) if isinstance(value, str | Decimal) and len(text) <= MAJOR_TEXT_CHARS_MAX else None
    if match is None:
        raise Rejected(RejectReason.BAD_AMOUNT, f"{text!r:.60} is not a plain decimal number of major units")
    sign, whole, decimals = match[1], match[2], match[3] or ""
    if len(decimals) > exponent:
        raise Rejected(RejectReason.BAD_AMOUNT, f"{text!r} has {len(decimals)} decimals, {currency} has {exponent}")
    amount_minor = int(whole + decimals.ljust(exponent, "0"))
    return Money(-amount_minor if sign else amount_minor, currency)


def format_major(money: Money) -> str:
    """Money(-1999, "USD") -> `"-19.99"`, Money(5, "JPY") -> `"5"`: always all decimals of the currency."""
    exponent = EXPONENTS[money.currency]
    digits = str(abs(money.amount_minor)).rjust(exponent + 1, "0")
    sign = "-" if money.amount_minor < 0 else ""
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else sign + digits


def to_decimal(money: Money) -> Decimal:
    """Major units as an exact Decimal, for reports that compute on; never rounded, whatever the decimal context."""
    return Decimal(format_major(money))
