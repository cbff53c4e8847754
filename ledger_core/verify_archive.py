"""Checking a whole archive from the store alone: every version of every object, and every byte in them.

Guarantees: per shard, manifests form one gapless signed chain from 1; each pins one version of one batch whose
digests, sizes, lock and range are what it says, and carries the signed checkpoint of the batch's root; batches follow
each other without a gap in sequences, offsets and
proofs, and their entries are recomputed from genesis on. A key with several versions or a delete marker is a finding
(shadowed), and so is an object that no manifest lists, unless it lies behind the newest manifest (the archiver's next
step). It cannot know of manifests cut off at the end, unless the caller says where the chain must end (`expected`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ledger_core.audit_batch import batch_key, manifest_key, object_metadata
from ledger_core.findings import Collector, Report
from ledger_core.manifest import Manifest, parse_manifest
from ledger_core.ports import StoredObject
from ledger_core.signers import SignerRegistry
from ledger_core.times import parse_time
from ledger_core.verify_batch import BatchFacts, check_batch
from ledger_core.verify_proof import check_note, check_signature
from ledger_core.verify_range import Position

_SHARD: Final = re.compile(r"/(?:batches|manifests)/shard-([0-9]{5,10})/")
_OFFSETS: Final = re.compile(r"/offsets-([0-9]{19})-[0-9]{19}\.seqs-")


class ArchiveReader(Protocol):
    """The reading half of `ports.ArchiveStore`."""

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """The bytes of one version; KeyError when there is none."""
        ...

    def versions(self, prefix: str) -> Sequence[StoredObject]:
        """Every version below a prefix; delete markers have size_bytes == -1."""
        ...


@dataclass(frozen=True, slots=True)
class ArchiveHead:
    """Where a shard's manifest chain must reach at least: from Postgres, or from an earlier look at the archive."""

    shard: int
    manifest_no: int
    hash: str


@dataclass(slots=True)
class _ShardCheck:
    """One shard's way through its manifests."""

    position: Position
    manifests: dict[int, list[StoredObject]] = field(default_factory=dict)
    batches: dict[str, list[StoredObject]] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    hashes: dict[int, str] = field(default_factory=dict)
    prev_hash: str | None = None  # of the newest manifest; None: genesis, or lost in a gap
    retain_until_min: dt.datetime | None = None


def check_archive(
    reader: ArchiveReader,
    env: str,
    registry: SignerRegistry,
    *,
    shards: Iterable[int] | None = None,
    expected: Sequence[ArchiveHead] = (),
) -> Report:
    """Check everything of `env` in the archive (or only `shards`). Raises what the reader raises (Unavailable)."""
    found = Collector()
    checks = _sort(reader, env, found)
    wanted = set(shards) if shards is not None else set(checks) | {head.shard for head in expected}
    for shard in sorted(wanted):
        check = checks.get(shard) or _ShardCheck(Position(shard))
        found.shard = shard
        _check_shard(reader, env, registry, check, found)
        found.place = None
        for head in expected:
            if head.shard == shard and check.hashes.get(head.manifest_no) != head.hash:
                have = check.hashes.get(head.manifest_no, "none")
                message = f"manifest {head.manifest_no} must have hash {head.hash}, the archive has {have}"
                found.add("archive.truncated", message, field="manifest_no")
    if not wanted:
        found.add("archive.empty", f"there is no manifest of environment {env}: an empty archive proves nothing")
    found.shard = found.place = None
    return found.report()


def _sort(reader: ArchiveReader, env: str, found: Collector) -> dict[int, _ShardCheck]:
    """All versions of all keys, by shard."""
    checks: dict[int, _ShardCheck] = {}
    for kind in ("manifests", "batches"):
        for stored in reader.versions(f"{env}/{kind}/"):
            shard_text = _SHARD.search(stored.key)
            if shard_text is None:
                found.add("archive.key", "not the name of a manifest or batch", place=stored.key)
                continue
            shard = int(shard_text[1])
            check = checks.setdefault(shard, _ShardCheck(Position(shard)))
            name = stored.key.rpartition("/")[2].removesuffix(".json")
            if kind == "batches":
                check.batches.setdefault(stored.key, []).append(stored)
            elif name.isdigit() and stored.key == manifest_key(env, shard, int(name)):
                check.manifests.setdefault(int(name), []).append(stored)
            else:
                found.add("archive.key", "not the name of a manifest", shard=shard, place=stored.key)
    return checks


