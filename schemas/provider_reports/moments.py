"""Times of a report to microseconds since 1970 UTC.

Guarantees: a local time that its zone skips or has twice is a fault of its row, never a guess (zoneinfo alone raises
for neither); a zone is one of the IANA database, an offset, or one of the few abbreviations that reports use and that
mean one offset. Does not: read two-digit years, or days and months in any other order than the format says.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ledger_core.times import EPOCH, MICROSECOND
from schemas.provider_reports.model import BadCell

# The abbreviations that reports show: each is one offset, in minutes.
OFFSETS: Final = {
    "UTC": 0, "GMT": 0, "BST": 60, "WET": 0, "WEST": 60, "CET": 60, "CEST": 120, "EET": 120, "EEST": 180, "PST": -480,
    "PDT": -420, "MST": -420, "MDT": -360, "CST": -360, "CDT": -300, "EST": -300, "EDT": -240, "HKT": 480, "SGT": 480,
    "JST": 540, "AEST": 600, "AEDT": 660,
}  # fmt: skip
YEARS: Final = range(1990, 2200)
_OFFSET: Final = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)


def zone_of(text: str, column: str) -> dt.tzinfo:
    """A zone by its name, abbreviation or offset. Raises BadCell."""
    if text in OFFSETS:
        return dt.timezone(dt.timedelta(minutes=OFFSETS[text]))
    offset = _OFFSET.fullmatch(text)
    if offset is not None:
        minutes = int(offset[2]) * 60 + int(offset[3])
        if minutes <= 14 * 60:
            return dt.timezone(dt.timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    try:
        if re.fullmatch(r"[A-Za-z]+(/[A-Za-z0-9_+-]+)+", text) is None:  # a name, and no path
            raise ZoneInfoNotFoundError
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadCell(column, f"{text!r:.60} is not a time zone (Europe/Zurich, +0100, CET)") from None


def local_us(text: str, form: str, zone: dt.tzinfo, column: str) -> int:
    """A local time in `form` (strptime) and its zone -> microseconds since 1970 UTC. Raises BadCell."""
    try:
        local = dt.datetime.strptime(text, form).replace(tzinfo=zone)  # the zone is given, not read
    except ValueError:
        raise BadCell(column, f"{text!r:.60} is not a time such as {example(form)}") from None
    if local.year not in YEARS:
        raise BadCell(column, f"{text!r:.60} is not of our time")
    if local.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise BadCell(column, f"{text} does not exist in {zone}: clocks were set forward")
    if local.replace(fold=1).utcoffset() != local.utcoffset():
        raise BadCell(column, f"{text} is there twice in {zone}: clocks were set back")
    return (local - EPOCH) // MICROSECOND


def day_us(text: str, column: str) -> int:
    """A day, `2025-11-30` -> its first microsecond, UTC. Raises BadCell."""
    return local_us(text, "%Y-%m-%d", dt.UTC, column)


def example(form: str) -> str:
    """What a time in this form looks like."""
    return dt.datetime(2025, 11, 30, 8, 15, 59, tzinfo=dt.UTC).strftime(form)
