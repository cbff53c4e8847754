"""The guards of addresses: where a process goes, as whom, and where others come in. Settings alone, no network.

Guarantees: an address that is given is judged for every process and every command, whoever may use it later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from finance.door.exposure import check_exposure
from finance.guards.model import Given, GuardFault, missing
from finance.settings.tls_database import unsafe_address
from finance.settings.variables import PROCESSES, ROLES
from ledger_core.errors import Refused

OWN_ENDPOINTS: Final = ("S3_AUDIT_ENDPOINT", "KMS_ENDPOINT")


def database_is_reached_safely(given: Given) -> Iterator[GuardFault]:
    """The address of the process's own role, with the server's certificate checked."""
    for role in ROLES if given.process == "doctor" else (given.process,):
        name = f"DATABASE_URL_{role.upper()}"
        if role not in ROLES or not given.guarded:
            continue
        yield from missing(given, (name,), f"the {role} has a database role of its own")
        address = given.text(name)
        if not address:
            continue
        try:
            user = conninfo_to_dict(address).get("user", "the OS user")
        except psycopg.ProgrammingError:
            user = None
        if given.production or user is None:
            unsafe = unsafe_address(name, address, mutual=given.is_true("REQUIRE_MTLS"))
            if unsafe is not None:
                yield GuardFault(unsafe.message, unsafe.remedy)
        if user not in (None, f"finance_{role}"):
            yield GuardFault(f"{name} logs in as {user}", f"log in as finance_{role}, G9")


def addresses_given_are_safe(given: Given) -> Iterator[GuardFault]:
    """In production each address of the database that is given at all: whoever reads settings may connect there."""
    for name in ("DATABASE_URL", *(f"DATABASE_URL_{role.upper()}" for role in ROLES)):
        unsafe = unsafe_address(name, given.text(name), mutual=False) if given.production and given.text(name) else None
        if unsafe is not None:
            yield GuardFault(unsafe.message, unsafe.remedy)


def endpoints_are_ours(given: Given) -> Iterator[GuardFault]:
    """Outside dev no variable of the AWS SDK moves KMS or S3 somewhere else: ours do (S3_AUDIT_ENDPOINT, KMS_ENDPOINT),
    and they are judged."""
    if given.guarded:
        for name in given.sdk_endpoints:
            yield GuardFault(f"{name} is set", f"unset it: {' and '.join(OWN_ENDPOINTS)} say where these services are")


def owner_stays_at_home(given: Given) -> Iterator[GuardFault]:
    """No process is given what only `finance migrate` needs."""
    if given.production and given.process in PROCESSES and given.text("DATABASE_URL"):
        yield GuardFault(
            f"DATABASE_URL, the owner's address, is given to the {given.process}",
            "give it to the pipeline that migrates only",
        )


def watchers_have_addresses(given: Given) -> Iterator[GuardFault]:
    """Where errors, traces and figures go: nothing is sent to something that is not an address."""
    for name in ("SENTRY_DSN", "OTEL_COLLECTOR_URL", "PROM_ENDPOINT"):
        address = given.text(name)
        if address and not is_web_address(address):
            yield GuardFault(f"{name} is not an http(s) address", "correct it, or leave it empty")
    if given.production and given.text("SENTRY_DSN").startswith("http://"):
        yield GuardFault("SENTRY_DSN is not https", "error reports mention amounts of money: use its https address")


def is_web_address(address: str) -> bool:
    """Whether it begins with http:// or https:// and names a host."""
    try:
        return address.startswith(("http://", "https://")) and bool(urlsplit(address).hostname)
    except ValueError:  # of a bracket that does not close
        return False


def doors_are_shut(given: Given) -> Iterator[GuardFault]:
    """`/metrics` is in plaintext on loopback only; elsewhere it has a certificate, and callers."""
    settings = given.settings
    if settings is None or not given.does(*PROCESSES):
        return
    tls, callers = settings.door_tls_dir is not None, settings.door_config is not None
    try:
        check_exposure(settings.env, settings.metrics_host, tls=tls, callers=callers, plaintext_in_production=True)
    except Refused as error:
        yield GuardFault(error.message, error.remedy)


def port_is_a_port(given: Given) -> Iterator[GuardFault]:
    """Where the HTTP API listens."""
    port = given.text("PORT")
    if port and not (port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= 65_535):
        yield GuardFault(f"PORT is {port!r}", "use a whole number from 1 to 65535")
