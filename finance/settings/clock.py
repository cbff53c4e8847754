"""The one place that asks this machine what time it is, and for a number that nobody had before.

Guarantees: times are in UTC. Whoever takes a clock or a maker of ids as an argument is handed these by the wiring.
Does not: measure how long something took (`time.monotonic`, handed in too), or read the time in the rules
(`ledger_core` is given it). Call them as `clock.utc_now()`, so that a test moves the clock at one place.
"""

from __future__ import annotations

import datetime as dt
import secrets
import uuid


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def new_id() -> str:
    """A random UUID, in its usual form with hyphens."""
    return str(uuid.uuid4())


def new_suffix() -> str:
    """8 hex digits that nobody can guess, for names of which some are made in one second."""
    return secrets.token_hex(4)


def new_trace_id() -> str:
    """32 hex digits, as W3C trace contexts want them."""
    return uuid.uuid4().hex
