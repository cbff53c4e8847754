"""The archive as the memory of verdicts and proofs: what a replay asks when the database is lost.

Guarantees: only what verifies is used: each manifest's signature and place in its chain, each object's stored digest,
its proof's signature and the verdict lines' hash in it; anything else is Refused, naming the object. One object is in
memory at a time, and objects that hold no verdict are not fetched for the log. Of each manifest 49 bytes are kept: it
is read again when its object is asked for, and must be the same.
Does not: check entries (the replay makes them anew and compares heads and roots), or locks (`finance verify archive`).
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from consumers.posting.first_verdicts import ELSEWHERE
from ledger_core.archive.batch import parse_metadata
from ledger_core.archive.lines import batch_lines
from ledger_core.archive.listing import ArchiveReader, list_archive
from ledger_core.archive.manifest import Manifest, parse_manifest
from ledger_core.archive.names import manifest_key, manifests_folder
from ledger_core.books.entries import decode_entry
from ledger_core.errors import Refused, RejectReason
from ledger_core.findings import Collector
from ledger_core.ports import StoredObject
from ledger_core.posting.newest_record import NewestRecord
from ledger_core.posting.plans import Known
from ledger_core.posting.verdicts import VerdictLine, activated_rules, decode_verdict, verdicts_hash
from ledger_core.proving.range_proof import RangeProof
from ledger_core.recovery.rebuild_checks import check_empty, check_kids, kids_in
from ledger_core.signing.registry import SignerRegistry
from ledger_core.times import parse_time
from ledger_core.verify.signed_parts import SignedPart
from ledger_core.verify.statements import check_proof, check_signature

REMEDY: Final = "run `finance verify archive`: it names what was altered; replay without --compare archive meanwhile"
ASK: Final = "run it where the key service of the MACs may be asked, or replay without --compare archive"


@dataclass(frozen=True, slots=True)
class _Object:
    """What one archived object says, beside its entries. `newest`: the record of its last entry."""

    proof: RangeProof
    rejected: tuple[VerdictLine, ...]
    newest: NewestRecord | None


@dataclass(slots=True)
class _Listed:
    """What the manifests of one shard list, by place: the manifest's number less one."""

    firsts: array[int] = field(default_factory=lambda: array("q"))  # the first offset of each
    ends: array[int] = field(default_factory=lambda: array("q"))  # the offset after the last of each
    silent: bytearray = field(default_factory=bytearray)  # 1: every offset was posted, so it holds no verdict
    hashes: bytearray = field(default_factory=bytearray)  # 32 bytes of each

    def add(self, manifest: Manifest) -> None:
        part = manifest.object.range
        first, end = int(part.first_offset), int(part.next_offset)
        self.firsts.append(first)
        self.ends.append(end)
        self.silent.append(int(part.last_seq) - int(part.first_seq) + 1 == end - first)
        self.hashes += bytes.fromhex(manifest.hash)

    def within(self, first_offset: int, next_offset: int) -> Iterator[int]:
        """The places that hold a verdict of these offsets, perhaps."""
        for place in range(bisect_right(self.ends, first_offset), bisect_left(self.firsts, next_offset)):
            if not self.silent[place]:
                yield place


