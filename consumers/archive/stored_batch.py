"""What a crash, or a database that is older than the archive, left under a name that is about to be stored again.

Guarantees: what stands there for the same range is taken for what it is: the same lines in other gzip bytes (another
zlib wrote them), and a batch of the same proof that was sealed under settings of before (a cosigner, a policy version).
So neither a retry on another machine nor a change of settings contradicts the locked object; what a registered key
signed there binds. Does not: judge anything else that stands there: the PUT does.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from ledger_core.archive.batch import SealedBatch
from ledger_core.archive.lines import batch_lines
from ledger_core.archive.manifest import Manifest, parse_manifest
from ledger_core.findings import Collector
from ledger_core.ports import ArchiveStore
from ledger_core.proving.range_proof import RangeProof
from ledger_core.signing.counting import first_fault
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import claim_of
from ledger_core.verify.batch import check_batch


def as_stored(archive: ArchiveStore, key: str, sealed: SealedBatch) -> SealedBatch | None:
    """The same batch in the gzip bytes of another zlib, which stand in the store; None when something else does, or
    nothing."""
    data = _found_under(archive, key)
    if data is None:
        return None
    digest = hashlib.sha256()
    try:
        for line in batch_lines(data):
            digest.update(line + b"\n")
    except ValueError:
        return None  # not a batch at all
    if digest.hexdigest() != sealed.sha256:
        return None
    return replace(sealed, data=data, stored_sha256=hashlib.sha256(data).hexdigest())


def range_as_stored(
    archive: ArchiveStore, key: str, sealed: SealedBatch, proof: RangeProof, registry: SignerRegistry
) -> SealedBatch | None:
    """The batch of a proved range as it stands in the store: whatever verifies there with the same proof, which commits
    to every entry and verdict. Its cosignatures and policy version are those it was published with. None: nothing
    stands there."""
    data = _found_under(archive, key)
    if data is None:
        return None
    found = Collector()
    facts = check_batch(data, registry, found)
    ours = facts.proof is not None and facts.proof.hash == proof.hash and not len(found)
    if facts.sha256 != sealed.sha256 and not ours:
        return sealed  # the PUT will say what stands there
    return SealedBatch(data, facts.sha256, facts.size_bytes, hashlib.sha256(data).hexdigest())


def manifest_under(archive: ArchiveStore, key: str, registry: SignerRegistry) -> tuple[bytes, Manifest] | None:
    """The manifest that stands under a name, and its bytes, if the signature counts. None: nothing stands there,
    or nothing of ours, and the PUT says so."""
    data = _found_under(archive, key)
    if data is None:
        return None
    try:
        manifest = parse_manifest(data)
    except ValueError:
        return None  # not a manifest at all: the PUT will say what stands there
    return (data, manifest) if first_fault(claim_of(manifest), registry) is None else None


def _found_under(archive: ArchiveStore, key: str) -> bytes | None:
    """The bytes of the oldest version that stands under a name."""
    for stored in archive.versions(key):
        if stored.key == key and stored.size_bytes >= 0:
            return archive.get(key, stored.version_id)
    return None
