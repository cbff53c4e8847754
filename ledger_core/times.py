"""Times as text: RFC 3339 in UTC, always six decimals and `Z`, so that texts sort as times do.

Guarantees one spelling per microsecond. It reads no clock.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


def format_time(moment: dt.datetime) -> str:
    """`2025-11-01T00:00:00.000000Z`. Raises ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a time needs a zone")
    return format_time_us((moment - EPOCH) // MICROSECOND)


def format_time_us(microseconds: int) -> str:
    """The same for microseconds since 1970-01-01T00:00Z. Raises OverflowError outside the years 1 to 9999."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{_to_the_second(seconds)}.{str(1_000_000 + fraction)[1:]}Z"  # a format specification costs five times that


def parse_time(text: object) -> dt.datetime:
    """The moment written in that one form. Raises ValueError for any other spelling."""
    if type(text) is not str or not _FORM.fullmatch(text):
        raise ValueError(f"{text!r} is not a time in the form 2025-11-01T00:00:00.000000Z")
    return dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=dt.UTC)


@lru_cache(maxsize=4096)  # events of one batch share few seconds, and formatting a datetime is the slow half
def _to_the_second(seconds: int) -> str:
    moment = EPOCH + dt.timedelta(seconds=seconds)
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}"
