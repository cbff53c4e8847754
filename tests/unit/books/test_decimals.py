"""The one spelling of an integer in a record."""

from __future__ import annotations

import pytest

from ledger_core.decimals import is_decimal, parse_decimal


@pytest.mark.parametrize("number", [0, 1, 10, 2**63 - 1, 10**19 - 1])
def test_a_number_has_one_spelling(number: int) -> None:
    assert parse_decimal(str(number)) == number


@pytest.mark.parametrize(
    "text", ["", "00", "01", "-1", "+1", " 1", "1 ", "1_0", "1.0", "²", "١", "1" * 20, 1, None, b"1"]
)
def test_what_is_another_spelling_is_refused(text: object) -> None:
    assert not is_decimal(text)
    with pytest.raises(ValueError, match="is not a decimal integer"):
        parse_decimal(text)
