"""Where the proof and the object of each entry are, from the events of the audit topic. Pure.

Guarantees: a range is linked by what was announced of it: its entries when it was closed, its proof when that was
published, its object when that was stored. An event that means nothing (`ledger_core.audit.event_types`) is passed
over. Does not: verify a signature or the chain of events: whoever follows a link verifies what he finds there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ledger_core.audit.event_types import meaning_fault
from ledger_core.audit.events import AuditEvent
from ledger_core.proof_ids import is_of_demand

NUMBERS_MAX: Final = 2**63
SHARDS_MAX: Final = 2**31


class Closing(NamedTuple):
    """A range that was closed."""

    shard: int  # number of the shard, from 0
    range_no: int  # the shard's ranges count from 1
    first_seq: int  # inclusive
    last_seq: int  # inclusive; first_seq - 1 when there is no entry
    proof_hash: bytes  # of the unsigned proof, 32 bytes


class PublishedProof(NamedTuple):
    """A proof that was signed."""

    proof_hash: bytes  # 32 bytes
    proof_id: str  # as `finance verify proof` is asked for it


class RangeObject(NamedTuple):
    """A batch of a range, under lock."""

    shard: int  # number of the shard, from 0
    range_no: int  # of the range, and of the manifest that lists it
    object_key: str  # in the bucket of the archive
    version_id: str  # of S3


@dataclass(slots=True)
class Links:
    """What events of the audit topic say."""

    closings: list[Closing] = field(default_factory=list)  # in the order of their events
    proofs: list[PublishedProof] = field(default_factory=list)  # in the order of their events
    objects: list[RangeObject] = field(default_factory=list)  # in the order of their events


def links_of(events: Iterable[AuditEvent]) -> Links:
    """What these events say of ranges."""
    found = Links()
    for event in events:
        said = event.payload
        if meaning_fault(event.event_type, event.actor_id, said) is not None or not _fits(said):
            continue
        if event.event_type == "journal.posted" and "first_seq" in said and "last_seq" in said:
            found.closings.append(
                Closing(*_range(said), _number(said, "first_seq"), _number(said, "last_seq"), _hash(said))
            )
        elif event.event_type == "proof.published" and not is_of_demand(str(said["proof_id"])):
            found.proofs.append(PublishedProof(_hash(said), str(said["proof_id"])))
        elif event.event_type == "audit_export.completed" and "range_no" in said and "shard" in said:
            found.objects.append(RangeObject(*_range(said), str(said["object_key"]), str(said["version_id"])))
    return found


def _fits(said: dict[str, object]) -> bool:
    """Whether its numbers are such as a ledger has: a form alone bounds no value."""
    numbers = [said[name] for name in ("shard", "range_no", "first_seq", "last_seq") if name in said]
    return all(int(str(number)) < NUMBERS_MAX for number in numbers) and int(str(said.get("shard", 0))) < SHARDS_MAX


def _range(said: dict[str, object]) -> tuple[int, int]:
    return _number(said, "shard"), _number(said, "range_no")


def _number(said: dict[str, object], name: str) -> int:
    return int(str(said[name]))  # its form was checked


def _hash(said: dict[str, object]) -> bytes:
    return bytes.fromhex(str(said["proof_hash"]))