class ArchiveLog:
    """`recovery.replay_port.VerdictLog` over the manifests of one environment; objects are fetched when needed."""

    knows_first = False

    def __init__(self, reader: ArchiveReader, env: str, registry: SignerRegistry) -> None:
        self._reader = reader
        self._env = env
        self._registry = registry
        self._manifests: dict[int, _Listed] = {}
        self._held: dict[int, tuple[int, _Object]] = {}  # shard -> place and content of the newest object fetched

    def check_readable(self) -> None:
        """Raise Refused when nothing of the environment is there, or when the registry lacks a key that signed it."""
        listings = list_archive(self._reader, self._env, Collector())
        check_empty(self._reader, self._env, listings)
        check_kids(kids_in(listings.values()), self._registry)

    def covers(self, shard: int) -> int:
        ends = self._of(shard).ends
        return ends[-1] if ends else 0

    def set_aside_end(self, shard: int, offset: int) -> int:
        end = offset
        for place in self._of(shard).within(offset, self.covers(shard)):
            for line in self._object(shard, place).rejected:
                if int(line.offset) == end and line.reason == RejectReason.UNREADABLE:
                    end += 1
                elif int(line.offset) > end:
                    return end
            if int(self._of(shard).ends[place]) > end:
                return end
        return end

    def activated(self, shard: int, offset: int) -> bool | None:
        if offset >= self.covers(shard):
            return None
        lines = (
            line for place in self._of(shard).within(offset, offset + 1) for line in self._object(shard, place).rejected
        )
        return any(int(line.offset) == offset and activated_rules(line.reason) is not None for line in lines)

    def taken_elsewhere(self, shard: int, first_offset: int, next_offset: int) -> dict[int, tuple[str, Known]]:
        found: dict[int, tuple[str, Known]] = {}
        for place in self._of(shard).within(first_offset, next_offset):
            for line in self._object(shard, place).rejected:
                if line.event_id is not None and first_offset <= int(line.offset) < next_offset:
                    digest = None if line.content_hash is None else bytes.fromhex(line.content_hash)
                    found[int(line.offset)] = (line.event_id, Known(ELSEWHERE, 0, None, digest, line.reason))
        return found

    def newest_record(self, shard: int) -> NewestRecord | None:
        """The newest archived entry's record, as far as an entry knows it; None while there is none."""
        for place in reversed(range(len(self._of(shard).ends))):
            newest = self._object(shard, place).newest
            if newest is not None:
                return newest
        return None

    def parts(self, shard: int) -> Iterator[SignedPart]:
        """The signed ranges of a shard, in order."""
        for place in range(len(self._of(shard).ends)):
            proof = self._object(shard, place).proof
            yield SignedPart(proof.proof_id, proof.env, proof.shards[0])

    def _of(self, shard: int) -> _Listed:
        if shard not in self._manifests:
            listed = _Listed()
            for manifest in self._read_manifests(shard):
                listed.add(manifest)
            self._manifests[shard] = listed
        return self._manifests[shard]

    def _read_manifests(self, shard: int) -> Iterator[Manifest]:
        prev_hash: str | None = None
        folder = manifests_folder(self._env, shard)
        for number, stored in enumerate((v for v in self._reader.versions(folder) if v.size_bytes >= 0), 1):
            if stored.key != manifest_key(self._env, shard, number):
                raise _refused(stored.key, f"manifest {number} is due here")
            manifest = self._parsed(stored)
            found = Collector()
            check_signature(manifest, self._registry, found, "manifest")
            if manifest.prev_manifest_hash != prev_hash:
                found.add("manifest.prev_manifest_hash", "it does not follow the manifest before it")
            if manifest.env != self._env:
                found.add("manifest.env", f"it is of environment {manifest.env}, not of {self._env}")
            _raise_found(stored.key, found)
            prev_hash = manifest.hash
            yield manifest

    def _parsed(self, stored: StoredObject) -> Manifest:
        try:
            return parse_manifest(self._reader.get(stored.key, stored.version_id))
        except (ValueError, KeyError) as error:
            raise _refused(stored.key, str(error)) from error

    def _manifest(self, shard: int, place: int) -> Manifest:
        """One that was verified before."""
        key, known = manifest_key(self._env, shard, place + 1), self._of(shard).hashes[32 * place : 32 * (place + 1)]
        for stored in self._reader.versions(key):
            if stored.size_bytes >= 0 and stored.key == key:
                manifest = self._parsed(stored)
                if bytes.fromhex(manifest.hash) == known:
                    return manifest
        raise _refused(key, "it is no longer what it was when it was verified")

    def _object(self, shard: int, place: int) -> _Object:
        held = self._held.get(shard)
        if held is not None and held[0] == place:
            return held[1]
        pinned = self._manifest(shard, place).object
        try:
            data = self._reader.get(pinned.key, pinned.version_id)
        except KeyError as error:
            raise _refused(pinned.key, f"version {pinned.version_id} is not there") from error
        if hashlib.sha256(data).hexdigest() != pinned.stored_sha256:
            raise _refused(pinned.key, "it has other bytes than its manifest pins")
        try:
            read = self._read(pinned.key, data)
        except ValueError as error:
            raise _refused(pinned.key, str(error)) from error
        self._held[shard] = (place, read)
        return read

    def _read(self, key: str, data: bytes) -> _Object:
        lines = batch_lines(data)
        metadata = parse_metadata(next(lines))
        newest_entry = deque(islice(lines, int(metadata.count)), maxlen=1)
        verdicts = list(islice(lines, int(metadata.verdicts)))
        *others, proof_line = lines
        if others:
            raise ValueError("it has more lines than its metadata says")
        found = Collector()
        proof = check_proof(proof_line, self._registry, found)
        _raise_found(key, found)
        if proof is None or len(proof.shards) != 1:
            raise ValueError("its last line is not a proof of one shard")
        if verdicts_hash(verdicts).hex() != proof.shards[0].source.verdicts_hash:
            raise ValueError("its verdict lines are not those that were signed")
        newest = None
        if newest_entry:
            entry = decode_entry(newest_entry[0])
            appended_ms = int(parse_time(entry.recorded_at).timestamp() * 1000)
            newest = NewestRecord(int(entry.source.offset), appended_ms, None)
        read = [decode_verdict(line) for line in verdicts]
        return _Object(proof, tuple(line for line in read if line.verdict == "rejected"), newest)


def _raise_found(key: str, found: Collector) -> None:
    for finding in found.report().findings:
        if finding.code == "proof.mac":  # whether it was altered nobody here can say
            raise Refused(f"{key}: {finding.code}: {finding.message}", remedy=ASK)
        raise _refused(key, f"{finding.code}: {finding.message}")


def _refused(key: str, why: str) -> Refused:
    return Refused(f"{key}: {why}", remedy=REMEDY)
