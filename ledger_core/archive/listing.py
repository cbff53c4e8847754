"""What lies in an archive, by shard: every version of every manifest and batch of one environment.

Guarantees: nothing of them is passed over: a name that is neither a manifest's nor a batch's is a finding.
Does not: read an object, or say whether one is sound (`ledger_core.verify.archive` does).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ledger_core.archive.names import batches_folder, manifest_no_of, manifests_folder, shard_of
from ledger_core.findings import Collector
from ledger_core.ports import StoredObject


class ArchiveReader(Protocol):
    """The reading half of `ports.ArchiveStore`."""

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """The bytes of one version; KeyError when there is none."""
        ...

    def versions(self, prefix: str) -> Sequence[StoredObject]:
        """Every version below a prefix; delete markers have size_bytes == -1."""
        ...


class BelowPrefix:
    """A reader of an archive whose keys all stand below a prefix: a copy in a corner of another bucket."""

    def __init__(self, reader: ArchiveReader, prefix: str) -> None:
        self._reader = reader
        self._prefix = prefix.strip("/") + "/"

    def get(self, key: str, version_id: str | None = None) -> bytes:
        return self._reader.get(self._prefix + key, version_id)

    def versions(self, prefix: str) -> Sequence[StoredObject]:
        found = self._reader.versions(self._prefix + prefix)
        return [dataclasses.replace(stored, key=stored.key.removeprefix(self._prefix)) for stored in found]


@dataclass(slots=True)
class ShardListing:
    """All versions of the manifests (by number) and batches (by key) of one shard."""

    manifests: dict[int, list[StoredObject]] = field(default_factory=dict)
    batches: dict[str, list[StoredObject]] = field(default_factory=dict)


def list_archive(reader: ArchiveReader, env: str, found: Collector) -> dict[int, ShardListing]:
    """All versions of all keys of an environment, by shard. Raises what the reader raises (Unavailable)."""
    shards: dict[int, ShardListing] = {}
    for stored in reader.versions(manifests_folder(env)):
        listing = _listing_of(stored, shards, found)
        if listing is None:
            continue
        shard, of_shard = listing
        number = manifest_no_of(stored.key, env, shard)
        if number is None:
            found.add("archive.key", "not the name of a manifest", shard=shard, place=stored.key)
        else:
            of_shard.manifests.setdefault(number, []).append(stored)
    for stored in reader.versions(batches_folder(env)):
        listing = _listing_of(stored, shards, found)
        if listing is not None:
            listing[1].batches.setdefault(stored.key, []).append(stored)
    return shards


def _listing_of(
    stored: StoredObject, shards: dict[int, ShardListing], found: Collector
) -> tuple[int, ShardListing] | None:
    shard = shard_of(stored.key)
    if shard is None:
        found.add("archive.key", "not the name of a manifest or batch", place=stored.key)
        return None
    return shard, shards.setdefault(shard, ShardListing())
