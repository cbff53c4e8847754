"""What a crash, or a database that is older than the archive, left under a name that is about to be stored again.

Guarantees: the same lines in other gzip bytes (another zlib wrote them) are taken for what they are, so that a retry on
another machine does not contradict the locked object. Does not: judge anything else that stands there: the PUT does.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from ledger_core.audit_batch import SealedBatch, batch_lines
from ledger_core.ports import ArchiveStore


def found_under(archive: ArchiveStore, key: str) -> bytes | None:
    """The bytes of the oldest version that stands under a name."""
    for stored in archive.versions(key):
        if stored.key == key and stored.size_bytes >= 0:
            return archive.get(key, stored.version_id)
    return None


def as_stored(archive: ArchiveStore, key: str, sealed: SealedBatch) -> SealedBatch | None:
    """The same batch in the gzip bytes that stand in the store, should another zlib have written them. None: nothing
    stands there."""
    data = found_under(archive, key)
    if data is None:
        return None
    digest = hashlib.sha256()
    try:
        for line in batch_lines(data):
            digest.update(line + b"\n")
    except ValueError:
        return sealed  # not a batch at all: the PUT will say what stands there
    if digest.hexdigest() != sealed.sha256:
        return sealed
    return replace(sealed, data=data, stored_sha256=hashlib.sha256(data).hexdigest())
