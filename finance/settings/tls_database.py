"""Whether an address of Postgres is met by TLS that checks the server by name, and with which files.

Guarantees: what is missing is named, with its remedy, in the words of libpq's own settings.
Does not: connect, or read the files (`finance.settings.tls_files` judges those).
"""

from __future__ import annotations

from pathlib import Path

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from finance.settings.tls_files import TlsFiles
from ledger_core.errors import Refused


def unsafe_address(name: str, dsn: str, *, mutual: bool) -> Refused | None:
    """What keeps the address in the variable `name` from TLS that checks the server by its name; None: nothing does.

    `mutual`: it must also name the certificate that is shown to the server.
    """
    given = _settings(dsn)
    if given is None:
        wanted = "postgresql://user@host:port/database?sslmode=verify-full"
        return Refused(f"{name} is not a Postgres address", remedy=f"write {wanted}")
    if given.get("sslmode") != "verify-full":
        mode = given.get("sslmode", "prefer")
        return Refused(f"{name} has sslmode={mode}", remedy="use sslmode=verify-full and sslrootcert")
    if not given.get("sslrootcert"):
        remedy = "name the authority of the server's certificate (or `system`)"
        return Refused(f"{name} has no sslrootcert", remedy=remedy)
    if mutual and not (given.get("sslcert") and given.get("sslkey")):
        remedy = "name the client certificate with sslcert and sslkey; with it no password is needed"
        return Refused(f"{name} has no client certificate, and REQUIRE_MTLS is true", remedy=remedy)
    return None


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
