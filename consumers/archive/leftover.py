"""Beside the archiver's normal path: what a crash, an older database or another archiver left is taken for what it is.

Guarantees: asked of the first objects of a shard after its assignment, until one is not there yet, and whenever the
store holds other bytes than ours: then another archiver came first, under settings, a key or a zlib of its own. A batch
keeps the bytes and the lock it was published with; a manifest counts when it says the same under a registered key, also
after a rotation.
Does not: record anything (`consumers.archive.archiver`, `consumers.archive.manifest_lister`), or judge what is not
ours: the PUT does.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import NamedTuple

import structlog

from consumers.archive.lock_terms import LockTerms
from consumers.archive.stored_batch import manifest_under, range_as_stored
from consumers.signing.signer_set import SignerSet
from ledger_core.archive.archived_object import ProvedRange
from ledger_core.archive.batch import SealedBatch
from ledger_core.archive.manifest import ManifestPayload, lists_the_same
from ledger_core.archive.names import manifest_key
from ledger_core.archive.pinned_object import PinnedObject, pin_object
from ledger_core.archive.range_batch import RangeBatch
from ledger_core.errors import Corrupt
from ledger_core.ports import ArchiveStore
from ledger_core.times import parse_time

log = structlog.get_logger("archiver")


class LeftBatch(NamedTuple):
    """A batch as it goes on into the archive."""

    sealed: SealedBatch  # the bytes to store: those that lie there already, where the oracle finds them sound
    retain_until: dt.datetime | None  # the end of the lock that a manifest lists for it; None: no manifest lists it yet


class Leftovers:
    """Of the shards of one archiver."""

    def __init__(self, archive: ArchiveStore, signers: SignerSet) -> None:
        self._archive = archive
        self._signers = signers
        self._batches: set[int] = (
            set()
        )  # since `watch`, every object of the shard was there already: so may be the next
        self._manifests: set[int] = set()  # the same of manifests

    def watch_batches(self, shard: int) -> None:
        """The shard became ours, in whatever state its last owner left it."""
        self._batches.add(shard)

    def watch_manifests(self, shard: int) -> None:
        self._manifests.add(shard)

    def forget_batches(self, shard: int) -> None:
        self._batches.discard(shard)

    def forget_manifests(self, shard: int) -> None:
        self._manifests.discard(shard)

    def put_batch(
        self,
        proved: ProvedRange,
        batch: RangeBatch,
        sealed: SealedBatch,
        locks: LockTerms,
        metadata: dict[str, str],
    ) -> PinnedObject:
        """Store the batch of a range, or take what stands there of it. Raises Corrupt when something else stands there,
        Refused when no lock can be counted, Unavailable."""

        def put() -> PinnedObject:
            left = self._batch(proved.shard, proved.range_no, batch, sealed)
            until = left.retain_until or locks.end(batch.key, parse_time(batch.proof.ts))
            stored = self._archive.put(batch.key, left.sealed.data, retain_until=until, metadata=metadata)
            pinned = pin_object(left.sealed, stored)
            return pinned if left.retain_until is None else replace(pinned, retain_until=left.retain_until)

        try:
            return put()
        except Corrupt as error:
            log.warning("batch.stored_elsewhere", shard=proved.shard, range_no=proved.range_no, detail=str(error))
            self.watch_batches(proved.shard)  # whoever stored it goes on: so may the next be there
            return put()

    def _batch(self, shard: int, range_no: int, batch: RangeBatch, sealed: SealedBatch) -> LeftBatch:
        """The batch as it stands in the store, or `sealed` where nothing stands."""
        if shard not in self._batches:
            return LeftBatch(sealed, None)
        left = range_as_stored(self._archive, batch.key, sealed, batch.proof, self._signers.registry)
        if left is None:
            self._batches.discard(shard)
            return LeftBatch(sealed, None)
        if left.sha256 != sealed.sha256:
            log.warning("batch.adopted", shard=shard, range_no=range_no, object_key=batch.key)
        return LeftBatch(left, self._published_lock(batch, range_no))

    def manifest(self, shard: int, key: str, payload: ManifestPayload) -> bytes | None:
        """The manifest that stands under the name and lists the same; None: there is none."""
        if shard not in self._manifests:
            return None
        left = manifest_under(self._archive, key, self._signers.registry)
        if left is not None and lists_the_same(left[1], payload):
            return left[0]
        self._manifests.discard(shard)
        return None

    def manifest_of_another(self, shard: int, key: str, payload: ManifestPayload) -> bytes | None:
        """The same once the store has refused ours: then another archiver stored it meanwhile, and may go on."""
        self.watch_manifests(shard)
        left = self.manifest(shard, key, payload)
        if left is not None:
            log.warning("manifest.stored_elsewhere", shard=shard, object_key=key)
        return left

    def _published_lock(self, batch: RangeBatch, range_no: int) -> dt.datetime | None:
        """The end of the lock that was published with the object, if a manifest lists it already: the retention of
        today counts for what is stored from now on."""
        key = manifest_key(batch.proof.env, batch.part.shard, range_no)
        listed = manifest_under(self._archive, key, self._signers.registry)
        if listed is None or (listed[1].object.key, listed[1].object.range.proof_hash) != (batch.key, batch.proof.hash):
            return None
        return parse_time(listed[1].object.retain_until)
