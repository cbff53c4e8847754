"""Reading an archive back as a stranger would: every object against the ledger, every manifest against its object."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable

from ledger_core.archive.batch import object_metadata, parse_metadata
from ledger_core.archive.manifest import parse_manifest
from ledger_core.ports import StoredObject
from ledger_core.proving.range_proof import parse_proof
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import decode_signature, verify_digest
from tests.support.journal_factory import TinyShard


def check_archive(
    shard: TinyShard,
    manifests: list[bytes],
    fetch: Callable[[str, str], tuple[StoredObject, bytes]],
    registry: SignerRegistry,
    *,
    complete: bool = True,
) -> None:
    """Assert that the chained manifests list objects which hold the shard's offsets, entries and verdicts, gapless."""
    prev_hash, seq, offset = None, 0, shard.first_offset
    for number, data in enumerate(manifests, start=1):
        manifest = parse_manifest(data)
        assert (manifest.manifest_no, manifest.prev_manifest_hash) == (str(number), prev_hash)
        key = registry.get(manifest.signer_kid).public_key
        verify_digest(key, bytes.fromhex(manifest.hash), decode_signature(manifest.signature))
        listed = manifest.object
        stored, packed = fetch(listed.key, listed.version_id)
        assert (stored.sha256, stored.size_bytes) == (listed.stored_sha256, int(listed.stored_size_bytes))
        assert stored.mode == listed.mode == "COMPLIANCE"
        plain = gzip.decompress(packed)
        assert (hashlib.sha256(plain).hexdigest(), len(plain)) == (listed.sha256, int(listed.size_bytes))
        first, *middle, last = plain.splitlines()
        proof, metadata = parse_proof(last), parse_metadata(first)
        assert (proof.proof_id, proof.hash) == (listed.range.proof_id, listed.range.proof_hash)
        assert stored.metadata == object_metadata(metadata, listed.sha256)
        (part,) = proof.shards
        assert (int(part.source.first_offset), int(part.first_seq)) == (offset, seq + 1)
        seq, offset = int(part.last_seq), int(part.source.next_offset)
        entries = [item.body for item in shard.entries[int(part.first_seq) - 1 : seq]]
        assert middle == entries + shard.verdict_lines(int(part.source.first_offset), offset)
        prev_hash = manifest.hash
    if complete:
        assert (seq, offset) == (len(shard.entries), shard.next_offset)
