"""Which key signs, as the environment says: one of five kinds of key service, never two.

Guarantees: the kind is AUDIT_SIGNING_KIND, or follows from the one variable that names a key; none or several are
Refused with the names; `hmac-sha256` is for a MAC key in KMS, in place or behind a signing proxy, and Refused for every
other kind of key. Outside dev, secrets travel over https only.
Does not: connect, or read the registry. A keys file (`key_file`) names the key in place of the variables, and beside
it the key of a rotation that still signs what was written down for it (its values have OUTGOING_ before their names)
and one that adds its signature (COSIGNER_); connections are shared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import urlsplit

from finance.settings.deployment import EndpointTls, Settings
from finance.settings.key_file import KEYS_FILE, MAC_KINDS, MAC_REMEDY, TABLES, Slot, spelled
from finance.settings.variables import COSIGNER, KEY_VARIABLES, OUTGOING, Kind
from ledger_core.errors import Refused
from ledger_core.ports import Algorithm
from ledger_core.signing.mac_keys import MAC_ALGORITHM

DEFAULT_ALGORITHM: Final[Algorithm] = "rsa-sha256"


@dataclass(frozen=True, slots=True)
class KmsKeySettings:
    """A key in AWS KMS; `endpoint` None means AWS itself, credentials None the AWS SDK's own search."""

    key_id: str  # an id, an ARN or an alias
    region: str  # of AWS
    endpoint: str | None
    access_key: str | None = field(repr=False)  # both credentials, or neither
    secret: str | None = field(repr=False)  # see access_key
    tls: EndpointTls


@dataclass(frozen=True, slots=True)
class Pkcs11KeySettings:
    """A key on a token of a PKCS#11 module (a shared library), by its label."""

    module: str  # path of the library
    token: str  # its label
    key: str  # its label on the token
    pin: str = field(repr=False)  # of the token's user


@dataclass(frozen=True, slots=True)
class TransitKeySettings:
    """A version of a key of a transit engine; None: the newest at the start."""

    url: str  # of the server
    mount: str  # path of the engine
    key: str  # its name there
    version: int | None  # from 1
    token: str = field(repr=False)  # of the server
    tls: EndpointTls


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """A signing proxy. It knows us by the API key, the client certificate, or both."""

    url: str  # of the proxy
    api_key: str | None = field(repr=False)  # None: the certificate alone
    tls: EndpointTls


@dataclass(frozen=True, slots=True)
class LocalKeySettings:
    """A PEM file. Never in production."""

    path: str  # of an unencrypted PKCS#8 file


KeySettings = KmsKeySettings | Pkcs11KeySettings | TransitKeySettings | ProxySettings | LocalKeySettings


@dataclass(frozen=True, slots=True)
class SigningSettings:
    """One key: how it is reached, and what is expected of it. `algorithm` None: that of the registered `kid`."""

    kind: Kind  # of the key service
    kid: str | None
    algorithm: Algorithm | None
    key: KeySettings  # settings of that kind


def signing_of(settings: Settings, slot: Slot = "", *, name: str = "api") -> SigningSettings:
    """The key of a slot, as used by the process `name` (whose certificate is shown where one is asked for).

    Raises Refused when no key, or more than one, is named.
    """
    kind = _kind(settings, slot)
    kid = settings.text(slot + "AUDIT_SIGNING_KID") or None
    algorithm = _algorithm(settings, slot, kid)
    if algorithm is not None:
        check_kind(kind, algorithm)
    return SigningSettings(kind, kid, algorithm, _READERS[kind](settings, slot, name))


def check_kind(kind: Kind, algorithm: Algorithm) -> None:
    """Raise Refused for a MAC by a key that is not in KMS: only there do separate rights let verify who may not forge,
    and only there is it made sure what the key is for."""
    if algorithm == MAC_ALGORITHM and kind not in MAC_KINDS:
        raise Refused(f"{MAC_ALGORITHM} is not for a key of kind {kind}", remedy=MAC_REMEDY)


def outgoing_of(settings: Settings, *, name: str = "api") -> SigningSettings | None:
    """The key of a rotation that still has something to sign, if one is named."""
    return signing_of(settings, OUTGOING, name=name) if _named(settings, OUTGOING) else None


def cosigner_of(settings: Settings, *, name: str = "api") -> SigningSettings | None:
    """The key that adds its signature to proofs and checkpoints, if one is named."""
    return signing_of(settings, COSIGNER, name=name) if _named(settings, COSIGNER) else None


# Who needs every key of a process asks these, in this order.
EVERY_SLOT: Final = (signing_of, outgoing_of, cosigner_of)


def _named(settings: Settings, slot: Slot) -> dict[str, str]:
    """The kinds whose key variable is set, with that variable."""
    return {kind: slot + name for kind, name in KEY_VARIABLES.items() if settings.text(slot + name)}


