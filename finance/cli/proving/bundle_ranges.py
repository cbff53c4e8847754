"""What the archive holds of a bundle's stretch, range by range, and a reader that reads nothing of it twice.

Guarantees: a `TakenRange` has no lines, so that the ranges of a whole archive fit into memory; `KeptReader` keeps what
it read in a folder, whole or not at all, so that a second run goes on where the first one ended.
Does not: check anything: the archive's own walk did (`ledger_core.verify.archive_walk`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger_core.archive.listing import ArchiveReader
from ledger_core.ports import StoredObject
from ledger_core.tree import CompactRange
from ledger_core.verify.archive_walk import VerifiedRange
from producers.storage.whole_file import replace_file
from schemas.read_file import OBJECT_BYTES_MAX, read_file


@dataclass(frozen=True, slots=True)
class TakenRange:
    """One sound range of the archive, without its lines."""

    number: int  # the shard's ranges count from 1
    times: tuple[str, str] | None  # least and greatest recorded_at; None without an entry
    first_seq: int  # inclusive
    last_seq: int  # inclusive
    first_offset: int  # inclusive
    next_offset: int  # exclusive
    key: str  # of the batch in the archive
    version_id: str  # of the batch, as its manifest pins it
    manifest: bytes  # as it stands in the archive
    checkpoint: str  # signed note of the tree behind it
    ts: str  # of the manifest
    retain_until: str  # end of the batch's lock, RFC 3339
    proof_line: bytes  # canonical bytes of its signed proof
    tree_before: CompactRange  # the shard's tree before its first entry
    verdicts_before: CompactRange  # the tree of verdict lines before its first one


class KeptReader:
    """An archive reader that keeps what it read in a folder, so that a second run does not read it again."""

    def __init__(self, reader: ArchiveReader, folder: Path, advance: Callable[[int], None]) -> None:
        self._reader, self._folder, self._advance = reader, folder, advance

    def get(self, key: str, version_id: str | None = None) -> bytes:
        path = self._folder / hashlib.sha256(f"{key}\0{version_id}".encode()).hexdigest()
        if path.is_file():
            return read_file(path, OBJECT_BYTES_MAX)
        data = self._reader.get(key, version_id)
        replace_file(path, data)
        self._advance(1)
        return data

    def versions(self, prefix: str) -> Sequence[StoredObject]:
        return self._reader.versions(prefix)


def taken_range(verified: VerifiedRange, tree: CompactRange, verdicts: CompactRange) -> TakenRange:
    """A range that a manifest lists, and the trees before it."""
    part, span = verified.proof.shards[0], verified.proof.range
    assert verified.listed is not None  # noqa: S101  # the caller asked
    manifest = verified.listed.manifest
    return TakenRange(
        number=verified.range_no,
        times=None if span.from_ts is None or span.to_ts is None else (span.from_ts, span.to_ts),
        first_seq=int(part.first_seq),
        last_seq=int(part.last_seq),
        first_offset=int(part.source.first_offset),
        next_offset=int(part.source.next_offset),
        key=manifest.object.key,
        version_id=manifest.object.version_id,
        manifest=verified.listed.data,
        checkpoint=manifest.checkpoint,
        ts=manifest.ts,
        retain_until=manifest.object.retain_until,
        proof_line=verified.proof_line,
        tree_before=tree,
        verdicts_before=verdicts,
    )
