"""Checking one manifest, and the batch it pins, in one store.

Guarantees: a manifest passes only in its place of the signed chain, under a lock, with the signed checkpoint of its
batch's root; a batch only when version, lock, sizes and digests are what its manifest says, and its lines what the
history before them demands. A second store (`ArchiveSource.second`) is asked for bytes only: which versions it has
and how it locks them is its own matter, for the digests are pinned.
Does not: know what else lies in the store, or where the chain must end (`ledger_core.verify.archive_walk`,
`verify_archive`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger_core.archive.batch import object_metadata
from ledger_core.archive.listing import ArchiveReader, BelowPrefix, ShardListing
from ledger_core.archive.manifest import Manifest, ManifestObject, parse_manifest
from ledger_core.archive.names import batch_key
from ledger_core.errors import Corrupt
from ledger_core.findings import Collector
from ledger_core.ports import StoredObject
from ledger_core.proof_ids import of_range
from ledger_core.signing.registry import SignerRegistry
from ledger_core.times import parse_time
from ledger_core.verify.batch import BatchFacts, check_batch
from ledger_core.verify.checkpoint_check import RecordEnd, difference
from ledger_core.verify.range_tally import Position
from ledger_core.verify.statements import check_note, check_signature


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """A store, and what it lists of one shard. Of a `second` one only the bytes count: its versions and locks are those
    of a copy."""

    reader: ArchiveReader  # the store to read bytes from
    listing: ShardListing  # what the store lists of the shard
    second: bool = False


def sources_of(readers: Sequence[ArchiveReader], listings: Sequence[ShardListing]) -> list[ArchiveSource]:
    """The archive and its copies. What stands below a prefix was copied there, whichever is named first."""
    return [
        ArchiveSource(reader, listing, second=number > 0 or isinstance(reader, BelowPrefix))
        for number, (reader, listing) in enumerate(zip(readers, listings, strict=True))
    ]


@dataclass(frozen=True, slots=True)
class ArchiveScene:
    """What every check of one archive goes by."""

    env: str  # environment, such as prod; part of every proof and object name
    registry: SignerRegistry  # keys that may have signed
    keep_lines: bool = False  # whether VerifiedRange carries the lines; a rebuild needs them


@dataclass(frozen=True, slots=True)
class ReadManifest:
    """A manifest as it was read, and what its store says of it."""

    manifest: Manifest  # parsed; not yet verified
    data: bytes  # its bytes as read
    stored: StoredObject  # version, size and lock, by the store


def read_manifest(source: ArchiveSource, scene: ArchiveScene, number: int, found: Collector) -> ReadManifest | None:
    """Read manifest `number` of the listed shard and check it on its own; None when there is none to go by."""
    versions = source.listing.manifests.get(number, [])
    if not source.second:
        check_versions(versions, None, found)
    real = [stored for stored in versions if stored.size_bytes >= 0]
    try:
        data = source.reader.get(real[0].key, real[0].version_id)  # the oldest is the original
        manifest = parse_manifest(data)
    except (IndexError, KeyError):
        found.add("archive.missing", "the manifest cannot be read", field="version_id")
        return None
    except Corrupt as error:
        found.add("archive.object", str(error), field="stored_sha256")
        return None
    except ValueError as error:
        found.add("manifest.form", f"not a manifest: {error}", field="data")
        return None
    found.count("manifests")
    check_signature(manifest, scene.registry, found, "manifest")
    if not source.second:
        check_lock(real[0], manifest.object, found)
    return ReadManifest(manifest, data, real[0])


def check_place(
    manifest: Manifest, env: str, shard: int, number: int, prev_hash: str | None, *, known: bool, found: Collector
) -> None:
    """Whether a manifest belongs where it stands; `known`: what `prev_hash` says of the one before is not lost."""
    for name, said, wanted in (
        ("env", manifest.env, env),
        ("shard", manifest.shard, shard),
        ("manifest_no", manifest.manifest_no, str(number)),
    ):
        if said != wanted:
            found.add(f"manifest.{name}", f"says {name} {said}, stands at {wanted}", field=name)
    if known and manifest.prev_manifest_hash != prev_hash:
        message = f"follows {manifest.prev_manifest_hash}, the manifest before it is {prev_hash}"
        found.add("manifest.prev_manifest_hash", message, field="prev_manifest_hash")


def check_object(
    source: ArchiveSource, scene: ArchiveScene, manifest: Manifest, position: Position, found: Collector
) -> BatchFacts | None:
    """One batch: its versions and lock as the store says, its bytes as the manifest says, its lines as they are.

    Moves the position behind it, also when it cannot be read: then as the signed manifest says.
    """
    pinned = manifest.object
    stored = None
    if not source.second:
        versions = source.listing.batches.get(pinned.key, [])
        check_versions(versions, pinned.version_id, found)
        stored = next((item for item in versions if item.version_id == pinned.version_id), None)
        if stored is not None:
            check_lock(stored, pinned, found)
    try:
        data = _read_pinned(source, pinned)
    except (KeyError, Corrupt) as error:
        if isinstance(error, Corrupt):
            found.add("archive.object", str(error), field="stored_sha256")
        else:
            found.add("archive.missing", f"version {pinned.version_id} cannot be read", field="version_id")
        _jump_over(manifest, position)
        return None
    found.count("objects")
    facts = check_batch(data, scene.registry, found, position, keep_lines=scene.keep_lines)
    if facts.proof is None or position.seq != int(pinned.range.last_seq):
        _jump_over(manifest, position)
    _compare_object(scene.env, manifest, data, facts, stored, found)
    _check_checkpoint(scene, manifest, facts, position, found)
    return facts


def check_unlisted(
    source: ArchiveSource,
    scene: ArchiveScene,
    stored: StoredObject,
    position: Position,
    range_no: int,
    found: Collector,
) -> BatchFacts | None:
    """A batch behind the newest manifest, the archiver's next step: its lines must continue the history."""
    if not source.second:
        check_versions(source.listing.batches[stored.key], stored.version_id, found)
    try:
        data = source.reader.get(stored.key, stored.version_id)
    except KeyError:
        found.add("archive.missing", f"version {stored.version_id} cannot be read", field="version_id")
        return None
    except Corrupt as error:
        found.add("archive.object", str(error), field="stored_sha256")
        return None
    facts = check_batch(data, scene.registry, found, position, keep_lines=scene.keep_lines)
    if facts.proof is not None and len(facts.proof.shards) == 1:
        part = facts.proof.shards[0]
        _compare(
            [
                ("env", scene.env, facts.proof.env),
                ("key", stored.key, batch_key(scene.env, part)),
                ("range.proof_id", of_range(scene.env, part.shard, range_no), facts.proof.proof_id),
            ],
            found,
        )
    return facts


