"""The certificate a process shows, the authorities it trusts, and what is wrong with either.

One folder convention, that of cert-manager's secrets: `FINANCE_TLS_DIR` holds `ca.crt`, and for each process
`<name>/tls.crt` and `<name>/tls.key` (a `ca.crt` beside them goes before); or, where the folder is mounted for one
process alone, `tls.crt` and `tls.key` directly.

Guarantees: `checked` lets nothing through that cannot work: missing or unreadable files, a key of another certificate,
one that has expired or is not valid yet; outside dev also files that others may read (the key) or write (any of them).
Does not: open a connection, or judge the other side's certificate (that is each client's handshake).
"""

from __future__ import annotations

import datetime as dt
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ledger_core.errors import Refused
from schemas.read_file import SETTINGS_BYTES_MAX, read_file

RENEWED_BY: Final = "renew it (with cert-manager: see why its Certificate is not Ready), then start again"
NAMES: Final = "FINANCE_TLS_DIR, or KAFKA_TLS_CA_FILE, KAFKA_TLS_CERT_FILE and KAFKA_TLS_KEY_FILE"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Three paths: the authorities' bundle, the own certificate (with its chain) and its private key."""

    ca: Path  # PEM
    certificate: Path  # PEM
    key: Path  # PEM, without a password

    @property
    def client_pair(self) -> tuple[str, str]:
        """Certificate and key as boto wants them."""
        return str(self.certificate), str(self.key)

    def kafka_options(self) -> dict[str, str]:
        """What makes any Kafka client of librdkafka speak TLS with this certificate and check the brokers' by name."""
        return {
            "security.protocol": "ssl",
            "ssl.ca.location": str(self.ca),
            "ssl.certificate.location": str(self.certificate),
            "ssl.key.location": str(self.key),
            "ssl.endpoint.identification.algorithm": "https",
        }

    def fingerprint(self) -> tuple[tuple[int, int, int, int], ...]:
        """Changes when a file is replaced or rewritten, also by the swapped link of a mounted secret, or with the size
        and times of the one before (a copy or an archive can set those; not the time of change)."""
        found = (path.stat() for path in (self.ca, self.certificate, self.key))
        return tuple((status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size) for status in found)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """From when to when a certificate holds (UTC), and whose it is."""

    subject: str  # RFC 4514
    begins: dt.datetime  # inclusive
    ends: dt.datetime  # inclusive

    def is_late(self, now: dt.datetime) -> bool:
        """A fifth of its life is left: whoever renews at a third, as cert-manager does, is overdue."""
        return self.ends - now < (self.ends - self.begins) / 5


def in_folder(folder: Path, name: str, ca: Path | None = None) -> TlsFiles:
    """The files of one process or principal below FINANCE_TLS_DIR. Raises Refused when there are none."""
    for own in (folder / name, folder):
        if (own / "tls.crt").exists():
            beside = own / "ca.crt"
            return TlsFiles(ca or (beside if beside.exists() else folder / "ca.crt"), own / "tls.crt", own / "tls.key")
    raise Refused(
        f"{folder} contains no certificate for {name}",
        remedy=f"mount {name}/tls.crt and {name}/tls.key there, or tls.crt and tls.key for this process alone",
    )


def checked(files: TlsFiles, now: dt.datetime, *, strict: bool) -> TlsFiles:
    """The same files, if a handshake can work with them. `strict` (outside dev) checks permissions too.

    Raises Refused.
    """
    if strict:
        _check_permissions(files)
    own = lifetime(files.certificate)
    if own.ends <= now:
        raise Refused(
            f"the certificate {files.certificate} ({own.subject}) expired at {own.ends:%Y-%m-%dT%H:%M:%SZ}",
            remedy=RENEWED_BY,
        )
    if own.begins > now:
        raise Refused(
            f"the certificate {files.certificate} ({own.subject}) begins at {own.begins:%Y-%m-%dT%H:%M:%SZ}",
            remedy="set this machine's clock right, or wait",
        )
    lifetime(files.ca)
    if not is_pair(files):
        raise Refused(
            f"{files.key} is not the key of {files.certificate}", remedy="give the two files that were issued together"
        )
    return files


def lifetime(path: Path) -> Lifetime:
    """The life of the first certificate of a PEM file. Raises Refused."""
    try:
        found = x509.load_pem_x509_certificate(read_file(path, SETTINGS_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise Refused(f"{path} is not a certificate in PEM ({_line(error)})", remedy=f"set {NAMES} right") from error
    return Lifetime(found.subject.rfc4514_string(), found.not_valid_before_utc, found.not_valid_after_utc)


def is_pair(files: TlsFiles) -> bool:
    """Whether the key is the certificate's: between two writes of a renewal it is not. Raises Refused."""
    try:
        certificate = x509.load_pem_x509_certificate(read_file(files.certificate, SETTINGS_BYTES_MAX))
        key = serialization.load_pem_private_key(read_file(files.key, SETTINGS_BYTES_MAX), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Refused(
            f"{files.key} is not a private key in PEM without a password ({_line(error)})", remedy=f"set {NAMES} right"
        ) from error
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)


def _check_permissions(files: TlsFiles) -> None:
    """As libpq does: a key for its owner alone, or root's with a group that reads (a secret mounted with fsGroup)."""
    for path in (files.ca, files.certificate, files.key):
        try:
            status = path.stat()
        except OSError as error:
            raise Refused(f"{path} cannot be read ({_line(error)})", remedy=f"set {NAMES} right") from error
        mode = stat.S_IMODE(status.st_mode)
        loose = mode & (stat.S_IWGRP | stat.S_IWOTH)
        if path == files.key:
            loose = mode & (0o027 if status.st_uid == 0 else 0o077)
        if loose:
            wanted = "0600" if path == files.key else "0644"
            raise Refused(f"{path} has mode {mode:04o}: others may read or change it", remedy=f"chmod {wanted} {path}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
