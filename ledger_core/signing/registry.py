"""The signer registry: which public key stands behind a signer_kid, now and in the past.

Guarantees: reads every shape Kernel's verifier reads (an object with `signers`, a bare array, a map kid -> object; a
key as PEM, base64 DER or base64 raw Ed25519) and is stricter where Kernel is silent: an algorithm in another
spelling, a key of another kind than its algorithm, a kid twice, a bare `kid: PEM`, a field that is not ours and two
spellings that contradict each other are refused, never passed over.
Retired keys stay in the registry, or the history they signed would stop verifying; `validity` says of which history
(`ledger_core.signing.validity`). It reads no file.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from ledger_core import strict_json
from ledger_core.ports import Algorithm
from ledger_core.signing.purposes import FIELD as SIGNS
from ledger_core.signing.purposes import PURPOSES, Purpose, parse_purposes, write_purposes
from ledger_core.signing.signatures import PublicKey
from ledger_core.signing.validity import FIELD, Validity, parse_validity
from ledger_core.times import format_time

ALGORITHMS: Final[tuple[Algorithm, ...]] = ("ed25519", "rsa-sha256")
SIGNERS_MAX: Final = 10_000
BYTES_MAX: Final = 64 * 1024 * 1024

KID_FIELDS = ("signer_kid", "signerKid", "signer_id", "signerId", "kid")
_KEY_FIELDS = ("public_key_pem", "publicKeyPem", "public_key", "publicKey")
_TIME_FIELDS = (("deployedAt", "deployed_at"), ("retiredAt", "retired_at"), ("revokedAt", "revoked_at"))
_FIELDS: Final[tuple[tuple[str, ...], ...]] = (
    KID_FIELDS,
    _KEY_FIELDS,
    *_TIME_FIELDS,
    ("algorithm",),
    ("description",),
    (FIELD,),
    (SIGNS,),
)
_KNOWN: Final = frozenset(name for names in _FIELDS for name in names)
CLOSE: Final = 0.8  # so like one of ours (difflib) that it is a slip: retireAt, revoked, valdity


@dataclass(frozen=True, slots=True)
class RegisteredSigner:
    """One key with its name. `retired_at` is the moment after which it no longer signs; its history stays valid, as far
    as `validity` (None: everywhere) reaches. `revoked_at`: it may be in other hands since. `signs`: the kinds of
    statement it counts for (None: every kind). Raises ValueError when the key is of another algorithm, or is revoked
    and not retired."""

    kid: str  # name of the key, unique in the registry
    algorithm: Algorithm  # of the key; a signature of another one never counts
    public_key: PublicKey  # checked; see signatures
    deployed_at: dt.datetime | None = None  # UTC; when it began to sign, for people
    retired_at: dt.datetime | None = None
    description: str = ""  # for people
    validity: Validity | None = None
    revoked_at: dt.datetime | None = None
    signs: frozenset[Purpose] | None = None

    def __post_init__(self) -> None:
        check_kid(self.kid)
        if self.algorithm != self.public_key.algorithm:
            raise ValueError(f"signer {self.kid}: the key is {self.public_key.algorithm}, not {self.algorithm}")
        if self.revoked_at is not None and self.retired_at is None:
            raise ValueError(f"signer {self.kid} is revoked, and not retired: it could sign still")

    def lacks(self, purposes: Iterable[Purpose]) -> tuple[Purpose, ...]:
        """Those of the kinds that its signatures do not count for."""
        return () if self.signs is None else tuple(it for it in PURPOSES if it in {*purposes} - self.signs)

    def ended_by(self, moment: dt.datetime) -> bool:
        """Whether the key had ended before that moment: a statement made at that very moment still counts."""
        ends = [end for end in (self.retired_at, self.revoked_at) if end is not None]
        return bool(ends) and moment > min(ends)

    def shard_fault(self, shard: int, seq: int, head_hash: str | None = None, *, chained: bool = True) -> str | None:
        """Why a statement about a shard up to `seq` does not count, in words that follow the kid; None when it does."""
        if self.validity is None:
            return None
        why = self.validity.shard(shard).fault(seq, head_hash, chained=chained)
        return why and f"{why} of shard {shard}"

    def pins_shard(self, shard: int, seq: int, head_hash: str | None) -> bool:
        """Whether the key's end in that shard is this very head."""
        return self.validity is not None and self.validity.shard(shard).pins(seq, head_hash)

    def audit_fault(self, seq: int, event_hash: str | None) -> str | None:
        """Why an event of the audit chain does not count, in words that follow the kid; None when it does."""
        reach = None if self.validity is None else self.validity.audit
        why = None if reach is None else reach.fault(seq, event_hash)
        return why and f"{why} of the audit chain"


