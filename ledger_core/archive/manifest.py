"""The manifest: one signed statement for each archived object; those of a shard are a chain (DESIGN, section 6). Pure.

Guarantees: a manifest pins one version of one object by version id, sizes and digests, names the lock it was stored
under and the range and proof it holds, and chains to the manifest before it, so that a missing, exchanged or added
object is found by whoever holds the newest manifest. It carries the signed checkpoint at the end of its range, so that
the archive alone gives back all that was signed. `hash` is recomputed when a manifest is parsed.
Does not: verify signatures or look into the store: `ledger_core.verify.oracle` does.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ledger_core.ports import Algorithm
from ledger_core.proving.checkpoint import same_text
from ledger_core.signing.signatures import decode_signature, encode_signature
from ledger_core.signing.statements import (
    Decimal,
    Hash,
    Name,
    Note,
    ShardNo,
    Timestamp,
    decode_statement,
    encode_statement,
    statement_hash,
)
from ledger_core.times import parse_time

MANIFEST_VERSION: Final = 1


class ObjectRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the object holds: entries first_seq..last_seq, offsets `[first_offset, next_offset)`, and their proof."""

    first_seq: Decimal
    last_seq: Decimal
    first_offset: Decimal
    next_offset: Decimal
    proof_id: Name
    proof_hash: Hash


class ManifestObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One version of one object. Sizes in bytes; `sha256` is of the uncompressed lines, `stored_sha256` of the gzip."""

    key: Name
    version_id: Name
    size_bytes: Decimal
    sha256: Hash
    stored_size_bytes: Decimal
    stored_sha256: Hash
    mode: Literal["COMPLIANCE", "GOVERNANCE"]
    retain_until: Timestamp
    range: ObjectRange


class ManifestPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that `hash` covers."""

    version: Literal[1]
    service: Literal["finance"]
    env: Name
    shard: ShardNo
    manifest_no: Decimal
    object: ManifestObject
    checkpoint: Note
    prev_manifest_hash: Hash | None
    signer_kid: Name
    alg: Algorithm
    ts: Timestamp

    def __post_init__(self) -> None:
        parse_time(self.ts)
        parse_time(self.object.retain_until)
        if self.manifest_no == "0" or (self.prev_manifest_hash is None) != (self.manifest_no == "1"):
            raise ValueError("manifests count from 1, and only the first follows nothing")

    def to_bytes(self) -> bytes:
        """The canonical payload: the bytes that are hashed and signed."""
        names = ManifestPayload.__struct_fields__
        return encode_statement(ManifestPayload(**{name: getattr(self, name) for name in names}))

    @property
    def place(self) -> tuple[int, int]:
        """The shard and the last sequence that it speaks of."""
        return self.shard, int(self.object.range.last_seq)

    def digest(self) -> bytes:
        """SHA256(payload || prev_manifest_hash), 32 bytes: what is signed."""
        return statement_hash(self.to_bytes(), self.prev_manifest_hash)


class Manifest(ManifestPayload, frozen=True, kw_only=True):
    """A payload with its hash and the signature over it. Whether the signature holds is not decided here."""

    hash: Hash
    signature: str

    def __post_init__(self) -> None:
        ManifestPayload.__post_init__(self)
        if self.digest().hex() != self.hash:
            raise ValueError("hash is not that of the payload and prev_manifest_hash")
        decode_signature(self.signature)


_payload_decoder = msgspec.json.Decoder(ManifestPayload)
_manifest_decoder = msgspec.json.Decoder(Manifest)


def parse_manifest_payload(data: bytes) -> ManifestPayload:
    """Canonical payload -> struct. Raises ValueError on another spelling or a contradiction."""
    return decode_statement(data, _payload_decoder)


def parse_manifest(data: bytes) -> Manifest:
    """Canonical signed manifest -> struct. Raises ValueError on another spelling, a contradiction or a wrong hash."""
    return decode_statement(data, _manifest_decoder)


def assemble_manifest(payload: bytes, signature: bytes) -> bytes:
    """The signed manifest of a payload, canonical JSON. The caller has verified the signature over `digest()`."""
    unsigned = parse_manifest_payload(payload)
    fields = {name: getattr(unsigned, name) for name in ManifestPayload.__struct_fields__}
    return encode_statement(Manifest(**fields, hash=unsigned.digest().hex(), signature=encode_signature(signature)))


def lists_the_same(one: ManifestPayload, other: ManifestPayload) -> bool:
    """Whether two manifests say the same, whoever signed them, or their checkpoint, and when: a key may be rotated, and
    a cosigner added, between two tries, and a database that was put back to the past stored the object, to its
    knowledge, later."""
    names = [
        name for name in ManifestPayload.__struct_fields__ if name not in ("checkpoint", "signer_kid", "alg", "ts")
    ]
    same = all(getattr(one, name) == getattr(other, name) for name in names)
    return same and same_text(one.checkpoint.encode(), other.checkpoint.encode())
