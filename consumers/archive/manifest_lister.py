"""Listing what is archived: each object's manifest is signed, stored under the object's own lock, and recorded.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. FIND an archived object without one nothing changes
  2. TILES that its range completes      a crash leaves some, which the next try finds equal (`tile_writer`)
  3. SIGN its manifest                   a crash forgets it
  4. PUT it under the object's lock      a crash leaves one that the next try takes for ours
  5. RECORD it, INSERT manifests         the commit point: the object is listed
Guarantees: manifests are made in order and say only what is on record, so that a retry makes the same bytes or finds
them stored; one that a crash left in the store is taken for ours when it says the same under a registered key, also
after a rotation.
Does not: archive objects (`consumers.archive.archiver` does, and drives this).
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

import structlog

from consumers.archive.leftover import Leftovers
from consumers.archive.lock_terms import Waiting
from consumers.archive.tile_writer import KeptTiles, TileWriter
from consumers.metrics import Metrics
from consumers.signing.circuit import SignerAway
from consumers.signing.signer_set import SignerSet
from ledger_core.archive.archived_object import ArchivedObject, ListingTerms, manifest_payload
from ledger_core.archive.manifest import Manifest, ManifestPayload, assemble_manifest, parse_manifest
from ledger_core.archive.names import manifest_key
from ledger_core.errors import Corrupt
from ledger_core.ports import ArchiveStore
from ledger_core.proving.range_proof import parse_proof

MANIFESTS_MAX = 4  # of one shard in one step

log = structlog.get_logger("archiver")


class ListerStore(KeptTiles, Protocol):
    """See `ledger_core.postgres.archive.archiver_store`. Every method may raise Unavailable("postgres")."""

    def unlisted(self, shard: int) -> ListingTerms | None: ...

    def record_manifest(
        self, listed: ArchivedObject, payload: bytes, digest: bytes, manifest: bytes, object_key: str, version_id: str
    ) -> bool: ...


class ManifestLister:
    """Lists the objects of the shards it watches."""

    def __init__(
        self,
        store: ListerStore,
        archive: ArchiveStore,
        signers: SignerSet,
        metrics: Metrics,
        leftovers: Leftovers,
        waiting: Waiting,
    ) -> None:
        self._waiting = waiting
        self._store = store
        self._archive = archive
        self._signers = signers
        self._metrics = metrics
        self._expected: set[int] = set()  # shards of which some object may have no manifest
        self._leftovers = leftovers
        self._tiles = TileWriter(store, archive, signers.registry)

    def watch(self, shard: int) -> None:
        """A shard became ours, in whatever state its last owner left it."""
        self._expected.add(shard)
        self._leftovers.watch_manifests(shard)

    def expect(self, shard: int) -> None:
        """An object of the shard was archived."""
        self._expected.add(shard)

    def forget(self, shard: int) -> None:
        self._expected.discard(shard)
        self._leftovers.forget_manifests(shard)

    def step(self) -> bool:
        """Sign and store the manifests of objects that have none, in order, a bounded number. What the store refuses of
        one shard waits for an operator; every other shard goes on."""
        worked = False
        for shard in sorted(self._expected):
            if self._signers.ready and not self._waiting.waits(_name(shard)):
                worked |= self._list_some(shard)
        return worked

    def _list_some(self, shard: int) -> bool:
        for done in range(MANIFESTS_MAX):
            # 1. FIND. The oldest that has none, so manifests come in order; a crash finds the same one.
            terms = self._store.unlisted(shard)
            if terms is None:
                self._expected.discard(shard)
                return done > 0
            if not self._list(terms):
                return done > 0
        return True

    def _list(self, terms: ListingTerms) -> bool:
        """One object's manifest: signed, verified, stored, recorded. False: the signer is away, or somebody refuses."""
        archived, proof = terms.archived, parse_proof(terms.proof)
        # 2. TILES. Before the manifest, so that what it lists can be proved from the archive alone; a crash leaves some
        # of them, and they are the next try's own.
        if not self._waiting.attempt(_tiles(archived.shard), partial(self._tiles.write, terms, proof)):
            return False
        payload = manifest_payload(terms, proof, self._signers.kid, self._signers.algorithm)
        key = manifest_key(payload.env, archived.shard, archived.range_no)
        data = self._leftovers.manifest(archived.shard, key, payload)
        if data is None:
            # 3. SIGN. Of the payload that stands on record; a crash forgets the signature and makes another.
            try:
                with self._signers.attempt() as signer:
                    signature = signer.sign_digest(payload.digest())
            except SignerAway:
                return False  # logged and counted; manifests wait, archiving goes on
            data = assemble_manifest(payload.to_bytes(), signature)
        store = partial(self._store_manifest, archived, key, data, payload, proof.trace_id)
        return self._waiting.attempt(_name(archived.shard), store)

    def _store_manifest(
        self, archived: ArchivedObject, key: str, data: bytes, payload: ManifestPayload, trace_id: str
    ) -> bool:
        # 4. PUT. A crash before leaves nothing; after it, a manifest that says the same and is taken for ours, as is
        # one that another archiver signed meanwhile, with a key of its own.
        try:
            manifest, version_id = self._put(archived, key, data)
        except Corrupt:
            left = self._leftovers.manifest_of_another(archived.shard, key, payload)
            if left is None:
                raise
            data = left
            manifest, version_id = self._put(archived, key, data)
        digest = bytes.fromhex(manifest.hash)
        # 5. RECORD. A crash before the COMMIT stores the same manifest again; after it, the object is listed.
        if self._store.record_manifest(archived, manifest.to_bytes(), digest, data, key, version_id):
            self._metrics.exported()
            log.info("manifest.stored", shard=archived.shard, manifest_no=archived.range_no, trace_id=trace_id)
        return True

    def _put(self, archived: ArchivedObject, key: str, data: bytes) -> tuple[Manifest, str]:
        """Under the lock of the object that it lists; the manifest, and the store's id of this version."""
        manifest = parse_manifest(data)
        texts = {"manifest-no": manifest.manifest_no, "hash": manifest.hash, "signer-kid": manifest.signer_kid}
        stored = self._archive.put(key, data, retain_until=archived.pinned.retain_until, metadata=texts)
        return manifest, stored.version_id


def _tiles(shard: int) -> str:
    return f"tiles of shard {shard}"


def _name(shard: int) -> str:
    return f"manifests of shard {shard}"
