"""What lies in an archive, by shard: every version of every manifest and batch of one environment.

Guarantees: nothing of them is passed over: a name that is neither a manifest's nor a batch's is a finding.
Does not: read an object, or say whether one is sound (`ledger_core.verify.archive` does).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ledger_core.archive.batch import manifest_key
from ledger_core.findings import Collector
from ledger_core.ports import StoredObject

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
    for kind in ("manifests", "batches"):
        for stored in reader.versions(f"{env}/{kind}/"):
            shard_text = _SHARD.search(stored.key)
            if shard_text is None:
                found.add("archive.key", "not the name of a manifest or batch", place=stored.key)
                continue
            shard = int(shard_text[1])
            listing = shards.setdefault(shard, ShardListing())
            name = stored.key.rpartition("/")[2].removesuffix(".json")
            if kind == "batches":
                listing.batches.setdefault(stored.key, []).append(stored)
            elif name.isdigit() and stored.key == manifest_key(env, shard, int(name)):
                listing.manifests.setdefault(int(name), []).append(stored)
            else:
                found.add("archive.key", "not the name of a manifest", shard=shard, place=stored.key)
    return shards


def first_offset_of(batch_key: str) -> int | None:
    """The first offset that a batch's name speaks of; None when it is not the name of a batch."""
    offset = _OFFSETS.search(batch_key)
    return None if offset is None else int(offset[1])