def _kind(settings: Settings, slot: Slot) -> Kind:
    named = _named(settings, slot)
    wanted = settings.one_of(slot + "AUDIT_SIGNING_KIND", ("", *KEY_VARIABLES))
    if wanted:
        if wanted not in named:
            settings.needed(slot + KEY_VARIABLES[cast(Kind, wanted)])
        return cast(Kind, wanted)
    if len(named) > 1:
        raise Refused(
            f"more than one signing key is named, by {' and '.join(sorted(named.values()))}",
            remedy=f"keep one, or say which with {slot}AUDIT_SIGNING_KIND ({', '.join(named)})",
        )
    if not named and slot:
        raise Refused(
            f"no key is named as {TABLES[slot]}",
            remedy=f"write the table [{TABLES[slot]}] in a file that {KEYS_FILE} names (docs/SIGNING.md)",
        )
    if not named:
        others = ", ".join(slot + name for kind, name in KEY_VARIABLES.items() if kind != "kms")
        settings.needed(slot + KEY_VARIABLES["kms"], f" for a key in KMS, or one of {others}")
    return cast(Kind, next(iter(named)))


def _algorithm(settings: Settings, slot: Slot, kid: str | None) -> Algorithm | None:
    name = slot + "AUDIT_SIGNING_ALG"
    if name not in settings.values:
        return None if kid else DEFAULT_ALGORITHM
    return cast(Algorithm, settings.one_of(name, ("rsa-sha256", "ed25519", MAC_ALGORITHM)))


def kms_key(settings: Settings, key_id: str, name: str) -> KmsKeySettings:
    """A key in the KMS of the settings, as used by the process `name`. Raises Refused."""
    return KmsKeySettings(
        key_id=key_id,
        region=settings.text("KMS_REGION"),
        endpoint=settings.text("KMS_ENDPOINT") or None,
        access_key=settings.text("AWS_ACCESS_KEY_ID") or None,
        secret=settings.text("AWS_SECRET_ACCESS_KEY") or None,
        tls=settings.endpoint_tls("KMS_ENDPOINT", "KMS_CA_FILE", name),
    )


def _kms(settings: Settings, slot: Slot, name: str) -> KmsKeySettings:
    return kms_key(settings, settings.needed(slot + "AUDIT_SIGNING_KMS_KEY_ID"), name)


def _pkcs11(settings: Settings, slot: Slot, _name: str) -> Pkcs11KeySettings:
    return Pkcs11KeySettings(
        module=settings.needed("PKCS11_MODULE"),
        token=settings.needed("PKCS11_TOKEN"),
        key=settings.needed(slot + "AUDIT_SIGNING_PKCS11_KEY"),
        pin=settings.needed("PKCS11_PIN"),
    )


def _transit(settings: Settings, slot: Slot, name: str) -> TransitKeySettings:
    version = settings.number(slot + "AUDIT_SIGNING_TRANSIT_KEY_VERSION", 0, 999_999)
    return TransitKeySettings(
        url=_https(settings, "TRANSIT_URL", "TRANSIT_URL"),
        mount=settings.text("TRANSIT_MOUNT"),
        key=settings.needed(slot + "AUDIT_SIGNING_TRANSIT_KEY"),
        version=int(version) or None,
        token=settings.needed("TRANSIT_TOKEN"),
        tls=settings.endpoint_tls("TRANSIT_URL", "TRANSIT_CA_FILE", name),
    )


def _proxy(settings: Settings, slot: Slot, name: str) -> ProxySettings:
    url = _https(settings, slot + "SIGNING_PROXY_URL", spelled(settings.values, slot, "SIGNING_PROXY_URL"))
    api_key = settings.text(slot + "SIGNING_PROXY_API_KEY") or None
    if api_key is None and url == settings.text("SIGNING_PROXY_URL"):
        api_key = settings.text("SIGNING_PROXY_API_KEY") or None  # one proxy with two keys knows us by one API key
    tls = settings.endpoint_tls(slot + "SIGNING_PROXY_URL", "SIGNING_PROXY_CA_FILE", name)
    if tls.client_pair is None and api_key is None:
        raise Refused(
            f"the signing proxy would not know us: {spelled(settings.values, slot, 'SIGNING_PROXY_API_KEY')} is not "
            "set, nor is FINANCE_TLS_DIR",
            remedy="set the API key, or give a folder with the process's client certificate",
        )
    return ProxySettings(url, api_key, tls)


def _local(settings: Settings, slot: Slot, _name: str) -> LocalKeySettings:
    return LocalKeySettings(settings.needed(slot + "AUDIT_SIGNING_KEY_FILE"))


_READERS: Final[dict[Kind, Callable[[Settings, Slot, str], KeySettings]]] = {
    "kms": _kms,
    "pkcs11": _pkcs11,
    "transit": _transit,
    "proxy": _proxy,
    "local": _local,
}


def _https(settings: Settings, name: str, spelling: str) -> str:
    url = settings.needed(name)
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in (("https", "http") if settings.env == "dev" else ("https",)):
        raise Refused(
            f"{spelling} is {url!r}", remedy="give https://host:port: a secret and what is signed travel there"
        )
    return url
