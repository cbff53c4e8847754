"""The newest range of a shard that is known outside the database: by the audit topic, by the archive.

Guarantees: an audit event or manifest counts only when its signature verifies with the registered key: whoever could
write there without a key can stop nothing. Changes nothing.
Does not: read more of the topic than back to the newest `journal.posted` of the shard, a bounded step at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from consumers.published_guard import PublishedRange
from ledger_core.audit_batch import manifest_key
from ledger_core.audit_chain import AuditEvent, event_hash
from ledger_core.errors import Refused
from ledger_core.manifest import Manifest, parse_manifest
from ledger_core.ports import ArchiveStore, Record
from ledger_core.signatures import BadSignature, decode_signature, verify_digest
from ledger_core.signers import SignerRegistry

PARTITION: Final = 0  # one chain, one partition
STEP_RECORDS: Final = 1_000
CLOSED: Final = "journal.posted"


class Reader(Protocol):
    """See `consumers.partition_reader.PartitionReader`."""

    @property
    def done(self) -> bool: ...

    def read(self, records_max: int) -> list[Record]: ...

    def close(self) -> None: ...


def newest_on_topic(
    shard: int,
    bounds: tuple[int, int],
    open_reader: Callable[[int, int], Reader],
    registry: SignerRegistry,
    topic: str,
) -> PublishedRange | None:
    """`bounds`: oldest offset of the audit topic, and the one after the newest; `open_reader` reads `[from, to)`.

    Raises Unavailable, Refused.
    """
    low, high = bounds
    while low < high:
        start = max(low, high - STEP_RECORDS)
        for record in reversed(_read(open_reader(start, high))):
            found = _closed_range(record, shard, registry, topic)
            if found is not None:
                return found
        high = start
    return None


def newest_in_archive(shard: int, archive: ArchiveStore, env: str, registry: SignerRegistry) -> PublishedRange | None:
    """The range that the shard's newest manifest lists. Raises Unavailable, Refused."""
    prefix = manifest_key(env, shard, 0).rpartition("/")[0] + "/"
    stored = [version for version in archive.versions(prefix) if version.size_bytes >= 0]
    if not stored:
        return None
    newest = max(stored, key=lambda version: version.key)
    manifest = _manifest(newest.key, archive.get(newest.key, newest.version_id), registry)
    return PublishedRange(int(manifest.manifest_no), manifest.object.range.proof_hash, f"the archive ({newest.key})")


def _read(reader: Reader) -> Sequence[Record]:
    records: list[Record] = []
    try:
        while not reader.done:
            records += reader.read(STEP_RECORDS)
    finally:
        reader.close()
    return records


def _closed_range(record: Record, shard: int, registry: SignerRegistry, topic: str) -> PublishedRange | None:
    place = f"{topic} (offset {record.offset})"
    try:
        event = AuditEvent.from_json(record.value or b"")
    except ValueError as error:
        raise _foreign(place, error) from error
    if event.event_type != CLOSED or event.payload.get("shard") != shard:
        return None
    try:
        if event_hash(event.payload, event.prev_hash) != event.hash:
            raise ValueError("its hash is not that of its payload")
        verify_digest(registry.get(event.signer_kid).public_key, event.digest, decode_signature(event.signature))
        return PublishedRange(int(str(event.payload["range_no"])), str(event.payload["proof_hash"]), place)
    except (ValueError, KeyError, BadSignature) as error:
        raise _foreign(place, error) from error


def _manifest(key: str, data: bytes, registry: SignerRegistry) -> Manifest:
    try:
        manifest = parse_manifest(data)
        verify_digest(
            registry.get(manifest.signer_kid).public_key, manifest.digest(), decode_signature(manifest.signature)
        )
    except (ValueError, KeyError, BadSignature) as error:
        raise _foreign(f"the archive ({key})", error) from error
    return manifest


def _foreign(place: str, error: Exception) -> Refused:
    return Refused(
        f"{place} holds what was not published by us ({error})",
        remedy="find out who else writes there; `finance audit verify` and `finance verify archive` say what is sound",
    )
