"""Who calls, and what a client certificate says about its holder.

Guarantees: a certificate is read into the names it carries, in the spellings door.yaml uses (`URI:`, `DNS:`, `email:`,
`subject:` with RFC 4514 text), and nothing is compared by prefix or pattern. Does not: trust it: the TLS layer has
checked its chain before anybody reads it here.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal, Self

from cryptography import x509


@dataclass(frozen=True, slots=True)
class Token:
    """What is left of a bearer token once it is checked. `jti` None: it carries none."""

    jti: str | None
    issued_at: dt.datetime  # inclusive, UTC
    expires_at: dt.datetime  # exclusive, UTC


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody the door knows. `principal` says by what; `scopes` what it may ask for; `signing_keys` are kids."""

    name: str  # as door.yaml names it
    by: Literal["certificate", "token", "api key", "loopback"]  # what it showed
    principal: str
    scopes: frozenset[str]
    signing_keys: frozenset[str] = frozenset()
    requests_per_second_max: float | None = None  # None: that of door.yaml for all
    token: Token | None = None  # None when it showed no token


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The facts of a client certificate that its caller is found by."""

    names: frozenset[str]  # subject and alternative names, as the rules spell them
    not_before: dt.datetime  # inclusive, UTC
    not_after: dt.datetime  # inclusive, UTC
    issuer: str  # RFC 4514
    serial: int  # unique below its issuer

    @classmethod
    def from_der(cls, der: bytes) -> Self:
        """Raises ValueError for what is not a certificate."""
        certificate = x509.load_der_x509_certificate(der)
        names = {f"subject:{certificate.subject.rfc4514_string()}"}
        try:
            alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            pass
        else:
            names.update(f"URI:{name}" for name in alternative.get_values_for_type(x509.UniformResourceIdentifier))
            names.update(f"DNS:{name}" for name in alternative.get_values_for_type(x509.DNSName))
            names.update(f"email:{name}" for name in alternative.get_values_for_type(x509.RFC822Name))
        return cls(
            frozenset(names),
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            certificate.issuer.rfc4514_string(),
            certificate.serial_number,
        )
