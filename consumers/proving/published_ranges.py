"""The closed ranges of a shard that are known outside the database: by the audit topic, by the archive.

Guarantees: an audit event or manifest counts only when its signature verifies with the registered key. What cannot be
ours (no audit event, another hash, a signature that the registered key did not make, or made where it no longer counts:
the notary verifies each before it publishes) is skipped and logged: whoever could write there without a key can stop
nothing. A key that the registry lacks is another case: it may be ours, so the shard waits for it.
Does not: read more of the topic than back to the newest range that the database proved, a bounded step at a time, and
one step more: a notary that was killed while it published begins again, at most one batch before. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from consumers.proving.published_guard import PublishedRange
from ledger_core.archive.listing import ArchiveReader
from ledger_core.archive.manifest import Manifest, parse_manifest
from ledger_core.archive.names import manifest_key
from ledger_core.audit.events import AuditEvent, fault_of
from ledger_core.errors import Refused
from ledger_core.ports import Record, StoredObject
from ledger_core.proving.announced_range import AnnouncedRange
from ledger_core.signing.counting import first_fault
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import claim_of

PARTITION: Final = 0  # one chain, one partition
STEP_RECORDS: Final = 5_000  # a reader of its own for each: fewer would spend most of the time on connecting
RANGES_MAX: Final = 1_000  # of one answer: the oldest ones, since they are adopted first
CLOSED: Final = "journal.posted"
_MARK: Final = f'"event_type":"{CLOSED}"'.encode()

log = structlog.get_logger("published")


class Reader(Protocol):
    """See `consumers.kafka.partition_reader.PartitionReader`."""

    @property
    def done(self) -> bool: ...

    def read(self, records_max: int) -> list[Record]: ...

    def close(self) -> None: ...


def ranges_on_topic(
    shard: int,
    held_no: int,
    bounds: tuple[int, int],
    open_reader: Callable[[int, int], Reader],
    registry: SignerRegistry,
) -> list[PublishedRange]:
    """What the audit topic says of a shard whose database ends at range `held_no`, ascending: the ranges beyond it
    (the oldest RANGES_MAX of them), and the newest one up to it.

    `bounds`: oldest offset of the topic, and the one after the newest; `open_reader` reads `[from, to)`. Raises
    Unavailable, Refused.
    """
    low, high = bounds
    found: dict[tuple[int, str], PublishedRange] = {}
    steps_left: int | None = None  # unknown until a held range was found
    while low < high and steps_left != 0:
        start = max(low, high - STEP_RECORDS)
        for record in reversed(_read(open_reader(start, high))):
            item = _closed_range(record, shard, registry)
            if item is not None:
                found.setdefault((item.range_no, item.proof_hash), item)
        high = start
        held = [key for key in found if key[0] <= held_no]
        steps_left = steps_left - 1 if steps_left is not None else (1 if held else None)
        newest_held = max(held)[0] if held else 0
        for key in [key for key in held if key[0] < newest_held] + sorted({*found} - {*held})[RANGES_MAX:]:
            del found[key]
    return [found[key] for key in sorted(found)]


def newest_in_archive(
    shard: int, held_no: int, archive: ArchiveReader, env: str, registry: SignerRegistry
) -> list[PublishedRange]:
    """The range that the shard's newest manifest lists; none while there is no manifest. Raises Unavailable, Refused.

    Manifests are numbered without a gap, so that some twenty questions near `held_no`, the newest range of the
    database, find it, however many there are: a listing would take longer than a group waits for its member.
    """

    def stored(number: int) -> StoredObject | None:
        versions = archive.versions(manifest_key(env, shard, number))
        return next((version for version in versions if version.size_bytes >= 0), None)

    newest = stored(newest_number(lambda number: stored(number) is not None, held_no))
    if newest is None:
        return []
    manifest = _manifest(newest.key, archive.get(newest.key, newest.version_id), registry)
    return [PublishedRange(int(manifest.manifest_no), manifest.object.range.proof_hash, f"the archive ({newest.key})")]


def in_both(on_topic: Sequence[PublishedRange], in_archive: Sequence[PublishedRange]) -> list[PublishedRange]:
    """What the topic and the archive know, ascending: a range that only the archive holds binds as well, and
    two that differ both stand there. While the topic gave as many as it may at once, the archive waits for its turn:
    its newest range is perhaps far beyond them."""
    if len(on_topic) >= RANGES_MAX:
        return list(on_topic)
    known = {(item.range_no, item.proof_hash) for item in on_topic}
    only = [item for item in in_archive if (item.range_no, item.proof_hash) not in known]
    return sorted([*on_topic, *only], key=lambda item: item.range_no)  # stable: the topic's first


def newest_number(is_there: Callable[[int], bool], near: int) -> int:
    """The largest number that is there, of a gapless run from 1 on; 0 when there is none. Asks near `near` first."""
    step = 1
    if near == 0 or is_there(near):
        low = near
        while is_there(low + step):
            low, step = low + step, step * 2
        high = low + step
    else:
        high = near
        while high > step and not is_there(high - step):
            high, step = high - step, step * 2
        low = max(0, high - step)
    while high - low > 1:  # low is there (or 0), high is not
        middle = (low + high) // 2
        low, high = (middle, high) if is_there(middle) else (low, middle)
    return low


def _read(reader: Reader) -> Sequence[Record]:
    records: list[Record] = []
    try:
        while not reader.done:
            records += reader.read(STEP_RECORDS)
    finally:
        reader.close()
    return records


def _closed_range(record: Record, shard: int, registry: SignerRegistry) -> PublishedRange | None:
    """The range of the shard that a record announces; None: it announces something else, or is not ours."""
    value = record.value or b""
    if _MARK not in value:  # most records: this check costs a hundredth of reading one
        return None
    place = f"{record.topic} (offset {record.offset})"
    try:
        event = AuditEvent.from_json(value)
        if event.event_type != CLOSED or event.payload.get("shard") != shard:
            return None
        range_no, proof_hash = int(str(event.payload["range_no"])), str(event.payload["proof_hash"])
        fault = fault_of(event, registry)
        if fault is not None and fault.code == "signer":
            return PublishedRange(range_no, proof_hash, place, unknown_kid=event.signer_kid)
        if fault is not None and fault.code == "retired":
            # The registry may be to blame, with an end before the key's last signature: what it published would bind.
            return PublishedRange(range_no, proof_hash, place, ended_kid=event.signer_kid)
        if fault is not None:
            raise ValueError(fault.message)
    except (ValueError, KeyError) as error:
        log.warning("published.foreign", place=place, detail=str(error))
        return None
    try:
        return PublishedRange(range_no, proof_hash, place, AnnouncedRange.parse(event.payload))
    except ValueError as error:
        log.warning("published.not_adoptable", place=place, detail=str(error))
        return PublishedRange(range_no, proof_hash, place)


def _manifest(key: str, data: bytes, registry: SignerRegistry) -> Manifest:
    try:
        manifest = parse_manifest(data)
        fault = first_fault(claim_of(manifest), registry)
        if fault is not None:
            raise ValueError(fault.message)
    except ValueError as error:
        raise Refused(
            f"the archive ({key}) has an object that we did not publish ({error})",
            remedy="find out who else writes there; `finance verify archive` says what is sound",
        ) from error
    return manifest
