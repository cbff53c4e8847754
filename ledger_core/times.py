"""Times as text: RFC 3339 in UTC, always six decimals and `Z`, so that texts sort as times do.

Guarantees one spelling per microsecond. It reads no clock.
"""

from __future__ import annotations

import datetime as dt
import re

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


def format_time(moment: dt.datetime) -> str:
    """`2025-11-01T00:00:00.000000Z`. Raises ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone is no moment")
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def format_time_ms(timestamp_ms: int) -> str:
    """The same for Kafka's milliseconds since 1970, exactly (no float on the way)."""
    seconds, milliseconds = divmod(timestamp_ms, 1000)
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}000Z"


def parse_time(text: object) -> dt.datetime:
    """The moment written in that one form. Raises ValueError for any other spelling."""
    if type(text) is not str or not _FORM.fullmatch(text):
        raise ValueError(f"{text!r} is not a time in the form 2025-11-01T00:00:00.000000Z")
    return dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=dt.UTC)
