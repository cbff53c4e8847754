"""The archiver's world in memory: its tables, and a store that locks as S3 does, each able to fail at any call."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, field

from ledger_core.archive.archived_object import ArchivedObject, ListingTerms, ProvedRange
from ledger_core.archive.manifest import parse_manifest
from ledger_core.audit.admission import admission_fault
from ledger_core.errors import Corrupt
from ledger_core.ports import AuditIntent, StoredObject
from ledger_core.proving.tiles import ReadTile, TreeName
from tests.simulator.faults import Faults
from tests.simulator.proving import MemoryProofs, MemoryTileStore

STORED_AT = dt.datetime(2025, 11, 3, tzinfo=dt.UTC)


@dataclass
class MemoryBucket:
    """An ArchiveStore. Nothing is ever deleted."""

    faults: Faults = field(default_factory=Faults)
    held: dict[str, tuple[StoredObject, bytes]] = field(default_factory=dict)

    def check_lock(self) -> None: ...

    def put(self, key: str, data: bytes, *, retain_until: dt.datetime, metadata: dict[str, str]) -> StoredObject:
        return self.faults.call("s3", self._put, key, data, retain_until, metadata)

    def get(self, key: str, version_id: str | None = None) -> bytes:
        return self.faults.call("s3", self._get, key)

    def versions(self, prefix: str) -> list[StoredObject]:
        return self.faults.call("s3", self._versions, prefix)

    def _put(self, key: str, data: bytes, retain_until: dt.datetime, metadata: dict[str, str]) -> StoredObject:
        sha256 = hashlib.sha256(data).hexdigest()
        stored = StoredObject(key, f"v{len(self.held)}", len(data), sha256, retain_until, "COMPLIANCE", metadata)
        held = self.held.setdefault(key, (stored, data))
        if held[1] != data:
            raise Corrupt(f"{key} has other bytes")
        return held[0]

    def _get(self, key: str) -> bytes:
        return self.held[key][1]

    def _versions(self, prefix: str) -> list[StoredObject]:
        return [stored for key, (stored, _) in sorted(self.held.items()) if key.startswith(prefix)]


@dataclass
class MemoryArchiveRows:
    """What Postgres would hold for the archiver, on top of the prover's tables."""

    proofs: MemoryProofs
    faults: Faults = field(default_factory=Faults)
    objects: dict[tuple[int, int], ArchivedObject] = field(default_factory=dict)
    manifests: dict[tuple[int, int], bytes] = field(default_factory=dict)
    intents: list[AuditIntent] = field(default_factory=list)
    decisions: dict[str, dt.datetime] = field(default_factory=dict)

    def decided_at(self, object_key: str) -> dt.datetime | None:
        return self.faults.call("postgres", self.decisions.get, object_key)

    def cursor(self, shard: int) -> tuple[int, int]:
        return self.faults.call("postgres", self._cursor, shard)

    def proved_range(self, shard: int, range_no: int) -> ProvedRange | None:
        return self.faults.call("postgres", self._proved_range, shard, range_no)

    def verdict_lines(self, shard: int, first_offset: int, next_offset: int) -> list[bytes]:
        return self.faults.call("postgres", self.proofs.shards[shard].verdict_lines, first_offset, next_offset)

    def record_object(self, archived: ArchivedObject, intent: AuditIntent) -> bool:
        return self.faults.call("postgres", self._record_object, archived, intent)

    def unlisted(self, shard: int) -> ListingTerms | None:
        return self.faults.call("postgres", self._unlisted, shard)

    def record_manifest(
        self, listed: ArchivedObject, payload: bytes, digest: bytes, manifest: bytes, object_key: str, version_id: str
    ) -> bool:
        return self.faults.call("postgres", self._record_manifest, listed, manifest)

    def leaves_kept(self, shard: int, tree: TreeName) -> int:
        return self.faults.call("postgres", MemoryTileStore(self.proofs, self.faults).kept, shard, tree)

    def tiles(self, shard: int, tree: TreeName) -> ReadTile:
        return MemoryTileStore(self.proofs, self.faults).reader(shard, tree)

    def close(self) -> None: ...

    def _cursor(self, shard: int) -> tuple[int, int]:
        mine = [archived for (number, _), archived in self.objects.items() if number == shard]
        return (mine[-1].range_no, mine[-1].journal_offset) if mine else (0, 0)

    def _proved_range(self, shard: int, range_no: int) -> ProvedRange | None:
        proof = self.proofs.proofs.get((shard, range_no))
        if proof is None:
            return None
        return ProvedRange(shard, range_no, proof, self.proofs.ranges[shard][range_no - 1].journal_offset)

    def _record_object(self, archived: ArchivedObject, intent: AuditIntent) -> bool:
        key = (archived.shard, archived.range_no)
        if key in self.objects:
            return False
        assert archived.range_no == self._cursor(archived.shard)[0] + 1
        self.objects[key] = archived
        assert admission_fault(intent) is None, admission_fault(intent)  # as the outbox does
        self.intents.append(intent)
        return True

    def _unlisted(self, shard: int) -> ListingTerms | None:
        number = 1 + max((no for at, no in self.manifests if at == shard), default=0)
        archived = self.objects.get((shard, number))
        if archived is None:
            return None
        before = self.manifests.get((shard, number - 1))
        prev_hash = None if before is None else parse_manifest(before).hash
        note = self.proofs.checkpoints[shard, self.proofs.ranges[shard][number - 1].next_offset]
        return ListingTerms(archived, STORED_AT, self.proofs.proofs[shard, number], note, prev_hash)

    def _record_manifest(self, listed: ArchivedObject, manifest: bytes) -> bool:
        key = (listed.shard, listed.range_no)
        if key in self.manifests:
            return False
        self.manifests[key] = manifest
        return True