def _check_shard(
    reader: ArchiveReader, env: str, registry: SignerRegistry, check: _ShardCheck, found: Collector
) -> None:
    last_no = 0
    for number in sorted(check.manifests):
        if number != last_no + 1:
            gap = str(last_no + 1) if number == last_no + 2 else f"{last_no + 1}..{number - 1}"
            found.add("archive.manifest_gap", f"manifest {gap} is missing", field="manifest_no", place=None)
            check.prev_hash = None
        found.place = manifest_key(env, check.position.shard, number)
        manifest = _read_manifest(reader, registry, check.manifests[number], found)
        if manifest is not None:
            _check_link(env, number, manifest, check, follows=number == last_no + 1, found=found)
            found.place = manifest.object.key
            _check_object(reader, env, registry, manifest, check, found)
        else:
            check.prev_hash = None
        last_no = number
    for key in sorted(set(check.batches) - check.listed):
        offset = _OFFSETS.search(key)
        following = check.position.next_offset
        if offset is not None and (following is None or int(offset[1]) >= following):
            found.count("objects_not_listed_yet")
        else:
            found.add("archive.unlisted", "no manifest lists this object", field="key", place=key)


def _read_manifest(
    reader: ArchiveReader, registry: SignerRegistry, versions: Sequence[StoredObject], found: Collector
) -> Manifest | None:
    _check_versions(versions, None, found)
    real = [stored for stored in versions if stored.size_bytes >= 0]
    try:
        data = reader.get(real[-1].key, real[-1].version_id)  # stores list the newest first: this is the original
        manifest = parse_manifest(data)
    except (IndexError, KeyError):
        found.add("archive.missing", "the manifest is listed and cannot be read", field="version_id")
        return None
    except ValueError as error:
        found.add("manifest.form", f"not a manifest: {error}", field="data")
        return None
    found.count("manifests")
    check_signature(manifest, registry, found, "manifest")
    return manifest


def _check_link(
    env: str, number: int, manifest: Manifest, check: _ShardCheck, *, follows: bool, found: Collector
) -> None:
    for name, said, wanted in (
        ("env", manifest.env, env),
        ("shard", manifest.shard, check.position.shard),
        ("manifest_no", manifest.manifest_no, str(number)),
    ):
        if said != wanted:
            found.add(f"manifest.{name}", f"says {name} {said}, stands at {wanted}", field=name)
    known = check.prev_hash is not None or number == 1
    if follows and known and manifest.prev_manifest_hash != check.prev_hash:
        message = f"follows {manifest.prev_manifest_hash}, the manifest before it is {check.prev_hash}"
        found.add("manifest.prev_manifest_hash", message, field="prev_manifest_hash")
    check.prev_hash = check.hashes[number] = manifest.hash


def _check_object(
    reader: ArchiveReader,
    env: str,
    registry: SignerRegistry,
    manifest: Manifest,
    check: _ShardCheck,
    found: Collector,
) -> None:
    """One batch: its versions and lock as the store says, its bytes as the manifest says, its lines as they are."""
    pinned = manifest.object
    check.listed.add(pinned.key)
    versions = check.batches.get(pinned.key, [])
    _check_versions(versions, pinned.version_id, found)
    stored = next((item for item in versions if item.version_id == pinned.version_id), None)
    if stored is not None:
        _check_lock(stored, manifest, found)
    try:
        data = reader.get(pinned.key, pinned.version_id)
    except KeyError:
        found.add("archive.missing", f"version {pinned.version_id} cannot be read", field="version_id")
        check.position.jump(int(pinned.range.last_seq), None)
        _follow(manifest, check.position)
        return
    found.count("objects")
    facts = check_batch(data, registry, found, check.position)
    if facts.proof is None or check.position.seq != int(pinned.range.last_seq):
        check.position.jump(int(pinned.range.last_seq), None)
        _follow(manifest, check.position)
    _compare_object(env, manifest, data, facts, stored, found)
    _check_checkpoint(env, manifest, facts, registry, found)


