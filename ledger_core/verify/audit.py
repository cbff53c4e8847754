"""Checking the audit chain: what Kernel's verifier checks, and what it passes over.

Guarantees: hash, link, signature and signer of every event; seq gapless from 1; created_at strictly increasing; the
payload repeats the columns (Kernel hashes nothing but the payload, so a column that differs was edited); a new key that
is announced is announced by the one before it, before it signs. Each event means something (its type, actor and fields
agree: `audit.event_types`), or an operator set it aside. An empty
chain is a finding, and so is one that ends before the head the caller knows of (`AuditHead`), since a chain cut off at
its end seems whole. Whether an id stands there twice is asked of the first 16 million events, 16 bytes each; what comes
behind them is counted as unchecked (in Postgres ids are unique).
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ledger_core.audit.event_types import meaning_fault
from ledger_core.audit.events import AuditEvent, event_hash, faults_of
from ledger_core.audit.set_aside import Place, set_aside_by
from ledger_core.audit.sources import ended_lines, events_of_lines
from ledger_core.findings import Collector, Report
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.rotation import EVENT_TYPE
from ledger_core.times import format_time
from ledger_core.verify.event_ids import EventIds, pack_text

# Findings for which the registry may be to blame, not the record: a key it lost, or ended before its last signature.
REGISTRY_CODES: Final = frozenset({"audit.signer", "audit.purpose", "audit.retired", "audit.validity"})

AuditLines: TypeAlias = bytes | Iterable[bytes]
"""The audit chain as JSON lines, LF included: in one piece, or what can be read again and again."""

MEANINGLESS_MAX: Final = 10_000  # of them may still be set aside by what comes later

_FIELDS: Final = {
    "signer": "signer_kid",
    "signature": "signature",
    "purpose": "signer_kid",
    "retired": "created_at",
    "validity": "signer_kid",
}


@dataclass(frozen=True, slots=True)
class AuditHead:
    """An event the chain must hold: `seq`, and `hash` when it is known. From the topic, or an earlier run."""

    seq: int
    hash: str | None = None


@dataclass(slots=True)
class AuditCheck:
    """The chain event by event; findings go to `found`."""

    registry: SignerRegistry
    found: Collector
    seq: int = 0
    hash: str | None = None
    created_at: dt.datetime | None = None
    ids: EventIds = field(default_factory=EventIds)
    first_seq: int = 0  # of the first event that was taken
    kids: set[str] = field(default_factory=set)  # that signed something so far
    meanings: bool = False  # whether each event must mean something; else the chain alone is checked
    _pins: dict[int, list[tuple[str, str]]] | None = None
    _meaningless: dict[Place, tuple[str, str]] = field(default_factory=dict)  # id, and why

    def stand_behind(self, event: AuditEvent) -> None:
        """Begin after this event, which was checked before."""
        self.seq, self.hash, self.created_at = event.seq, event.hash, event.created_at

    def take(self, event: AuditEvent) -> None:
        """Check the next event and stand behind it."""
        self.found.place = event.id
        self._check_place(event)
        self._check_payload(event)
        self._check_hash(event)
        self._check_signature(event)
        if self.meanings:
            self._check_meaning(event)
        self.stand_behind(event)
        self.first_seq = self.first_seq or event.seq
        self.ids.add(pack_text(event.id))
        self.kids.add(event.signer_kid)
        self._check_pins(event)
        self.found.count("events")

    def finish(self) -> None:
        """What can be said once every event was taken."""
        self.found.place = None
        if self.ids.unchecked:
            self.found.count("ids_unchecked", self.ids.unchecked)
        for (seq, _), (event_id, message) in self._meaningless.items():
            self.found.add("audit.meaning", message, seq=seq, field="event_type", place=event_id)
        for place, _ in self.ids.repeats():
            message = "the id of this event stood on the chain before"
            self.found.add("audit.id", message, seq=self.first_seq + place, field="id")

    def _check_place(self, event: AuditEvent) -> None:
        if event.seq != self.seq + 1:
            missing = str(self.seq + 1) if event.seq == self.seq + 2 else f"{self.seq + 1}..{event.seq - 1}"
            what = f"events {missing} are missing" if event.seq > self.seq else f"stands after seq {self.seq}"
            self._add("audit.seq", what, event, "seq")
        elif event.prev_hash != self.hash:
            message = f"follows {event.prev_hash}, the event before it has {self.hash}"
            self._add("audit.prev_hash", message, event, "prev_hash")
        if self.created_at is not None and event.created_at <= self.created_at:
            message = f"{format_time(event.created_at)} is not after {format_time(self.created_at)}"
            self._add("audit.created_at", message, event, "created_at")

    def _check_payload(self, event: AuditEvent) -> None:
        for name, column in event.columns.items():
            if event.payload.get(name) != column:
                message = f"the column says {column}, the hashed payload {event.payload.get(name)}"
                self._add("audit.payload", message, event, name)
        if type(event.payload.get("trace_id")) is not str:
            self._add("audit.payload", "the payload carries no trace_id", event, "trace_id")

    def _check_hash(self, event: AuditEvent) -> None:
        try:
            recomputed = event_hash(event.payload, event.prev_hash)
        except ValueError as error:
            self._add("audit.form", f"payload or prev_hash has no canonical form: {error}", event, "payload")
            return
        if recomputed != event.hash:
            self._add("audit.hash", f"hash is not {recomputed}, recomputed from the payload", event, "hash")

    def _check_signature(self, event: AuditEvent) -> None:
        told = faults_of(event, self.registry)
        if not any(fault.code in ("signer", "signature") for fault in told):
            self.found.count("signatures")
        for fault in told:
            self._add(f"audit.{fault.code}", fault.message, event, _FIELDS[fault.code])

    def _check_pins(self, event: AuditEvent) -> None:
        """Where the chain stands when a key is over, whoever signed there: what that key signed must lead to it."""
        for kid, wanted in self.pins().get(event.seq, ()):
            if kid in self.kids and kid != event.signer_kid and event.hash != wanted:
                message = f"signer {kid} counts for what leads to the event of hash {wanted}"
                self._add("audit.validity", message, event, "hash")

    def pins(self) -> dict[int, list[tuple[str, str]]]:
        """seq -> (kid, hash) of the events at which keys that are over were pinned."""
        if self._pins is None:
            self._pins = {}
            for signer in self.registry.signers:
                end = None if signer.validity is None else signer.validity.audit
                if end is not None and end.to_seq is not None and end.head_hash is not None:
                    self._pins.setdefault(end.to_seq, []).append((signer.kid, end.head_hash))
        return self._pins

    def _check_meaning(self, event: AuditEvent) -> None:
        """What means nothing is a finding at the end, unless an operator sets it aside until then."""
        place = set_aside_by(event)
        if place is not None:
            self.found.count("set_aside")
            self._meaningless.pop(place, None)
        message = meaning_fault(event.event_type, event.actor_id, event.payload)
        if message is None:
            self._check_announcement(event)
        elif len(self._meaningless) < MEANINGLESS_MAX:
            self._meaningless[event.seq, event.hash] = (event.id, message)
        else:
            self._add("audit.meaning", message, event, "event_type")

    def _check_announcement(self, event: AuditEvent) -> None:
        """A key is announced by its predecessor, before it signs, as the key that it is."""
        if event.event_type != EVENT_TYPE or event.payload.get("step") != "announced":
            return
        outgoing, incoming = (str(event.payload.get(name)) for name in ("outgoing_kid", "incoming_kid"))
        if event.signer_kid != outgoing:
            message = f"announces {incoming} in the name of {outgoing}, and is signed by {event.signer_kid}"
            self._add("audit.rotation", message, event, "signer_kid")
        if incoming in self.kids:
            self._add("audit.rotation", f"announces {incoming}, which signed before", event, "incoming_kid")
        known = self.registry.find(incoming)
        fingerprint = event.payload.get("incoming_fingerprint")
        if known is not None and known.public_key.fingerprint != fingerprint:
            message = f"announces {incoming} with key {fingerprint}, registered is {known.public_key.fingerprint}"
            self._add("audit.rotation", message, event, "incoming_fingerprint")

    def _add(self, code: str, message: str, event: AuditEvent, name: str) -> None:
        self.found.add(code, message, seq=event.seq, field=name)


def check_audit(
    events: Iterable[AuditEvent],
    registry: SignerRegistry,
    *,
    expected: Sequence[AuditHead] = (),
    found: Collector | None = None,
) -> Report:
    """Check a whole chain in order of seq. Raises what the iterable raises."""
    found = Collector() if found is None else found
    check = AuditCheck(registry, found, meanings=True)
    wanted = {head.seq: head.hash for head in expected if head.hash is not None}
    for event in events:
        check.take(event)
        if wanted.get(event.seq, event.hash) != event.hash:
            message = f"hash must be {wanted[event.seq]}: the chain was made anew"
            found.add("audit.head", message, seq=event.seq, field="hash")
    check.finish()
    for seq, pins in check.pins().items():
        for kid, _ in pins:
            revoked = registry.get(kid).revoked_at is not None
            if seq > check.seq and revoked and kid in check.kids:
                message = f"the chain ends at seq {check.seq}; what signer {kid} signed must lead to seq {seq}"
                found.add("audit.truncated", message, seq=check.seq, field="seq")
    if not check.seq:
        found.add("audit.empty", "the chain is empty: nothing is recorded, or everything was removed")
    for head in expected:
        if head.seq > check.seq:
            message = f"the chain ends at seq {check.seq}, it must reach {head.seq}"
            found.add("audit.truncated", message, seq=check.seq, field="seq")
    return found.report()


def check_audit_lines(lines: AuditLines, registry: SignerRegistry, *, expected: Sequence[AuditHead] = ()) -> Report:
    """Check a chain written as JSON lines (`audit_events.jsonl`, the values of the audit topic), each ended by LF."""
    found = Collector()
    ended = ended_lines(each_line(lines), found)
    return check_audit(events_of_lines(ended, found), registry, expected=expected, found=found)


def each_line(lines: AuditLines) -> Iterable[bytes]:
    """The lines, LF included."""
    return io.BytesIO(lines) if isinstance(lines, bytes) else lines
