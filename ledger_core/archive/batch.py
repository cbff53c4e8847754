"""The audit batch: one closed range as gzipped JSON lines, with its verdicts and its proof (docs/FORMATS.md). Pure.

Lines, each ended by LF: the metadata; the canonical entries in order of seq; the verdict lines in order of offset; the
signed range proof. The SHA-256 of the *uncompressed* bytes is the identity of a batch, because gzip output differs
between libraries; the header is fixed all the same (no name, no time, OS 255), so that one library gives one object.
Guarantees: the same range gives the same names, metadata and lines, and memory is that of the compressed batch.
Does not: check the chain (the archiver does, before) or read or write any store.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from ledger_core.proving.range_proof import RangeProof
from ledger_core.signing.statements import Decimal, Hash, Name, ShardNo, Timestamp, decode_statement, encode_statement

# RFC 1952 section 2.3: ID1 ID2 CM=8 FLG=0 MTIME=0 XFL=0 OS=255 (unknown).
GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
GZIP_LEVEL: Final = 6


class BatchMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first line of a batch; the same stands in the object's metadata. Raises ValueError when the count contradicts
    the sequences.
    """

    service: Literal["finance"]  # always finance
    env: Name  # environment, such as prod; part of every proof and object name
    from_ts: Timestamp | None  # least recorded_at of the entries; None without one
    to_ts: Timestamp | None  # greatest recorded_at, inclusive; None without one
    pii_included: bool  # always false: an entry has a digest of them, and a bundle opens it beside the batches
    pii_policy_version: Decimal  # the rules by which that was decided; from the topology
    signer_kid: Name  # key of the range's proof
    shard: ShardNo  # number of the shard: the partition of the settlements topic, from 0
    first_seq: Decimal  # decimal text; first entry, inclusive
    last_seq: Decimal  # decimal text, inclusive; first_seq - 1 when there is no entry
    prev_hash: Hash | None  # entry hash before first_seq; None at genesis
    count: Decimal  # entries in the batch, decimal text
    verdicts: Decimal  # verdict lines in the batch, decimal text

    def __post_init__(self) -> None:
        if int(self.count) != int(self.last_seq) - int(self.first_seq) + 1:
            raise ValueError("count differs from the sequences first_seq..last_seq")
        if self.pii_included:
            raise ValueError("pii_included is true, and no batch has personal data")

    def to_bytes(self) -> bytes:
        return encode_statement(self)


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A finished batch. Sizes in bytes, digests in lower-case hex; `sha256` is the identity (uncompressed)."""

    data: bytes  # the gzip, as stored
    sha256: str
    size_bytes: int  # of the uncompressed lines
    stored_sha256: str  # of `data`


class LinesWriter:
    """JSONL, gzip with a fixed header: the same lines give the same bytes. What was added is compressed at once and
    forgotten."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._parts = [GZIP_HEADER]
        self._sha256 = hashlib.sha256()
        self._crc32 = 0
        self._size_bytes = 0

    def add_lines(self, lines: Sequence[bytes]) -> None:
        """Add canonical lines, given without their LF."""
        if lines:
            data = b"\n".join(lines) + b"\n"
            self._sha256.update(data)
            self._crc32 = zlib.crc32(data, self._crc32)
            self._size_bytes += len(data)
            self._parts.append(self._compressor.compress(data))

    def finish(self) -> SealedBatch:
        """The whole object. The writer is used up."""
        self._parts.append(self._compressor.flush())
        # RFC 1952 section 2.3.1: CRC32 and ISIZE (modulo 2^32), little-endian.
        trailer = self._crc32.to_bytes(4, "little") + (self._size_bytes & 0xFFFFFFFF).to_bytes(4, "little")
        data = b"".join((*self._parts, trailer))
        return SealedBatch(data, self._sha256.hexdigest(), self._size_bytes, hashlib.sha256(data).hexdigest())


class BatchWriter(LinesWriter):
    """Assembles one batch in the order of its lines: metadata, entries, verdict lines, proof."""

    def __init__(self, metadata: BatchMetadata) -> None:
        super().__init__()
        self.add_lines([metadata.to_bytes()])

    def seal(self, proof: bytes) -> SealedBatch:
        """Add the last line, the signed proof, and finish."""
        self.add_lines([proof])
        return self.finish()


_metadata_decoder = msgspec.json.Decoder(BatchMetadata)


def parse_metadata(line: bytes) -> BatchMetadata:
    """The first line of a batch. Raises ValueError on another spelling or a contradiction."""
    return decode_statement(line, _metadata_decoder)


def metadata_of(proof: RangeProof, *, pii_included: bool, pii_policy_version: str) -> BatchMetadata:
    """The metadata of the batch of one proved range. Raises ValueError for a proof over several shards."""
    (part,) = proof.shards
    return BatchMetadata(
        service=proof.service,
        env=proof.env,
        from_ts=proof.range.from_ts,
        to_ts=proof.range.to_ts,
        pii_included=pii_included,
        pii_policy_version=pii_policy_version,
        signer_kid=proof.signer_kid,
        shard=part.shard,
        first_seq=part.first_seq,
        last_seq=part.last_seq,
        prev_hash=part.prev_hash,
        count=part.source.posted,
        verdicts=str(int(part.source.duplicates) + int(part.source.rejected)),
    )


def object_metadata(metadata: BatchMetadata, sha256: str) -> dict[str, str]:
    """The same as flat ASCII texts for S3: names with hyphens, null left out, and `sha256`, the batch's identity."""
    texts = {"sha256": sha256}
    for name in BatchMetadata.__struct_fields__:
        value = getattr(metadata, name)
        if value is not None:
            texts[name.replace("_", "-")] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts
