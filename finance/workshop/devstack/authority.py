"""The throw-away certificate authority of a secure stack: a certificate for each server and for each principal.

Guarantees: keys are made on this machine at run time (ECDSA P-256), readable by their owner only, and never leave the
stack's own folder `tls/`, which `finance dev reset` wipes. A certificate is made anew at the next `up` once a third of
its life is left; files are replaced whole, key before certificate, so that a reader sees a whole pair, or that it is
not a pair. Does not: revoke. Whoever must be shut out loses its ACLs and its database role; the authority is valid for
a season.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from finance.workshop.devstack.state import State, write_private
from ledger_core.errors import Refused

AUTHORITY_DAYS: Final = 90
LEAF_DAYS: Final = 30
BACKDATED: Final = dt.timedelta(minutes=5)  # a clock may step back a little
DOOR: Final = "door"  # /metrics and /healthz of the processes
SERVERS: Final = ("postgres", "kafka", "s3", "kms", DOOR)
PRINCIPALS: Final = (
    "admin", "owner", "migrator", "poster", "prover", "archiver", "notary", "keeper", "projector", "reading", "api",
    "auditor", "backup", "marketplace", "kernel", "signing-proxy", "prometheus",
)  # fmt: skip
DOOR_CONFIG: Final = """\
# Written by the development stack: who may ask its processes for /metrics and /healthz.
version: 1
client_certificate: required
roles: {monitor: [metrics]}
callers:
  prometheus: {roles: [monitor], certificates: ["subject:CN=prometheus"]}
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two files of one holder, as cert-manager names them."""

    certificate: Path
    key: Path

    @property
    def names(self) -> tuple[str, str]:
        """Both paths as boto wants them."""
        return str(self.certificate), str(self.key)


class Authority:
    """In one folder: `ca.crt`, `ca.key`, and `tls.crt`, `tls.key` in `<principal>/` and in `servers/<server>/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"
        self.door_folder = folder / "servers" / DOOR
        self.door_config = folder / "door.yaml"
        self._key_file = folder / "ca.key"

    def principal(self, name: str) -> Pair:
        return _pair(self.folder / name)

    def server(self, name: str) -> Pair:
        return _pair(self.folder / "servers" / name)

    def ensure(self, now: dt.datetime) -> None:
        """Make what is missing, and anew what is near its end. Raises Refused when the authority itself has expired."""
        if not self.certificate.exists():
            self._make_authority(now)
        if self._authority().not_valid_after_utc <= now:
            raise Refused(
                f"the certificate authority {self.certificate} has expired",
                remedy="run `finance dev reset`: the stack and its authority are made anew",
            )
        for name in SERVERS:
            self._ensure(self.server(name), name, now, server=True)
        for name in PRINCIPALS:
            self._ensure(self.principal(name), name, now, server=False)
        write_private(self.door_folder / "ca.crt", self.certificate.read_bytes())
        write_private(self.door_config, DOOR_CONFIG.encode())

    def issue(
        self,
        pair: Pair,
        name: str | x509.Name,
        not_before: dt.datetime,
        not_after: dt.datetime,
        *,
        server: bool = False,
    ) -> None:
        """Write a new key, and a certificate of `CN=<name>` (or of a whole subject), in place of what is there."""
        key = ec.generate_private_key(ec.SECP256R1())
        authority = self._authority()
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if server else [])]
        builder = _builder(name, key.public_key(), not_before, not_after).issuer_name(authority.subject)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        if server:
            loopback = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(loopback), critical=False)
        signing = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        certificate = builder.sign(signing, hashes.SHA256())  # type: ignore[arg-type]
        write_private(pair.key, _private_pem(key))
        write_private(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))

    def _ensure(self, pair: Pair, name: str, now: dt.datetime, *, server: bool) -> None:
        if pair.certificate.exists() and pair.key.exists():
            found = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
            if found.not_valid_after_utc - now > dt.timedelta(days=LEAF_DAYS) / 3:
                return
        end = min(now + dt.timedelta(days=LEAF_DAYS), self._authority().not_valid_after_utc)
        self.issue(pair, name, now - BACKDATED, end, server=server)

    def _authority(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    def _make_authority(self, now: dt.datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        end = now + dt.timedelta(days=AUTHORITY_DAYS)
        name = f"finance-dev-{self.folder.parent.name}"
        builder = _builder(name, key.public_key(), now - BACKDATED, end).issuer_name(_subject(name))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        signs_only = {"key_cert_sign": True, "crl_sign": True}
        others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                  "encipher_only", "decipher_only")  # fmt: skip
        usage = x509.KeyUsage(**signs_only, **dict.fromkeys(others, False))
        certificate = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
        write_private(self._key_file, _private_pem(key))
        write_private(self.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def secure(name: str, state: State, folder: Path, *, wanted: bool, now: dt.datetime) -> None:
    """Certificates before the first server of a stack that is to be secure, and anew before they run out.

    Raises Refused for a stack that has plain servers, and when the authority has expired.
    """
    if wanted and not state.tls:
        if state.services:
            raise Refused(
                f"stack {name!r} is a plain one",
                remedy=f"use another --name, or wipe it first: finance dev reset --name {name}",
            )
        state.tls = str(folder)
    authority = authority_of(state)
    if authority is not None:
        authority.ensure(now)


def authority_of(state: State) -> Authority | None:
    """The authority of a secure stack; None on a plain one."""
    return Authority(Path(state.tls)) if state.tls else None


def _pair(folder: Path) -> Pair:
    return Pair(folder / "tls.crt", folder / "tls.key")


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    name: str | x509.Name, public_key: ec.EllipticCurvePublicKey, not_before: dt.datetime, not_after: dt.datetime
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder().subject_name(_subject(name) if isinstance(name, str) else name).public_key(public_key)
    )
    return builder.serial_number(x509.random_serial_number()).not_valid_before(not_before).not_valid_after(not_after)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
