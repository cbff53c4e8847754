"""A request body -> what is to be signed or verified. Pure.

Guarantees: every spelling that clients in the field send is read (a digest as `payload_b64`, `hash`, `digest_hex`; the
message itself, to be hashed here, as `data` or `canonical`; a note as `note_b64`; the key as `signer_kid`, `signer_id`,
`signerId`, `kid`, `key_id`, `keyId`; its algorithm also by the name that AWS has for it), and two spellings that
contradict each other are refused; so are a key twice, base64 or hex in another than its one form, and a digest that has
not 32 bytes. A note (`"kind": "note"`) is signed as its own text, and is a checkpoint: 32 bytes never are, or a digest
could pass as one.
Does not: decide who may have it signed. Fields that it does not know are left alone: clients send more than is needed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from finance.door.problem import Problem
from finance.signing_proxy.witness import Head, read_checkpoint
from ledger_core import strict_json
from ledger_core.canonical import encode as canonical_json
from ledger_core.decimals import is_decimal
from ledger_core.hashes import is_hash
from ledger_core.signing.signatures import DIGEST_BYTES, BadSignature, decode_signature
from producers.signing.verified_signer import TEXT_BYTES_MAX

CONSISTENCY_HASHES_MAX: Final = 63  # of a tree of 2^63 leaves (C2SP tlog-witness)
_KID_FIELDS: Final = ("signer_kid", "signer_id", "signerId", "kid", "key_id", "keyId")
_NONCE: Final = re.compile(r"[!-~]{8,128}")
_HASHED: Final = ("data", "canonical")  # spellings of a message of which the digest is signed
_AWS_NAMES: Final[Mapping[str, str]] = {"RSASSA_PKCS1_V1_5_SHA_256": "rsa-sha256", "ED25519_SHA_512": "ed25519"}
Kind = Literal["digest", "note"]


@dataclass(frozen=True, slots=True)
class Message:
    """What is signed: 32 bytes of a digest, or the text of a note; with which key, if one is named."""

    kind: Kind  # digest or note
    data: bytes  # what the key is given
    kid: str | None  # None: the only key that the caller may use
    algorithm: str | None  # None: that of the key


@dataclass(frozen=True, slots=True)
class SignRequest:
    """A message to sign. `old_size` and `consistency` are for a witness (C2SP add-checkpoint)."""

    message: Message  # what is to be signed
    checkpoint: tuple[str, Head] | None  # origin and head of a note
    nonce: str | None  # for the log; None when none was sent
    old_size: int | None
    consistency: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """A signature that may be the one of the message."""

    message: Message  # what was signed
    signature: bytes  # raw bytes


def parse_sign(body: bytes) -> SignRequest:
    """Raises Problem (400; 422 for a note that is not a checkpoint)."""
    fields = _fields(body)
    nonce = _text(fields, "nonce")
    if nonce is not None and _NONCE.fullmatch(nonce) is None:
        raise _bad("nonce is 8 to 128 printable characters")
    message = _message(fields)
    checkpoint = None if message.kind == "digest" else read_checkpoint(message.data)
    return SignRequest(message, checkpoint, nonce, _size(fields), _hashes(fields))


def parse_verify(body: bytes) -> VerifyRequest:
    """Raises Problem (400)."""
    fields = _fields(body)
    texts = {_text(fields, name) for name in ("signature_b64", "signature")} - {None}
    if len(texts) != 1:
        raise _bad("one signature is wanted, in signature_b64 or signature")
    try:
        return VerifyRequest(_message(fields), decode_signature(texts.pop()))
    except BadSignature as error:
        raise _bad(str(error)) from None


def _message(fields: dict[str, object]) -> Message:
    kind = _text(fields, "kind") or ("note" if "note_b64" in fields else "digest")
    found: set[bytes] = set()
    payload, note = _bytes(fields, "payload_b64"), _bytes(fields, "note_b64")
    found |= {data for data in (payload, note) if data is not None}
    for name in ("hash", "digest_hex"):
        text = _text(fields, name)
        if text is not None:
            if not is_hash(text):
                raise _bad(f"{name} is 64 lower-case hex digits")
            found.add(bytes.fromhex(text))
    found |= {hashlib.sha256(message).digest() for message in _messages(fields)}
    if len(found) != 1:
        words = "nothing to sign" if not found else "the spellings contradict each other"
        raise _bad(f"{words}: give payload_b64, hash, digest_hex, data, canonical or note_b64")
    data = found.pop()
    said = {_text(fields, name) for name in ("alg", "algorithm")} - {None}
    if "ED25519_SHA_512" in said and any(name in fields for name in _HASHED):
        # AWS would sign the message itself by that name, which no verifier of a ledger reads.
        raise _bad("ED25519_SHA_512 signs the 32 bytes of a digest here", "hash the message, and send digest_hex")
    algorithms = {_AWS_NAMES.get(name, name) for name in said if name is not None}
    kids = {_text(fields, name) for name in _KID_FIELDS} - {None}
    if len(algorithms) > 1 or len(kids) > 1:
        raise _bad("two keys or two algorithms are named")
    kid, algorithm = next(iter(kids), None), next(iter(algorithms), None)
    if kind == "digest" and note is None:
        if len(data) != DIGEST_BYTES:
            raise _bad(f"a digest has {DIGEST_BYTES} bytes, not {len(data)}", 'a note wants "kind": "note"')
        return Message("digest", data, kid, algorithm)
    if kind != "note" or not fields.keys().isdisjoint(("hash", "digest_hex", *_HASHED)):
        raise _bad("kind is digest or note, and the message is spelled as that")
    if len(data) <= DIGEST_BYTES or len(data) > TEXT_BYTES_MAX:
        raise _bad(f"a note has {DIGEST_BYTES + 1} to {TEXT_BYTES_MAX} bytes, not {len(data)}")
    return Message("note", data, kid, algorithm)


def _messages(fields: dict[str, object]) -> Iterator[bytes]:
    """Messages of any length that are to be hashed: `data` as base64, `canonical` as a text in UTF-8 or as an object,
    of which the canonical JSON is meant."""
    data = _bytes(fields, "data")
    if data is not None:
        yield data
    canonical = fields.get("canonical")
    try:
        if isinstance(canonical, str):
            yield canonical.encode("utf-8")
        elif canonical is not None:
            yield canonical_json(canonical)
    except ValueError as error:
        raise _bad(f"canonical is a text, or an object that has a canonical form: {error}") from None


def _fields(body: bytes) -> dict[str, object]:
    try:
        fields = strict_json.loads(body)
    except ValueError as error:
        raise _bad(f"the body is not a JSON object: {error}") from None
    if not isinstance(fields, dict):
        raise _bad("the body is not a JSON object")
    return fields


def _text(fields: dict[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise _bad(f"{name} is a text")
    return value


def _bytes(fields: dict[str, object], name: str) -> bytes | None:
    text = _text(fields, name)
    return None if text is None else _decoded(text, name)


def _decoded(text: str, name: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _bad(f"{name} is not base64") from None
    if base64.b64encode(data).decode() != text:
        raise _bad(f"{name} is not in the one spelling of base64")
    return data


def _size(fields: dict[str, object]) -> int | None:
    value = fields.get("old_size")
    if value is None:
        return None
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if not is_decimal(text):
        raise _bad("old_size is a whole number")
    return int(text)


def _hashes(fields: dict[str, object]) -> tuple[bytes, ...]:
    items = fields.get("consistency", [])
    if not isinstance(items, list) or len(items) > CONSISTENCY_HASHES_MAX:
        raise _bad(f"consistency is a list of at most {CONSISTENCY_HASHES_MAX} hashes")
    hashes = tuple(_decoded(item, "consistency") if isinstance(item, str) else b"" for item in items)
    if any(len(found) != DIGEST_BYTES for found in hashes):
        raise _bad("each hash of consistency is base64 of 32 bytes")
    return hashes


def _bad(message: str, remedy: str = "") -> Problem:
    return Problem(400, "BAD_REQUEST", message, remedy=remedy)
