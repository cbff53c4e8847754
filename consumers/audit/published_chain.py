"""How far the audit chain reaches on its topic: what was published binds whoever continues the chain.

Guarantees: changes nothing. Only an event that counts binds: its hash is its own, and a registered key signed it that
counts at its place. So a record that anybody else wrote there stops no notary: it is logged and skipped. A notary that
was killed, or frozen, while it published leaves repeats at the end of the topic, which are older than what stands
before them: so the furthest event counts, not the last one. An event of a key that the registry lacks counts as one
that may bind when the chain announced that key, and is refused with the remedy.
Does not: read further back than the newest WINDOW_RECORDS records in which an event counts.
"""

from __future__ import annotations

from contextlib import closing
from typing import Final

import structlog

from consumers.kafka.watermarks import Watermarks
from ledger_core.audit.events import AuditEvent, fault_of, form_fault_of
from ledger_core.errors import Refused
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.rotation import EVENT_TYPES

PARTITION: Final = 0  # one chain, one partition
WINDOW_RECORDS: Final = 2_000

_MARKS: Final = [f'"event_type":"{name}"'.encode() for name in EVENT_TYPES]

log: Final = structlog.get_logger("published")


def newest_published(watermarks: Watermarks, topic: str, registry: SignerRegistry) -> AuditEvent | None:
    """The furthest event of the chain that the topic holds; None while it holds none that counts.

    Raises Unavailable, and Refused where the registry decides whether an event further on binds: it lacks a key that
    the chain announced, ended one before its last signature, or knows no key of the chain at all.
    """
    furthest: AuditEvent | None = None
    doubtful: list[tuple[AuditEvent, str]] = []  # with the code of the fault
    for window in watermarks.windows_back(topic, PARTITION, WINDOW_RECORDS):
        for message in window:
            place = f"{topic} (offset {message.offset()})"
            try:
                event = AuditEvent.from_json(message.value() or b"")
            except ValueError as error:
                log.warning("published.foreign", place=place, detail=str(error))
                continue
            fault = form_fault_of(event, registry)
            if fault is None:
                furthest = event if furthest is None or event.seq > furthest.seq else furthest
            elif fault.code in ("signer", "retired"):
                doubtful.append((event, fault.code))
            else:
                log.warning("published.forged", place=place, seq=event.seq, detail=fault.message)
        if furthest is not None:
            break
    _settle(watermarks, topic, registry, furthest, doubtful)
    return furthest


def _settle(
    watermarks: Watermarks,
    topic: str,
    registry: SignerRegistry,
    furthest: AuditEvent | None,
    doubtful: list[tuple[AuditEvent, str]],
) -> None:
    """Refuse for each doubtful event that may bind further than the furthest; log those that cannot."""
    beyond = {
        (event.signer_kid, code): event for event, code in doubtful if furthest is None or event.seq > furthest.seq
    }
    lacking = {kid for kid, code in beyond if code == "signer"}
    announced = _announced(watermarks, topic, registry, lacking) if furthest is not None and lacking else lacking
    for (kid, code), event in beyond.items():
        place = f"{topic} holds audit event seq {event.seq}, signed by {kid}"
        if code == "retired":
            raise Refused(
                f"{place}, after that key was retired",
                remedy="if that key signed it, move its retiredAt in signers.json to after this event; else revoke it: "
                f"finance signers revoke {kid}",
            )
        if kid in announced:
            raise Refused(
                f"{place}, which is not in the registry",
                remedy="put that key back into signers.json: retired keys stay there, or history stops verifying",
            )
        log.warning("published.forged", place=place, seq=event.seq, detail="no event of the chain announced that key")


def _announced(watermarks: Watermarks, topic: str, registry: SignerRegistry, kids: set[str]) -> set[str]:
    """Which of the keys an event that counts, anywhere on the topic, names. Read whole, once for all of them: it is
    asked in an attack, or where signers.json is older than a rotation."""
    found: set[str] = set()
    with closing(watermarks.records(topic, PARTITION)) as messages:
        for message in messages:
            value = message.value() or b""
            if not any(mark in value for mark in _MARKS):  # most records: no need to parse them
                continue
            try:
                event = AuditEvent.from_json(value)
            except ValueError:
                continue
            named = kids.intersection(it for it in event.payload.values() if isinstance(it, str)) - found
            if event.event_type in EVENT_TYPES and named and fault_of(event, registry) is None:
                found |= named
            if found == kids:
                break
    return found