def _read_pinned(source: ArchiveSource, pinned: ManifestObject) -> bytes:
    """The pinned version; in a second store any version with the pinned digest. Raises KeyError, Corrupt."""
    if not source.second:
        return source.reader.get(pinned.key, pinned.version_id)
    for stored in source.listing.batches.get(pinned.key, []):
        if stored.size_bytes >= 0:
            data = source.reader.get(pinned.key, stored.version_id)
            if hashlib.sha256(data).hexdigest() == pinned.stored_sha256:
                return data
    raise KeyError(pinned.key)


def _jump_over(manifest: Manifest, position: Position) -> None:
    """Stand behind a batch that could not be read, as its signed manifest says; its finding is made."""
    position.jump(int(manifest.object.range.last_seq), None)
    position.next_offset = int(manifest.object.range.next_offset)
    position.prev_proof_hash = manifest.object.range.proof_hash


def check_versions(versions: Sequence[StoredObject], pinned: str | None, found: Collector) -> None:
    """A key has one version, the pinned one where a manifest says which."""
    markers = sum(stored.size_bytes < 0 for stored in versions)
    if markers:
        found.add("archive.delete_marker", f"{markers} delete markers shadow this key", field="version_id")
    if len(versions) - markers > 1:
        named = ", ".join(stored.version_id for stored in versions if stored.size_bytes >= 0)
        found.add("archive.shadowed", f"{len(versions) - markers} versions of one key: {named}", field="version_id")
    if pinned is not None and all(stored.version_id != pinned for stored in versions):
        found.add("archive.missing", f"version {pinned} is not in the store", field="version_id")


def check_lock(stored: StoredObject, pinned: ManifestObject, found: Collector) -> None:
    """The lock of an object, and of the manifest that was stored under the same one."""
    if stored.mode is None or stored.retain_until is None:
        found.add("archive.retention", "this version is not locked", field="retain_until")
        return
    if stored.mode != pinned.mode:
        found.add("archive.retention", f"locked in mode {stored.mode}, the manifest says {pinned.mode}", field="mode")
    # Stores keep whole seconds or milliseconds; extending a lock is allowed, shortening is what must not be.
    if stored.retain_until + dt.timedelta(seconds=1) <= parse_time(pinned.retain_until):
        message = f"retained until {stored.retain_until.isoformat()}, the manifest says {pinned.retain_until}"
        found.add("archive.retention", message, field="retain_until")


def _check_checkpoint(
    scene: ArchiveScene, manifest: Manifest, facts: BatchFacts, position: Position, found: Collector
) -> None:
    """The checkpoint in a manifest is signed, and is that of the proved tree and of the verdict lines below it."""
    kept = check_note(manifest.checkpoint.encode(), scene.registry, found)
    if kept is None:
        return
    pinned = manifest.object.range
    root = None if facts.proof is None else facts.proof.shards[0].root
    end = RecordEnd(scene.env, manifest.shard, int(pinned.last_seq), int(pinned.next_offset), root, position.verdicts)
    told = difference(kept.origin, kept.size, kept.root, kept.record, end)
    if told is not None:
        found.add(f"checkpoint.{told[0]}", told[1], field="checkpoint")


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
            ("manifest_no", of_range(env, manifest.shard, int(manifest.manifest_no)), facts.proof.proof_id),
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
    _compare(pairs, found)


def _compare(pairs: Sequence[tuple[str, object, object]], found: Collector) -> None:
    for name, said, read in pairs:
        if said != read:
            found.add("archive.object", f"{name} must be {said}, the object has {read}", field=name)
