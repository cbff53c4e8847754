"""A closed range that is known outside the database: by an event of the audit topic, by the archive.

Guarantees: an audit event or manifest counts only when its signature verifies with the registered key. What cannot be
ours (no audit event, another hash, a signature that the registered key did not make, or made where it no longer counts:
the notary verifies each before it publishes) is skipped and logged: whoever could write there without a key can stop
nothing. A key that the registry lacks is another case: it may be ours, so the shard waits for it.
Does not: read more of the topic than back to the newest range that the database proved, a bounded step at a time, and
one step more: a notary that was killed while it published begins again, at most one batch before. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import structlog

from consumers.proving.published_guard import PublishedRange
from ledger_core.archive.listing import ArchiveReader
from ledger_core.archive.manifest import Manifest, parse_manifest
from ledger_core.archive.names import manifest_key
from ledger_core.audit.event_types import SET_ASIDE
from ledger_core.audit.events import AuditEvent, fault_of
from ledger_core.audit.set_aside import Place, set_aside_by
from ledger_core.errors import Refused
from ledger_core.ports import Record, StoredObject
from ledger_core.proving.announced_range import AnnouncedRange
from ledger_core.signing.counting import first_fault
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import claim_of

RANGES_MAX: Final = 1_000  # of one answer: the oldest ones, since they are adopted first
CLOSED: Final = "journal.posted"
_MARK: Final = f'"event_type":"{CLOSED}"'.encode()
_ASIDE_MARK: Final = f'"event_type":"{SET_ASIDE}"'.encode()

log = structlog.get_logger("published")


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


def in_both(
    on_topic: Sequence[PublishedRange], in_archive: Sequence[PublishedRange], *, more: bool = False
) -> list[PublishedRange]:
    """What the topic and the archive know, ascending: a range that only the archive holds binds as well, and
    two that differ both stand there. While the topic has `more` than it gave at once, the archive waits for its turn:
    its newest range is perhaps far beyond them."""
    if more:
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


def aside(record: Record, registry: SignerRegistry) -> Place | None:
    """The place of the event that a record of the topic sets aside; None: it sets nothing aside, or is not ours."""
    value = record.value or b""
    if _ASIDE_MARK not in value:
        return None
    try:
        event = AuditEvent.from_json(value)
    except ValueError:
        return None
    return set_aside_by(event) if fault_of(event, registry) is None else None


def closed_range(
    record: Record, registry: SignerRegistry, set_aside: Collection[Place] = ()
) -> tuple[int, PublishedRange | None]:
    """The shard and the range that a record of the topic announces; None: it announces something else, is set aside, or
    is not ours."""
    value = record.value or b""
    if _MARK not in value:  # most records: this check costs a hundredth of reading one
        return 0, None
    place = f"{record.topic} (offset {record.offset})"
    try:
        event = AuditEvent.from_json(value)
    except ValueError as error:
        log.warning("published.foreign", place=place, detail=str(error))
        return 0, None
    if (event.seq, event.hash) in set_aside:
        return 0, None
    shard = event.payload.get("shard")
    if event.event_type != CLOSED or not isinstance(shard, int):
        return 0, None
    return shard, closed_range_of(event, place, shard, registry)


def closed_range_of(event: AuditEvent, place: str, shard: int, registry: SignerRegistry) -> PublishedRange | None:
    """The range of the shard that an event announces; None: it announces something else, or is not ours."""
    try:
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