def _check_checkpoint(
    env: str, manifest: Manifest, facts: BatchFacts, registry: SignerRegistry, found: Collector
) -> None:
    """The checkpoint in a manifest is signed, and is that of the proved tree."""
    kept = check_note(manifest.checkpoint.encode(), registry, found)
    if kept is None:
        return
    size = manifest.object.range.last_seq
    if str(kept.size) != size:
        found.add("checkpoint.size", f"the note is of size {kept.size}, the range ends at {size}", field="checkpoint")
    if not kept.origin.endswith(f"/finance/{env}/ledger/{manifest.shard}"):
        found.add("checkpoint.origin", f"the note is of {kept.origin}", field="checkpoint")
    if facts.proof is not None and kept.root.hex() != facts.proof.shards[0].root:
        message = f"the signed root is {kept.root.hex()}, the proof has {facts.proof.shards[0].root}"
        found.add("checkpoint.root", message, field="checkpoint")


def _follow(manifest: Manifest, position: Position) -> None:
    """Stand behind a batch that could not be read, as its signed manifest says; its finding is made."""
    position.next_offset = int(manifest.object.range.next_offset)
    position.prev_proof_hash = manifest.object.range.proof_hash


def _check_versions(versions: Sequence[StoredObject], pinned: str | None, found: Collector) -> None:
    markers = sum(stored.size_bytes < 0 for stored in versions)
    if markers:
        found.add("archive.delete_marker", f"{markers} delete markers shadow this key", field="version_id")
    if len(versions) - markers > 1:
        named = ", ".join(stored.version_id for stored in versions if stored.size_bytes >= 0)
        found.add("archive.shadowed", f"{len(versions) - markers} versions of one key: {named}", field="version_id")
    if pinned is not None and all(stored.version_id != pinned for stored in versions):
        found.add("archive.missing", f"version {pinned} is not in the store", field="version_id")


def _check_lock(stored: StoredObject, manifest: Manifest, found: Collector) -> None:
    pinned = manifest.object
    if stored.mode is None or stored.retain_until is None:
        found.add("archive.retention", "this version is not locked", field="retain_until")
        return
    if stored.mode != pinned.mode:
        found.add("archive.retention", f"locked in mode {stored.mode}, the manifest says {pinned.mode}", field="mode")
    # Stores keep whole seconds or milliseconds; extending a lock is allowed, shortening is what must not be.
    if stored.retain_until + dt.timedelta(seconds=1) <= parse_time(pinned.retain_until):
        message = f"retained until {stored.retain_until.isoformat()}, the manifest says {pinned.retain_until}"
        found.add("archive.retention", message, field="retain_until")


def _compare_object(
    env: str, manifest: Manifest, data: bytes, facts: BatchFacts, stored: StoredObject | None, found: Collector
) -> None:
    pinned = manifest.object
    pairs: list[tuple[str, object, object]] = [
        ("stored_sha256", pinned.stored_sha256, hashlib.sha256(data).hexdigest()),
        ("stored_size_bytes", pinned.stored_size_bytes, str(len(data))),
        ("sha256", pinned.sha256, facts.sha256),
        ("size_bytes", pinned.size_bytes, str(facts.size_bytes)),
    ]
    if facts.proof is not None and len(facts.proof.shards) == 1:
        part = facts.proof.shards[0]
        pairs += [
            ("env", facts.proof.env, env),
            ("key", pinned.key, batch_key(env, part)),
            ("range.proof_id", pinned.range.proof_id, facts.proof.proof_id),
            ("range.proof_hash", pinned.range.proof_hash, facts.proof.hash),
            ("range.first_seq", pinned.range.first_seq, part.first_seq),
            ("range.last_seq", pinned.range.last_seq, part.last_seq),
            ("range.first_offset", pinned.range.first_offset, part.source.first_offset),
            ("range.next_offset", pinned.range.next_offset, part.source.next_offset),
        ]
    if stored is not None and stored.metadata and facts.metadata is not None:
        wanted = object_metadata(facts.metadata, facts.sha256)
        shown: Mapping[str, str] = {name: text for name, text in stored.metadata.items() if name in wanted}
        pairs.append(("object_metadata", shown, wanted))
    for name, said, read in pairs:
        if said != read:
            found.add("archive.object", f"{name} must be {said}, the object has {read}", field=name)
