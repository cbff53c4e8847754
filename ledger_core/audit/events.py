"""The audit chain: state changes as signed, hash-chained events in the format Kernel's verifier reads.

Guarantees: `hash = SHA256(canonical(payload) || previous hash as 32 raw bytes)`, genesis appends nothing; the payload
repeats id, seq, event_type, actor_id and created_at, because Kernel's verifier hashes nothing but the payload;
created_at increases by at least a millisecond, because the chain is read in that order, also by who rounds to
milliseconds. A signature is checked before an event is made of it (G6). Whether an event that was read counts is one
question, `fault_of`: its payload repeats its columns, its hash is its own, a key signed it that counts at its place
(that far also `form_fault_of`), and it means something: its type, its actor and its fields agree. It does not sign,
store or publish, and does not judge a chain it did not make: see `ledger_core.verify.audit`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final, Literal

from ledger_core import canonical, chain
from ledger_core.audit.event_types import RESERVED_FIELDS, meaning_fault
from ledger_core.decimals import parse_decimal
from ledger_core.hashes import parse_hash
from ledger_core.ports import AuditIntent
from ledger_core.signing.counting import AuditPlace, Claim, Code, SignatureFault, faults
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import encode_signature, verify_digest
from ledger_core.times import format_time, parse_time

EVENT_FIELDS: Final = (
    "actor_id",
    "created_at",
    "event_type",
    "hash",
    "id",
    "payload",
    "prev_hash",
    "seq",
    "signature",
    "signer_kid",
)
EventCode = Literal["payload", "hash", "meaning"] | Code
STEP: Final = dt.timedelta(milliseconds=1)  # between two events at least

Row = tuple[str, int, str, str, str, str | None, str, str, str, dt.datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedAuditEvent:
    """An event with its place on the chain, to be signed. `hash` and `prev_hash` are lower-case hex."""

    id: str  # UUID
    seq: int  # the audit chain counts from 1, without a gap
    actor_id: str  # who acts: service:<name> or operator:<name>
    event_type: str  # journal.posted, proof.published, ledger.halted, ...
    payload: dict[str, object]  # canonical-safe JSON, from the intent
    prev_hash: str | None
    hash: str
    created_at: dt.datetime  # database's clock when the intent was written, UTC

    @property
    def digest(self) -> bytes:
        """The 32 bytes to sign."""
        return bytes.fromhex(self.hash)

    def signed(self, signature: bytes, signer: RegisteredSigner) -> AuditEvent:
        """The event with its signature. Raises BadSignature unless the signer's registered key made it."""
        verify_digest(signer.public_key, self.digest, signature)
        return AuditEvent(
            id=self.id,
            seq=self.seq,
            actor_id=self.actor_id,
            event_type=self.event_type,
            payload=self.payload,
            prev_hash=self.prev_hash,
            hash=self.hash,
            created_at=self.created_at,
            signature=encode_signature(signature),
            signer_kid=signer.kid,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent(UnsignedAuditEvent):
    """One row of `audit_events`, one value of the audit topic. As read: nothing is promised before it is verified."""

    signature: str  # base64, over the event's hash
    signer_kid: str  # name of the signing key in the registry

    @property
    def columns(self) -> dict[str, str]:
        """What the payload repeats: beside it they are signed by nobody."""
        return {
            "id": self.id,
            "seq": str(self.seq),
            "event_type": self.event_type,
            "actor_id": self.actor_id,
            "created_at": format_time(self.created_at),
        }

    def to_row(self) -> Row:
        """In the order of the table: id, seq, actor_id, event_type, payload (JSON text), prev_hash, hash, signature,
        signer_kid, created_at."""
        return (
            self.id,
            self.seq,
            self.actor_id,
            self.event_type,
            canonical.encode(self.payload).decode("utf-8"),
            self.prev_hash,
            self.hash,
            self.signature,
            self.signer_kid,
            self.created_at,
        )

    def to_json(self) -> bytes:
        """The same object as canonical JSON, snake_case, seq as decimal text: the value on the audit topic."""
        return canonical.encode(
            {
                "actor_id": self.actor_id,
                "created_at": format_time(self.created_at),
                "event_type": self.event_type,
                "hash": self.hash,
                "id": self.id,
                "payload": self.payload,
                "prev_hash": self.prev_hash,
                "seq": str(self.seq),
                "signature": self.signature,
                "signer_kid": self.signer_kid,
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> AuditEvent:
        """Read `to_json` back. Raises ValueError on another spelling, a missing or an extra field, or a wrong type."""
        fields = canonical.decode(data)
        if tuple(sorted(fields)) != EVENT_FIELDS:
            different = ", ".join(sorted(set(fields) ^ set(EVENT_FIELDS)))
            raise ValueError(f"an audit event has other fields: {different}")
        payload, prev_hash = fields["payload"], fields["prev_hash"]
        if not isinstance(payload, dict):
            raise ValueError("payload is not an object")
        if prev_hash is not None and not isinstance(prev_hash, str):
            raise ValueError("prev_hash is neither text nor null")
        return cls(
            id=_text(fields, "id"),
            seq=parse_decimal(_text(fields, "seq")),
            actor_id=_text(fields, "actor_id"),
            event_type=_text(fields, "event_type"),
            payload=payload,
            prev_hash=prev_hash,
            hash=_text(fields, "hash"),
            signature=_text(fields, "signature"),
            signer_kid=_text(fields, "signer_kid"),
            created_at=parse_time(_text(fields, "created_at")),
        )


@dataclass(frozen=True, slots=True)
class EventFault:
    """Why an event does not count. `signer` and `retired`: the registry may be to blame, and nothing else is wrong."""

    code: EventCode  # which question it answers: what the payload repeats, the hash, or one of the signature
    message: str  # one line for people


def check_intent(intent: AuditIntent) -> None:
    """Raise ValueError for an intent that could never be chained: a reserved field, or no canonical form."""
    taken = RESERVED_FIELDS & intent.payload.keys()
    if taken:
        raise ValueError(f"audit intent: payload fields {sorted(taken)} are written by the chain itself")
    if not intent.event_type or not intent.actor_id:
        raise ValueError("audit intent: event_type and actor_id must not be empty")
    canonical.encode(_payload(intent, "", 0, ""))


def next_event(
    prev: UnsignedAuditEvent | None, intent: AuditIntent, *, event_id: str, created_at: dt.datetime
) -> UnsignedAuditEvent:
    """The event after `prev` (None at genesis); a batch chains unsigned events and signs them after.

    `created_at` that does not lie a millisecond after its predecessor's is moved to there. Raises ValueError on an
    intent that `check_intent` refuses and on a time without a zone.
    """
    check_intent(intent)
    if created_at.tzinfo is None:
        raise ValueError("created_at needs a zone")
    if prev is not None:
        created_at = max(created_at, prev.created_at + STEP)
    seq = prev.seq + 1 if prev is not None else 1
    prev_hash = prev.hash if prev is not None else None
    payload = _payload(intent, event_id, seq, format_time(created_at))
    return UnsignedAuditEvent(
        id=event_id,
        seq=seq,
        actor_id=intent.actor_id,
        event_type=intent.event_type,
        payload=payload,
        prev_hash=prev_hash,
        hash=event_hash(payload, prev_hash),
        created_at=created_at.astimezone(dt.UTC),
    )


def event_hash(payload: dict[str, object], prev_hash: str | None) -> str:
    """Kernel's hash of one event, lower-case hex. Raises ValueError on a payload or prev_hash outside its form."""
    prev = None if prev_hash is None else parse_hash(prev_hash)
    return chain.link(canonical.encode(payload), prev).hex()


def _payload(intent: AuditIntent, event_id: str, seq: int, created_at: str) -> dict[str, object]:
    return {
        **intent.payload,
        "actor_id": intent.actor_id,
        "created_at": created_at,
        "event_type": intent.event_type,
        "id": event_id,
        "seq": str(seq),
        "trace_id": intent.trace_id,
    }


def _text(fields: dict[str, object], name: str) -> str:
    value = fields[name]
    if type(value) is not str:
        raise ValueError(f"{name} is not text")
    return str(value)


def faults_of(event: AuditEvent, registry: SignerRegistry) -> tuple[SignatureFault, ...]:
    """Why the event's signature does not count, every reason; none when it does. Whether `hash` is that of the payload
    is another question."""
    try:
        digest = event.digest
    except ValueError:  # no hex: nothing that a key could have signed
        digest = b""
    place = AuditPlace(event.seq, event.hash)
    claim = Claim(
        kid=event.signer_kid,
        purpose="audit_event",
        signature=event.signature,
        signed=digest,
        at=event.created_at,
        places=(place,),
    )
    return faults(claim, registry)


def fault_of(event: AuditEvent, registry: SignerRegistry) -> EventFault | None:
    """Why an event that was read does not count; None when it does. Of several reasons one for which the registry
    cannot be to blame comes first."""
    form = form_fault_of(event, registry)
    if form is not None and form.code not in ("signer", "retired"):
        return form
    meaning = meaning_fault(event.event_type, event.actor_id, event.payload)
    return form if meaning is None else EventFault("meaning", meaning)


def form_fault_of(event: AuditEvent, registry: SignerRegistry) -> EventFault | None:
    """The same, whatever it means: for who chains and publishes what stands on the chain."""
    for name, column in event.columns.items():
        if event.payload.get(name) != column:
            return EventFault("payload", f"its payload is that of another event ({name})")
    try:
        if event_hash(event.payload, event.prev_hash) != event.hash:
            return EventFault("hash", "its hash is not that of its payload and prev_hash")
    except ValueError as error:
        return EventFault("hash", str(error))
    told = faults_of(event, registry)
    fault = next((it for it in told if it.code != "retired"), next(iter(told), None))
    return None if fault is None else EventFault(fault.code, fault.message)
