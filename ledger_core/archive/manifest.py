"""The manifest: one signed statement for each archived object; those of a shard are a chain (docs/FORMATS.md). Pure.

Guarantees: a manifest pins one version of one object by version id, sizes and digests, names the lock it was stored
under and the range and proof it holds, and chains to the manifest before it, so that a missing, exchanged or added
object is found by whoever holds the newest manifest. It carries the signed checkpoint at the end of its range, so that
the archive alone gives back all that was signed. `hash` is recomputed when a manifest is parsed.
Does not: verify signatures or read the store: `ledger_core.verify.oracle` does.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import msgspec

from ledger_core.proving.checkpoint import same_text
from ledger_core.signing.counting import ShardPlace
from ledger_core.signing.purposes import Purpose
from ledger_core.signing.statements import (
    Decimal,
    Hash,
    Name,
    Note,
    Payload,
    ShardNo,
    StatementPart,
    Timestamp,
    assemble,
    check_signed,
    decode_statement,
)
from ledger_core.times import parse_time

MANIFEST_VERSION: Final = 1


class ObjectRange(StatementPart, frozen=True, kw_only=True):
    """What the object holds: entries first_seq..last_seq, offsets `[first_offset, next_offset)`, and their proof."""

    first_seq: Decimal  # first entry, inclusive, from 1
    last_seq: Decimal  # last entry, inclusive; first_seq - 1 when there is none
    first_offset: Decimal  # first settlements offset, inclusive
    next_offset: Decimal  # one after the last settlements offset: exclusive
    proof_id: Name  # of the proof that closes the batch
    proof_hash: Hash  # hash of that proof


class ManifestObject(StatementPart, frozen=True, kw_only=True):
    """One version of one object. Sizes in bytes; `sha256` is of the uncompressed lines, `stored_sha256` of the gzip."""

    key: Name  # name of the batch in the store
    version_id: Name  # given by the store when it was put
    size_bytes: Decimal  # of the uncompressed lines
    sha256: Hash  # of the uncompressed lines: the batch's identity
    stored_size_bytes: Decimal  # of the gzip, as it is stored
    stored_sha256: Hash  # of the gzip, as it is stored
    mode: Literal["COMPLIANCE", "GOVERNANCE"]  # of Object Lock
    retain_until: Timestamp  # when the lock ends, UTC; never earlier in the store
    range: ObjectRange  # what it holds


class ManifestPayload(Payload, frozen=True, kw_only=True):
    """Everything that `hash` covers. Raises ValueError when its number and the link before it contradict each other."""

    said_as: ClassVar[Purpose] = "manifest"

    version: Literal[1]  # of this format
    service: Literal["finance"]  # always ours
    env: Name  # environment, such as prod
    shard: ShardNo  # number of the shard, from 0
    manifest_no: Decimal  # place in the shard's chain of manifests, from 1; equal to the number of the range
    object: ManifestObject  # the batch that is listed
    checkpoint: Note  # signed note of the tree at the end of the range
    prev_manifest_hash: Hash | None  # hash of the manifest before it; None at the first
    ts: Timestamp  # when it was made, UTC; set by the archiver, before it is signed

    chained_by: ClassVar[str | None] = "prev_manifest_hash"

    def __post_init__(self) -> None:
        parse_time(self.ts)
        parse_time(self.object.retain_until)
        if self.manifest_no == "0" or (self.prev_manifest_hash is None) != (self.manifest_no == "1"):
            raise ValueError("manifests count from 1, and only the first follows nothing")

    @property
    def place(self) -> tuple[int, int]:
        """The shard and the last sequence that it speaks of."""
        return self.shard, int(self.object.range.last_seq)

    @property
    def places(self) -> tuple[ShardPlace, ...]:
        return (ShardPlace(*self.place),)


class Manifest(ManifestPayload, frozen=True, kw_only=True):
    """A payload with its hash and the signature over it. Whether the signature counts is not decided here."""

    hash: Hash  # of payload and prev_manifest_hash; recomputed when parsed
    signature: str  # base64, by signer_kid over the 32 bytes of hash

    def __post_init__(self) -> None:
        ManifestPayload.__post_init__(self)
        check_signed(self)


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
    return assemble(parse_manifest_payload(payload), Manifest, signature)


def lists_the_same(one: ManifestPayload, other: ManifestPayload) -> bool:
    """Whether two manifests say the same, whoever signed them, or their checkpoint, and when: a key may be rotated, and
    a cosigner added, between two tries, and a database that was put back to the past stored the object, to its
    knowledge, later."""
    names = [
        name for name in ManifestPayload.__struct_fields__ if name not in ("checkpoint", "signer_kid", "alg", "ts")
    ]
    same = all(getattr(one, name) == getattr(other, name) for name in names)
    return same and same_text(one.checkpoint.encode(), other.checkpoint.encode())