def check_kid(kid: str) -> str:
    """The kid. Raises ValueError on a name that no signer can have. It is the key name of a signed note too (C2SP): no
    blanks, no plus sign."""
    if not kid or not kid.isprintable() or " " in kid or "+" in kid:
        raise ValueError(f"signer_kid {kid!r} must be printable text without blanks and plus signs")
    return kid


class SignerRegistry:
    """An immutable set of signers, looked up by kid. Raises ValueError when a kid stands there twice."""

    __slots__ = ("_by_kid",)

    def __init__(self, signers: Iterable[RegisteredSigner]) -> None:
        self._by_kid: dict[str, RegisteredSigner] = {}
        for signer in signers:
            if signer.kid in self._by_kid:
                raise ValueError(f"signer {signer.kid} is registered twice")
            self._by_kid[signer.kid] = signer

    @classmethod
    def from_json(cls, data: bytes, *, foreign: bool = False) -> SignerRegistry:
        """Read a signers.json of any of the three shapes. Raises ValueError naming the signer and what is wrong.

        `foreign`: the file is kept by others too (Kernel's): fields that are not ours are passed over, unless they are
        ours misspelt."""
        if len(data) > BYTES_MAX:
            raise ValueError(f"a signer registry has at most {BYTES_MAX} bytes")
        document = strict_json.loads(data)
        items: list[tuple[str | None, object]]
        signers = document.get("signers") if isinstance(document, dict) else document
        if isinstance(document, dict) and not isinstance(signers, list | dict):
            signers = document
        elif isinstance(document, dict) and len(document) > 1 and not foreign:
            raise ValueError("beside `signers` nothing stands in a signer registry")
        if isinstance(signers, list):
            items = [(None, item) for item in signers]
        elif isinstance(signers, dict):
            items = list(signers.items())
        else:
            raise ValueError("a signer registry is an object or an array")
        if len(items) > SIGNERS_MAX:
            raise ValueError(f"a signer registry has at most {SIGNERS_MAX} signers")
        return cls(_read(kid, item, foreign=foreign) for kid, item in items)

    def get(self, kid: str) -> RegisteredSigner:
        """The signer of that name. Raises KeyError with the names that are known."""
        signer = self._by_kid.get(kid)
        if signer is None:
            known = ", ".join(sorted(self._by_kid)) or "none"
            raise KeyError(f"signer {kid!r} is not in the registry (known: {known})")
        return signer

    def find(self, kid: str) -> RegisteredSigner | None:
        """The signer of that name, or None."""
        return self._by_kid.get(kid)

    def find_by_key(self, public_key: PublicKey) -> RegisteredSigner | None:
        """The signer that holds this key, preferring one that is not retired; None when there is none."""
        found = [signer for signer in self._by_kid.values() if signer.public_key == public_key]
        return min(found, key=lambda signer: signer.retired_at is not None, default=None)

    def only_unretired(self, algorithm: Algorithm, now: dt.datetime) -> RegisteredSigner | None:
        """The one signer of an algorithm that is not retired at `now`; None when there is none, or more than one."""
        found = [
            signer
            for signer in self._by_kid.values()
            if signer.algorithm == algorithm and (signer.retired_at is None or signer.retired_at > now)
        ]
        return found[0] if len(found) == 1 else None

    @property
    def signers(self) -> tuple[RegisteredSigner, ...]:
        return tuple(self._by_kid.values())

    def with_signer(self, signer: RegisteredSigner) -> SignerRegistry:
        """A registry with one signer more. Raises ValueError when its kid is taken."""
        return SignerRegistry((*self.signers, signer))

    def to_json(self) -> bytes:
        """The shape Kernel's tools publish, indented for people, LF at the end."""
        document = {"signers": [write_signer(signer) for signer in self.signers]}
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _read(map_kid: str | None, item: object, *, foreign: bool) -> RegisteredSigner:
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
    key_text = _text(name, item, _KEY_FIELDS)
    if not key_text:
        raise ValueError(f"signer {kid} has no public_key_pem")
    try:
        public_key = PublicKey.parse(key_text)
    except ValueError as error:
        raise ValueError(f"signer {kid}: {error}") from None
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


def write_signer(signer: RegisteredSigner) -> dict[str, object]:
    """One signer as it stands in signers.json."""
    document: dict[str, object] = {
        "signer_kid": signer.kid,
        "algorithm": signer.algorithm,
        "public_key_pem": signer.public_key.pem,
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
