"""Instants as text: RFC 3339 in UTC, six decimals, `Z`; fixed width, so that text order is time order. Pure."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def rfc3339_from_micros(micros: int) -> str:
    """Microseconds since 1970-01-01T00:00Z -> `2025-11-01T09:30:00.000000Z`. Raises OverflowError beyond year 9999."""
    seconds, fraction = divmod(micros, 1_000_000)
    return f"{_to_the_second(seconds)}.{fraction:06d}Z"


@lru_cache(maxsize=4096)  # events of one batch share few seconds; formatting a datetime is the slow half
def _to_the_second(seconds: int) -> str:
    return (_EPOCH + dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def micros_from_rfc3339(text: str) -> int:
    """The inverse. Raises ValueError unless `text` is exactly of the form above."""
    instant = dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=dt.UTC)
    micros = (instant - _EPOCH) // dt.timedelta(microseconds=1)
    if rfc3339_from_micros(micros) != text:
        raise ValueError(f"{text!r} is not RFC 3339 UTC with six decimals and Z")
    return micros


def micros_from_datetime(instant: dt.datetime) -> int:
    """An aware datetime -> microseconds since 1970-01-01T00:00Z."""
    return (instant - _EPOCH) // dt.timedelta(microseconds=1)


def rfc3339_from_datetime(instant: dt.datetime) -> str:
    """An aware datetime -> text."""
    return rfc3339_from_micros(micros_from_datetime(instant))
