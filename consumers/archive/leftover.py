"""Beside the archiver's normal path: what a crash or an older database left in the archive is taken for what it is.

Guarantees: asked of the first objects of a shard after its assignment, until one is not there yet; from then on nothing
can be left, and the archive is not asked. A batch keeps the bytes and the lock it was published with; a manifest counts
when it says the same under a registered key, also after a rotation.
Does not: store or record anything: the normal path does, with what it is given here (`consumers.archive.archiver`,
`consumers.archive.manifest_lister`), or judge what is not ours: the PUT does.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import structlog

from consumers.archive.stored_batch import manifest_under, range_as_stored
from consumers.signing.signer_set import SignerSet
from ledger_core.archive.batch import SealedBatch
from ledger_core.archive.manifest import ManifestPayload, lists_the_same
from ledger_core.archive.names import manifest_key
from ledger_core.archive.range_batch import RangeBatch
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

    def batch(self, shard: int, range_no: int, batch: RangeBatch, sealed: SealedBatch) -> LeftBatch:
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

    def _published_lock(self, batch: RangeBatch, range_no: int) -> dt.datetime | None:
        """The end of the lock that was published with the object, if a manifest lists it already: the retention of
        today counts for what is stored from now on."""
        key = manifest_key(batch.proof.env, batch.part.shard, range_no)
        listed = manifest_under(self._archive, key, self._signers.registry)
        if listed is None or (listed[1].object.key, listed[1].object.range.proof_hash) != (batch.key, batch.proof.hash):
            return None
        return parse_time(listed[1].object.retain_until)
