"""Who an operator is: the name in the certificate with which he meets the database, or in dev the one he gives.

Guarantees: one spelling of each name (lower case, no blanks), so that two names are two people; in production only a
certificate `operator.<name>` says who acts, and no variable says otherwise.
Does not: keep somebody from using another one's certificate and key.
"""

from __future__ import annotations

import getpass
import re
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from finance.settings.deployment import Settings
from finance.settings.tls_database import database_tls_files
from ledger_core.errors import Refused
from schemas.read_file import SETTINGS_BYTES_MAX, read_file

PREFIX: Final = "operator."  # of the common name
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")  # `ada.` is not another person


def operator_name(settings: Settings) -> str:
    """The name of whoever runs this command. Raises Refused when it has no form, or only a certificate may say it."""
    said = settings.text("FINANCE_OPERATOR")
    certified = _certified(settings)
    if certified is None and settings.env == "production":
        raise Refused(
            "no certificate says who runs this command",
            remedy=f"let DATABASE_URL_API name a client certificate of your own, with the common name {PREFIX}<name>",
        )
    if certified is not None and said not in ("", certified):
        raise Refused(
            f"FINANCE_OPERATOR is {said!r}, and the certificate is {certified}'s",
            remedy="unset FINANCE_OPERATOR: who acts is who the certificate names",
        )
    return checked_name(certified or said or getpass.getuser())


def checked_name(name: str) -> str:
    """The name. Raises Refused for another spelling than the one it has."""
    if NAME.fullmatch(name) is None:
        raise Refused(
            f"{name[:64]!r} is not the name of an operator",
            remedy="use lower-case letters, digits, dots and dashes, such as ada.lovelace (FINANCE_OPERATOR)",
        )
    return name


def _certified(settings: Settings) -> str | None:
    """The name in the certificate of DATABASE_URL_API; None without one of an operator."""
    files = database_tls_files(settings.text("DATABASE_URL_API"))
    if files is None:
        return None
    common = common_name(files.certificate)
    return common.removeprefix(PREFIX) if common.startswith(PREFIX) else None


def common_name(certificate: Path) -> str:
    """Of the first certificate in a PEM file. Raises Refused."""
    try:
        subject = x509.load_pem_x509_certificate(read_file(certificate, SETTINGS_BYTES_MAX)).subject
        (common,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(common.value)
    except (OSError, ValueError) as error:
        raise Refused(
            f"{certificate} is not a certificate with one common name ({error})",
            remedy="correct sslcert in DATABASE_URL_API",
        ) from error
