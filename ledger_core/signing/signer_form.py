"""One signer as it stands in a signers.json: every spelling that Kernel reads, and none besides. Pure.

Guarantees: an algorithm in another spelling, a key of another kind than its algorithm, a field that is not ours and two
spellings that contradict each other are refused, never passed over; so are a public key of a MAC key, and a MAC key's
names on another one.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Mapping
from typing import Final

from ledger_core.ports import Algorithm
from ledger_core.signing.mac_keys import MAC_ALGORITHM, MacKey
from ledger_core.signing.purposes import FIELD as SIGNS
from ledger_core.signing.purposes import parse_purposes, write_purposes
from ledger_core.signing.registered_signer import RegisteredSigner
from ledger_core.signing.signatures import PublicKey
from ledger_core.signing.validity import FIELD, parse_validity
from ledger_core.times import format_time

ALGORITHMS: Final[tuple[Algorithm, ...]] = ("ed25519", "rsa-sha256", MAC_ALGORITHM)

KID_FIELDS = ("signer_kid", "signerKid", "signer_id", "signerId", "kid")
_KEY_FIELDS = ("public_key_pem", "publicKeyPem", "public_key", "publicKey")
_MAC_FIELDS: Final = ("mac_key_id", "mac_check")
_TIME_FIELDS = (("deployedAt", "deployed_at"), ("retiredAt", "retired_at"), ("revokedAt", "revoked_at"))
_FIELDS: Final[tuple[tuple[str, ...], ...]] = (
    KID_FIELDS,
    _KEY_FIELDS,
    *((name,) for name in _MAC_FIELDS),
    *_TIME_FIELDS,
    ("algorithm",),
    ("description",),
    (FIELD,),
    (SIGNS,),
)
_KNOWN: Final = frozenset(name for names in _FIELDS for name in names)
CLOSE: Final = 0.8  # so like one of ours (difflib) that it is a slip: retireAt, revoked, valdity


def read_signer(map_kid: str | None, item: object, *, foreign: bool) -> RegisteredSigner:
    """One entry of a registry, of the map under `map_kid` if it is one. Raises ValueError naming the signer and what is
    wrong; `foreign`: fields that are not ours are passed over."""
    name = f"signer {map_kid!r}" if map_kid else "a signer"
    if not isinstance(item, dict):
        raise ValueError(f"{name} is {type(item).__name__}, not an object with algorithm and public_key_pem")
    kid = _text(name, item, KID_FIELDS) or map_kid
    _check_fields(f"signer {kid!r}" if kid else name, item, foreign=foreign)
    if not kid:
        raise ValueError(f"{name} has no signer_kid")
    if map_kid is not None and kid != map_kid:
        raise ValueError(f"signer {map_kid!r} calls itself {kid!r}")
    algorithm = next((known for known in ALGORITHMS if known == item.get("algorithm")), None)
    if algorithm is None:
        wanted = " or ".join(ALGORITHMS)
        raise ValueError(f"signer {kid}: algorithm {item.get('algorithm')!r} is not spelled {wanted}")
    try:
        public_key = _key(item, algorithm)
    except ValueError as error:
        raise ValueError(f"signer {kid}{error}") from None
    deployed_at, retired_at, revoked_at = (_moment(kid, item, names) for names in _TIME_FIELDS)
    description = _text(name, item, ("description",)) or ""
    try:
        validity = parse_validity(item[FIELD]) if FIELD in item else None
        signs = parse_purposes(item[SIGNS]) if SIGNS in item else None
    except ValueError as error:
        raise ValueError(f"signer {kid}: {error}") from None
    return RegisteredSigner(
        kid, algorithm, public_key, deployed_at, retired_at, description, validity, revoked_at, signs
    )


def _key(item: Mapping[str, object], algorithm: Algorithm) -> PublicKey | MacKey:
    """What is public of a key. Raises ValueError, in words that follow the kid: a MAC key with a public key is neither,
    and a secret has no place here."""
    key_text = _text("", item, _KEY_FIELDS)
    named = [item.get(name) for name in _MAC_FIELDS]
    if algorithm != MAC_ALGORITHM:
        if any(name in item for name in _MAC_FIELDS):
            raise ValueError(f" is {algorithm}: {' and '.join(_MAC_FIELDS)} are for a key of {MAC_ALGORITHM}")
        if not key_text:
            raise ValueError(" has no public_key_pem")
        try:
            return PublicKey.parse(key_text)
        except ValueError as error:
            raise ValueError(f": {error}") from None
    if any(name in item for name in _KEY_FIELDS):
        raise ValueError(" is a MAC key, which has no public key")
    key_id, check_value = named
    if not isinstance(key_id, str) or not isinstance(check_value, str):
        raise ValueError(f" is a MAC key without {' and '.join(_MAC_FIELDS)}")
    try:
        return MacKey(key_id, check_value)
    except ValueError as error:
        raise ValueError(f": {error}") from None


def _check_fields(name: str, item: Mapping[str, object], *, foreign: bool) -> None:
    """Raise ValueError for a field that is not ours, or is not spelled as ours: its bound would be passed over."""
    for field in item.keys() - _KNOWN:
        close = difflib.get_close_matches(_plain(field), _PLAIN, 1, CLOSE)
        if close:
            raise ValueError(f"{name}: {field!r} is not a field; is {_PLAIN[close[0]]} meant?")
        if not foreign:
            raise ValueError(f"{name}: {field!r} is not a field of a signer")


def _plain(field: str) -> str:
    return field.lower().replace("_", "").replace("-", "").strip()


_PLAIN: Final = {_plain(name): name for names in _FIELDS for name in reversed(names)}  # the usual spelling wins


def _one(name: str, item: Mapping[str, object], names: tuple[str, ...]) -> object:
    """The value of a field that has several spellings, None without one. Raises ValueError where two contradict."""
    values = [item[spelling] for spelling in names if item.get(spelling) is not None]
    if any(value != values[0] for value in values):
        raise ValueError(f"{name}: {' and '.join(spelling for spelling in names if spelling in item)} contradict")
    return values[0] if values else None


def _text(name: str, item: Mapping[str, object], names: tuple[str, ...]) -> str | None:
    value = _one(name, item, names)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}: {names[0]} is {type(value).__name__}, not a text")
    return value


def _moment(kid: str, item: Mapping[str, object], names: tuple[str, ...]) -> dt.datetime | None:
    text = _one(f"signer {kid}", item, names)
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError(f"signer {kid}: {names[0]} is {type(text).__name__}, not an RFC 3339 time")
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"signer {kid}: {names[0]} {text!r} is not an RFC 3339 time") from None
    if moment.tzinfo is None:
        raise ValueError(f"signer {kid}: {names[0]} {text!r} has no zone")
    return moment.astimezone(dt.UTC)


def written_key(key: PublicKey | MacKey) -> dict[str, str]:
    """The fields that say which key it is."""
    if isinstance(key, MacKey):
        return dict(zip(_MAC_FIELDS, (key.key_id, key.check_value), strict=True))
    return {"public_key_pem": key.pem}


def write_signer(signer: RegisteredSigner) -> dict[str, object]:
    """One signer as it stands in signers.json."""
    document: dict[str, object] = {
        "signer_kid": signer.kid,
        "algorithm": signer.algorithm,
        **written_key(signer.public_key),
    }
    if signer.deployed_at is not None:
        document["deployedAt"] = format_time(signer.deployed_at)
    if signer.retired_at is not None:
        document["retiredAt"] = format_time(signer.retired_at)
    if signer.revoked_at is not None:
        document["revokedAt"] = format_time(signer.revoked_at)
    if signer.validity is not None:
        document[FIELD] = signer.validity.to_json()
    if signer.signs is not None:
        document[SIGNS] = write_purposes(signer.signs)
    document["description"] = signer.description
    return document
