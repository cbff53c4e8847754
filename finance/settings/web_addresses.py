"""Addresses of web services: none of them carries a name or a password, which every log line about it would repeat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger_core.errors import Refused

WEB_SUFFIXES: Final = ("_ENDPOINT", "_URL")  # SENTRY_DSN is a secret as a whole


def is_web_address_of(name: str) -> bool:
    """Whether the variable's value is an address of a web service."""
    return name.endswith(WEB_SUFFIXES) and not name.endswith("DATABASE_URL")


def check_web_addresses(values: Mapping[str, str]) -> None:
    """Raise Refused for an address with a name or password in it; the message does not repeat it."""
    for name in sorted(values):
        if is_web_address_of(name) and "@" in values[name]:
            raise Refused(
                f"{name} has a name or password in it, which logs would repeat",
                remedy="write https://host:port, and give the credentials by the variables that are there for them",
            )
