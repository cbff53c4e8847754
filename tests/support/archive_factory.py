"""Archives made by hand, as the archiver would leave them: batches and manifests in a store that lives in memory.

`MemoryStore` keeps versions like a versioned bucket and lets a test do what Object Lock forbids.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from ledger_core.archive.batch import BatchWriter, metadata_of, object_metadata
from ledger_core.archive.manifest import ManifestObject, ManifestPayload, ObjectRange, assemble_manifest, parse_manifest
from ledger_core.archive.names import batch_key, manifest_key
from ledger_core.ports import Algorithm, StoredObject
from ledger_core.proving.checkpoint import note_text
from ledger_core.proving.closed_range import ClosedRange, ClosingTerms, Cut, close_range
from ledger_core.proving.range_proof import assemble_proof, parse_proof
from ledger_core.signing import notes
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import PublicKey
from ledger_core.times import format_time
from ledger_core.tree import EMPTY_ROOT, CompactRange, leaf_hash, leaf_hashes
from tests.support.journal_factory import TinyShard
from tests.support.mac_key import MacSecret

ENV = "test"
NOW = dt.datetime(2025, 11, 2, tzinfo=dt.UTC)
RETAIN_UNTIL = dt.datetime(2032, 11, 2, tzinfo=dt.UTC)
TRACE_ID = "0123456789abcdef0123456789abcdef"


class Key:
    """A key in memory with the two ways to sign."""

    def __init__(self, algorithm: Algorithm = "ed25519", kid: str = "test-key-v1") -> None:
        self.kid, self.algorithm = kid, algorithm
        self.private: Ed25519PrivateKey | rsa.RSAPrivateKey
        if algorithm == "ed25519":
            self.private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(kid.encode()).digest())
        else:
            self.private = rsa.generate_private_key(65537, 2048)
        self.public = PublicKey.from_key(self.private.public_key())
        self.registry = SignerRegistry([RegisteredSigner(kid, algorithm, self.public)])

    def sign_digest(self, digest: bytes) -> bytes:
        if isinstance(self.private, Ed25519PrivateKey):
            return self.private.sign(digest)
        return self.private.sign(digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))

    def sign_text(self, text: bytes) -> bytes:
        if isinstance(self.private, Ed25519PrivateKey):
            return self.private.sign(text)
        return self.private.sign(text, padding.PKCS1v15(), hashes.SHA256())


@dataclass
class MemoryStore:
    """Versions by key, newest first, as S3 lists them. Tests may put, remove and shadow at will."""

    objects: dict[str, list[tuple[StoredObject, bytes]]] = field(default_factory=dict)
    _count: int = 0

    def add(self, key: str, data: bytes, metadata: dict[str, str] | None = None) -> StoredObject:
        self._count += 1
        digest = hashlib.sha256(data).hexdigest()
        stored = StoredObject(
            key, f"v{self._count}", len(data), digest, RETAIN_UNTIL, "COMPLIANCE", dict(metadata or {})
        )
        self.objects.setdefault(key, []).insert(0, (stored, data))
        return stored

    def delete(self, key: str) -> None:
        """A plain DELETE: a marker."""
        self._count += 1
        self.objects[key].insert(0, (StoredObject(key, f"v{self._count}", -1, "", None, None), b""))

    def replace(self, key: str, data: bytes) -> None:
        """What an administrator below the S3 API can do: other bytes under the same version."""
        (stored, _), *rest = self.objects[key]
        self.objects[key] = [(stored, data), *rest]

    def get(self, key: str, version_id: str | None = None) -> bytes:
        for stored, data in self.objects.get(key, []):
            if version_id in (None, stored.version_id) and stored.size_bytes >= 0:
                return data
        raise KeyError(key)

    def versions(self, prefix: str) -> Sequence[StoredObject]:
        return [stored for key in sorted(self.objects) if key.startswith(prefix) for stored, _ in self.objects[key]]


def cut_of(shard: TinyShard, prev: Cut | None, last_seq: int, next_offset: int) -> Cut:
    """The cut of a tiny shard after `prev`, by the plainest arithmetic."""
    first_seq = prev.last_seq + 1 if prev else 1
    items = shard.entries[first_seq - 1 : last_seq]
    totals: dict[str, int] = {}
    for item in items:
        for line in item.entry.lines:
            if line.side == "debit":
                totals[line.currency] = totals.get(line.currency, 0) + int(line.amount_minor)
    tree = prev.tree if prev else CompactRange()
    for item in items:
        tree = tree.append(leaf_hash(item.body))
    times = [item.entry.recorded_at for item in items]
    prev_hash = prev.head_hash if prev else None
    return Cut(
        shard=shard.shard,
        topic=shard.topic,
        first_seq=first_seq,
        last_seq=last_seq,
        prev_hash=prev_hash,
        head_hash=items[-1].entry_hash if items else prev_hash,
        first_offset=prev.next_offset if prev else shard.first_offset,
        next_offset=next_offset,
        tree=tree,
        totals=totals,
        from_ts=min(times, default=None),
        to_ts=max(times, default=None),
        journal_offset=last_seq,
    )


def closed_of(
    cut: Cut, shard: TinyShard, key: Key | MacSecret, range_no: int, prev_proof_hash: str | None
) -> ClosedRange:
    lines = shard.verdict_lines(cut.first_offset, cut.next_offset)
    origin = f"example.com/finance/{ENV}/ledger/{shard.shard}"
    terms = ClosingTerms(ENV, origin, range_no, prev_proof_hash, key.kid, key.algorithm, TRACE_ID, NOW)
    before = CompactRange().extend(leaf_hashes(shard.verdict_lines(shard.first_offset, cut.first_offset)))
    return close_range(cut, lines, terms, before)


def checkpoint_text(origin: str, size: int, root: bytes) -> bytes:
    """The text of a record in which each of `size` offsets posted."""
    return note_text(
        origin, size, root, (f"record 0 {size}", f"verdicts 0 {base64.b64encode(EMPTY_ROOT).decode('ascii')}")
    )


@dataclass
class ArchiveMaker:
    """Puts range after range of one shard into a store."""

    store: MemoryStore
    key: Key
    shard: int = 0
    range_no: int = 0
    prev_proof_hash: str | None = None
    prev_manifest_hash: str | None = None

    def add(self, closed: ClosedRange, bodies: Sequence[bytes], verdict_lines: Sequence[bytes]) -> str:
        """One batch with its manifest; the object's key."""
        proof_bytes = assemble_proof(closed.payload, self.key.sign_digest(closed.hash))
        proof = parse_proof(proof_bytes)
        metadata = metadata_of(proof, pii_included=False, pii_policy_version="1")
        writer = BatchWriter(metadata)
        writer.add_lines(bodies)
        writer.add_lines(verdict_lines)
        sealed = writer.seal(proof_bytes)
        part = proof.shards[0]
        name = batch_key(ENV, part)
        stored = self.store.add(name, sealed.data, object_metadata(metadata, sealed.sha256))
        self.range_no = closed.range_no
        text = closed.checkpoint_text
        payload = ManifestPayload(
            version=1,
            service="finance",
            env=ENV,
            shard=self.shard,
            manifest_no=str(closed.range_no),
            object=ManifestObject(
                key=name,
                version_id=stored.version_id,
                size_bytes=str(sealed.size_bytes),
                sha256=sealed.sha256,
                stored_size_bytes=str(len(sealed.data)),
                stored_sha256=sealed.stored_sha256,
                mode="COMPLIANCE",
                retain_until=format_time(RETAIN_UNTIL),
                range=ObjectRange(
                    first_seq=part.first_seq,
                    last_seq=part.last_seq,
                    first_offset=part.source.first_offset,
                    next_offset=part.source.next_offset,
                    proof_id=proof.proof_id,
                    proof_hash=proof.hash,
                ),
            ),
            checkpoint=notes.assemble(text, self.key.kid, self.key.public, self.key.sign_text(text)).decode(),
            prev_manifest_hash=self.prev_manifest_hash,
            signer_kid=self.key.kid,
            alg=self.key.algorithm,
            ts=format_time(NOW),
        )
        manifest = assemble_manifest(payload.to_bytes(), self.key.sign_digest(payload.digest()))
        self.store.add(manifest_key(ENV, self.shard, closed.range_no), manifest)
        self.prev_manifest_hash = parse_manifest(manifest).hash
        self.prev_proof_hash = proof.hash
        return name


def archive_of(shard: TinyShard, cuts: Sequence[tuple[int, int]], key: Key, store: MemoryStore) -> list[str]:
    """An archive of a tiny shard, cut at each (last_seq, next_offset); the object keys in order."""
    maker = ArchiveMaker(store, key, shard.shard)
    prev, keys = None, []
    for number, (last_seq, next_offset) in enumerate(cuts, 1):
        cut = cut_of(shard, prev, last_seq, next_offset)
        closed = closed_of(cut, shard, key, number, maker.prev_proof_hash)
        bodies = [item.body for item in shard.entries[cut.first_seq - 1 : cut.last_seq]]
        keys.append(maker.add(closed, bodies, shard.verdict_lines(cut.first_offset, cut.next_offset)))
        prev = cut
    return keys
