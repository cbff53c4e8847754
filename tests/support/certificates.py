"""A certificate authority for tests: all made at run time, good, expired, revoked, of the wrong kind."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = dt.timedelta(hours=1)
_COUNT = iter(range(1, 1_000_000))


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


@dataclass(slots=True)
class TestAuthority:
    """Issues into `folder`. `revoke` and `write_crl` make its revocation list."""

    __test__ = False

    folder: Path
    name: str = "test CA"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    certificate: x509.Certificate = field(init=False)
    revoked: list[int] = field(default_factory=list)
    begins: dt.timedelta = -HOUR  # of its own certificate, from now on
    ends: dt.timedelta = 24 * HOUR

    def __post_init__(self) -> None:
        now = dt.datetime.now(dt.UTC)
        name = _name(self.name)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now + self.begins)
        builder = builder.not_valid_after(now + self.ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        ski = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        self.certificate = builder.add_extension(ski, critical=False).sign(self.key, hashes.SHA256())
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def path(self) -> Path:
        return self.folder / "ca.crt"

    def issue(
        self,
        common_name: str,
        *,
        uri: str | None = None,
        server: bool = False,
        begins: dt.timedelta = -HOUR,
        ends: dt.timedelta = HOUR,
        into: Path | None = None,
    ) -> Pair:
        """A certificate of `CN=common_name` for clients (or servers), valid from now + begins to now + ends."""
        now = dt.datetime.now(dt.UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateBuilder().subject_name(_name(common_name)).issuer_name(self.certificate.subject)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now + begins).not_valid_after(now + ends)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)] if uri else []
        if server:
            names += [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        folder = into or self.folder / f"{common_name}-{next(_COUNT)}"
        folder.mkdir(parents=True, exist_ok=True)
        pair = Pair(folder / "tls.crt", folder / "tls.key")
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        write_whole(pair.key, key.private_bytes(*form))
        write_whole(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        return pair

    def write_crl(self, path: Path, *revoked: Pair, begun: dt.timedelta = -2 * HOUR, ends: dt.timedelta = HOUR) -> None:
        """Revoke these as well, and write the whole list."""
        for pair in revoked:
            self.revoked.append(x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number)
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now + begun).next_update(now + ends)
        for serial in self.revoked:
            gone = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - HOUR).build()
            builder = builder.add_revoked_certificate(gone)
        write_whole(path, builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def write_whole(path: Path, data: bytes) -> None:
    """Replace the file in one step, readable by its owner only."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.chmod(0o600)
    new.replace(path)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
