"""TLS of a door: a folder with `tls.crt`, `tls.key`, `ca.crt` and, where certificates are revoked, `crl.pem`.

Guarantees: TLS 1.2 or later with forward secrecy; a client certificate, where one is shown, is issued below `ca.crt`,
is meant for clients, is valid now, and is not on the revocation list. Every list is signed by a certificate of
`ca.crt`. Once an authority had a list, it neither vanishes nor becomes an older one while that authority is trusted,
and a list past its next update lets nobody in (OpenSSL's rule). While it runs, certificates that are not valid now do
not replace others. No session outlives its files: nothing is resumed. The names are those that cert-manager gives its
secrets. Does not: fetch anything (no OCSP), or remember over a restart.
"""

from __future__ import annotations

import datetime as dt
import re
import ssl
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from finance.door.caller import PeerCertificate
from finance.door.files import Reloaded
from finance.door.problem import DoorMetrics
from ledger_core.errors import Refused
from schemas.read_file import SETTINGS_BYTES_MAX, STATEMENT_BYTES_MAX, read_file

_CRL: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_CRL_BEGINS: Final = b"-----BEGIN "
Revocations = tuple[x509.CertificateRevocationList, ...]
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all good


@dataclass(frozen=True, slots=True)
class DoorFiles:
    """Where the four files are."""

    folder: Path  # DOOR_TLS_DIR

    @property
    def all(self) -> Sequence[Path]:
        return [self.folder / name for name in ("tls.crt", "tls.key", "ca.crt", "crl.pem")]


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of one moment: a context for new connections, and what older ones are held to."""

    context: ssl.SSLContext  # for new connections
    revocations: Revocations  # older connections are checked against them too

    def revoked(self, certificate: PeerCertificate) -> bool:
        """Whether a list of the certificate's issuer names it."""
        return any(
            found.issuer.rfc4514_string() == certificate.issuer
            and found.get_revoked_certificate_by_serial_number(certificate.serial) is not None
            for found in self.revocations
        )


class TlsContexts:
    """The server's context, made anew when a file changed. Raises Refused at construction."""

    def __init__(
        self,
        files: DoorFiles,
        *,
        certificate_required: bool,
        metrics: DoorMetrics,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._files, self._clock = files, clock
        self._required = certificate_required
        self._metrics = metrics
        self._standing: Revocations = ()
        self._running = False
        self._reloaded = Reloaded("certificates", lambda: files.all, self._make, metrics.reload_failed)
        self._running = True

    def current(self) -> Tls:
        return self._reloaded.current()

    def _make(self) -> Tls:
        certificate, key, authority, revoked = self._files.all
        _check_private(key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        context.verify_mode = ssl.CERT_REQUIRED if self._required else ssl.CERT_OPTIONAL
        has_crl = revoked.exists()
        try:
            for path in (certificate, key, authority):
                read_file(path, SETTINGS_BYTES_MAX)  # OpenSSL would wait at a FIFO, and read a device to its end
            revocations = _lists(revoked) if has_crl else ()
            trusted = x509.load_pem_x509_certificates(read_file(authority, SETTINGS_BYTES_MAX))
            own = x509.load_pem_x509_certificates(read_file(certificate, SETTINGS_BYTES_MAX))[0]
            check_lists(revocations, self._standing, trusted)
            if self._running:
                _check_valid(own, trusted, self._clock())
            context.set_ciphers(CIPHERS)
            context.set_alpn_protocols(["http/1.1"])
            context.load_cert_chain(certificate, key)
            context.load_verify_locations(authority)
            if has_crl:
                context.load_verify_locations(revoked)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
            ends = _ends(own, trusted, revocations)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise Refused(
                f"the TLS files in {self._files.folder} cannot be used ({error})",
                remedy="give tls.crt with its tls.key, the clients' ca.crt, and crl.pem where certificates are revoked",
            ) from error
        self._standing = revocations
        for name, at in ends.items():
            self._metrics.certificate_expires(name, at)
        return Tls(context, revocations)


def check_lists(lists: Revocations, standing: Revocations, trusted: Sequence[x509.Certificate]) -> None:
    """Raise ValueError for a list that nobody trusted has signed: OpenSSL would let nobody in, not even those of other
    lists. And for one that is missing, or older than the one that stands: those it revoked would come in again."""
    newest: dict[bytes, dt.datetime] = {}
    for found in lists:
        signers = [authority for authority in trusted if authority.subject == found.issuer]
        if not any(_has_signed(authority, found) for authority in signers):
            raise ValueError(f"a list of {found.issuer.rfc4514_string()!r} is not signed by a certificate of ca.crt")
        issuer = found.issuer.public_bytes()
        newest[issuer] = max(found.last_update_utc, newest.get(issuer, found.last_update_utc))
    for known in standing:
        name, issuer = known.issuer.rfc4514_string(), known.issuer.public_bytes()
        if not any(_has_signed(authority, known) for authority in trusted if authority.subject == known.issuer):
            continue  # it is trusted no more
        if issuer not in newest:
            raise ValueError(f"the list of {name!r} was there and is gone: those it revoked would come in")
        if newest[issuer] < known.last_update_utc:
            raise ValueError(f"the list of {name!r} is older than the one that stands: those it revoked would come in")


def _has_signed(authority: x509.Certificate, found: x509.CertificateRevocationList) -> bool:
    try:
        return found.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _check_valid(own: x509.Certificate, trusted: Sequence[x509.Certificate], now: dt.datetime) -> None:
    """Raise ValueError where nobody could come in, or no client would: what stands is better."""
    if not own.not_valid_before_utc <= now <= own.not_valid_after_utc:
        raise ValueError("tls.crt is not valid now")
    if not any(found.not_valid_before_utc <= now <= found.not_valid_after_utc for found in trusted):
        raise ValueError("no certificate of ca.crt is valid now")


def _lists(revoked: Path) -> Revocations:
    """Every list of the file, however its lines end. Raises OSError, and ValueError for a file
    without a list or with half of one."""
    data = read_file(revoked, STATEMENT_BYTES_MAX)
    found = [x509.load_pem_x509_crl(part) for part in _CRL.findall(data)]
    if not found or len(found) != data.count(_CRL_BEGINS):
        raise ValueError(f"{revoked.name} has {len(found)} lists that can be read, and {data.count(_CRL_BEGINS)} begin")
    return tuple(found)


def _ends(own: x509.Certificate, trusted: Sequence[x509.Certificate], revocations: Revocations) -> dict[str, float]:
    """Until when each is good, as Unix time."""
    ends = {
        "door": own.not_valid_after_utc.timestamp(),
        "door_ca": min(found.not_valid_after_utc.timestamp() for found in trusted),
    }
    updates = [found.next_update_utc.timestamp() for found in revocations if found.next_update_utc is not None]
    if updates:
        ends["door_crl"] = min(updates)
    return ends


def _check_private(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise Refused(f"{key} cannot be read ({error.strerror})", remedy="name a folder with tls.key") from error
    if stat.S_IMODE(mode) & 0o007:
        raise Refused(f"{key} may be read by everybody", remedy=f"chmod 640 {key} (or 600)")
