"""Whether an address of Postgres is met by mutual TLS, and with which files.

Guarantees: what is missing is named, one line each, in the words of libpq's own settings.
Does not: connect, or read the files (`finance.tls_files` judges those).
"""

from __future__ import annotations

from pathlib import Path

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from finance.tls_files import TlsFiles


def database_tls_faults(name: str, dsn: str) -> list[str]:
    """What keeps the address in the variable `name` from verify-full with a client certificate; empty: all is there."""
    given = _settings(dsn)
    if given is None:
        return [f"{name} is no address that libpq can read"]
    faults = []
    if given.get("sslmode") != "verify-full":
        faults.append(f"{name}: sslmode is {given.get('sslmode') or 'not set'}, wants verify-full")
    faults += [
        f"{name}: {setting} is not set, wants {meaning}"
        for setting, meaning in (
            ("sslrootcert", "the bundle of authorities (ca.crt)"),
            ("sslcert", "the process's own certificate (tls.crt)"),
            ("sslkey", "its private key (tls.key)"),
        )
        if not given.get(setting)
    ]
    if given.get("password"):
        faults.append(f"{name}: holds a password; with a client certificate none is needed")
    return faults


def database_tls_files(dsn: str) -> TlsFiles | None:
    """The files that the address names; None when it does not name all three."""
    given = _settings(dsn) or {}
    ca, certificate, key = (given.get(setting) for setting in ("sslrootcert", "sslcert", "sslkey"))
    if not ca or not certificate or not key or ca == "system":
        return None
    return TlsFiles(Path(ca), Path(certificate), Path(key))


def _settings(dsn: str) -> dict[str, str] | None:
    try:
        return {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
    except ProgrammingError:
        return None
