"""Cells of a report: amounts to exact minor units, local times to UTC; what leaves a doubt is refused."""

from __future__ import annotations

import datetime as dt

import pytest

from ledger_core.times import format_time_us
from schemas.provider_reports.amounts import Mark, currency_of, integer_of, mark_of, minor_of
from schemas.provider_reports.model import BadCell
from schemas.provider_reports.moments import day_us, local_us, zone_of

AMOUNTS: list[tuple[str, str, Mark, int]] = [
    ("100.00", "USD", ".", 10_000),
    ("-80.00", "USD", ".", -8_000),
    ("+1", "USD", ".", 100),
    ("0.1", "USD", ".", 10),
    ("1,234.56", "USD", ".", 123_456),
    ("1.234,56", "EUR", ",", 123_456),
    ("-1.080", "EUR", ",", -108_000),  # a German thousand, read as 1.080 by others
    ("9,00", "EUR", ",", 900),
    ("1200", "JPY", ".", 1_200),
    ("1200.00", "JPY", ".", 1_200),
    ("1.234", "KWD", ".", 1_234),
    ("1.2345", "CLF", ".", 12_345),
    ("000000000000149.87", "CHF", ".", 14_987),
    ("0.00000", "USD", ".", 0),
    ("12345678901.23", "USD", ".", 1_234_567_890_123),
]


@pytest.mark.parametrize(("text", "currency", "mark", "minor"), AMOUNTS, ids=str)
def test_an_amount_is_exact(text: str, currency: str, mark: Mark, minor: int) -> None:
    assert minor_of(text, currency, mark, "gross") == minor


NO_AMOUNTS: tuple[str, ...] = (
    "",
    " ",
    "1.005",
    "1.001",
    "1e3",
    "NaN",
    "Infinity",
    "=1+1",
    "$5",
    "1 000",
    "--1",
    "1,23",
    "12,34.56",
)
NO_AMOUNTS += ("1,2345.00", "(5.00)", "5.00-", "1.2.3", ".5", "5.", "٣")


@pytest.mark.parametrize(
    ("text", "currency", "mark"),
    [
        *((text, "USD", ".") for text in NO_AMOUNTS),
        ("1,234.56", "EUR", ","),
        ("1.5", "JPY", "."),
        ("99999999999999999", "USD", "."),
        ("1" * 100, "USD", "."),
        ("1", "XXX", "."),
    ],
)  # fmt: skip
def test_what_is_no_exact_amount_is_a_fault_of_its_cell(text: str, currency: str, mark: Mark) -> None:
    with pytest.raises(BadCell) as raised:
        minor_of(text, currency, mark, "gross")
    assert raised.value.column == "gross"


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["1.00", "12.5"], "."),
        (["1,00", "1.234,5"], ","),
        (["1,234.56"], "."),
        (["1.234.567"], ","),
        (["1,234"], None),
        (["5", "", "-7"], None),
        (["1,234", "1.5"], "."),
    ],
)
def test_a_decimal_mark_is_found_where_cells_leave_no_doubt(cells: list[str], mark: Mark | None) -> None:
    assert mark_of(cells) == mark


def test_two_decimal_marks_in_one_file_are_refused() -> None:
    with pytest.raises(ValueError, match="different decimal marks"):
        mark_of(["1.00", "2,00"])


def test_codes_and_whole_numbers() -> None:
    assert currency_of("usd", "currency") == "USD"
    assert integer_of("-12", "amount") == -12
    for text in ("US", "usd ", "ﬆd", "XXX", ""):
        with pytest.raises(BadCell):
            currency_of(text, "currency")
    for text in ("1.0", "", "1e2", "٣", "9" * 30):
        with pytest.raises(BadCell):
            integer_of(text, "amount")


FORM = "%Y-%m-%d %H:%M:%S"
TIMES = [
    ("2025-11-30 08:15:59", "UTC", "2025-11-30T08:15:59.000000Z"),
    ("2025-11-30 08:15:59", "CET", "2025-11-30T07:15:59.000000Z"),
    ("2025-07-01 08:15:59", "Europe/Zurich", "2025-07-01T06:15:59.000000Z"),
    ("2025-11-30 08:15:59", "-0800", "2025-11-30T16:15:59.000000Z"),
    ("2025-11-30 08:15:59", "+05:30", "2025-11-30T02:45:59.000000Z"),
]


@pytest.mark.parametrize(("text", "zone", "utc"), TIMES)
def test_a_local_time_becomes_utc(text: str, zone: str, utc: str) -> None:
    assert format_time_us(local_us(text, FORM, zone_of(zone, "tz"), "created")) == utc


@pytest.mark.parametrize(
    ("text", "zone", "message"),
    [
        ("2025-03-30 02:30:00", "Europe/Zurich", "does not exist"),
        ("2025-10-26 02:30:00", "Europe/Zurich", "is there twice"),
        ("2025-13-01 00:00:00", "UTC", "is not a time"),
        ("30.11.2025", "UTC", "is not a time"),
        ("9999-01-01 00:00:00", "UTC", "not of our time"),
    ],
)
def test_a_time_that_is_not_one_moment_is_a_fault(text: str, zone: str, message: str) -> None:
    with pytest.raises(BadCell, match=message):
        local_us(text, FORM, zone_of(zone, "tz"), "created")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", "XYZ", "+2500", "Europe"])
def test_what_is_no_zone_is_a_fault(zone: str) -> None:
    with pytest.raises(BadCell):
        zone_of(zone, "tz")


def test_a_day_is_its_first_moment() -> None:
    assert format_time_us(day_us("2025-11-30", "day")) == "2025-11-30T00:00:00.000000Z"
    assert dt.UTC
