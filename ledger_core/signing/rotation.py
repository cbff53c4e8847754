"""A key rotation as the audit chain records it: the log is the only state, so any operator goes on where another
stopped.

```
announced ──► deployed ──► proved ──► retired          each an event `signer.rotation`
     └───────────┴──────────┴───────────┴──► rolling_back ──► rolled_back
```
The announcement carries the incoming public key and is signed by the outgoing one: whoever trusts the old key learns to
trust the new one from the log alone. `proved` and `deployed` may come in either order.

Guarantees: pure. What is not an event of this form is passed over when rotations are read, never guessed at.
Does not: judge events (`ledger_core.verify.audit` does), or do any of the steps (`finance.signing.rotation` does).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, cast, get_args

from ledger_core.ports import AuditIntent
from ledger_core.signing.registry import RegisteredSigner

EVENT_TYPE: Final = "signer.rotation"
EMERGENCY: Final = "signer.emergency"
APPROVED: Final = "signer.approved"  # of an emergency signer, by another operator than who registers it
CREATED, REGISTERED, RETIRED, REVOKED = "signer.created", "signer.registered", "signer.retired", "signer.revoked"
EVENT_TYPES: Final = (EVENT_TYPE, EMERGENCY, APPROVED, CREATED, REGISTERED, RETIRED, REVOKED)

Step = Literal["announced", "deployed", "proved", "retired", "rolling_back", "rolled_back"]
STEPS: Final[tuple[Step, ...]] = get_args(Step)
ENDED: Final[tuple[Step, ...]] = ("retired", "rolled_back")


@dataclass(frozen=True, slots=True)
class SignerEvent:
    """An event about signers, on the chain (`seq`, `signer_kid`) or still waiting in the outbox (None, None)."""

    event_type: str  # signer.registered, signer.retired, ...
    actor_id: str  # who acts: service:<name> or operator:<name>
    payload: Mapping[str, object]  # names the keys; what it holds depends on the type
    created_at: dt.datetime  # database's clock when the intent was written, UTC
    seq: int | None = None
    signer_kid: str | None = None

    def text(self, name: str) -> str:
        """A field of the payload that is text; empty when there is none."""
        value = self.payload.get(name)
        return value if isinstance(value, str) else ""


@dataclass(slots=True)
class Rotation:
    """One rotation, with its events in order."""

    rotation_id: str
    outgoing: str
    incoming: str
    events: list[SignerEvent] = field(default_factory=list)

    @property
    def announced(self) -> SignerEvent:
        return self.events[0]

    def event(self, step: Step) -> SignerEvent | None:
        """The newest event of a step."""
        return next((event for event in reversed(self.events) if event.text("step") == step), None)

    @property
    def step(self) -> Step:
        return cast(Step, self.events[-1].text("step"))

    @property
    def open(self) -> bool:
        return self.step not in ENDED

    @property
    def back(self) -> bool:
        """Whether it is on its way back: then the incoming key is the one to leave."""
        return self.step in ("rolling_back", "rolled_back")

    @property
    def leaving(self) -> str:
        return self.incoming if self.back else self.outgoing

    @property
    def staying(self) -> str:
        return self.outgoing if self.back else self.incoming

    @property
    def overlap(self) -> dt.timedelta:
        """How long both keys are accepted, at least, counted from `deployed`."""
        return dt.timedelta(seconds=int(self.announced.text("overlap_seconds") or 0))

    def variables(self, whose: Literal["incoming", "outgoing"]) -> dict[str, str]:
        """The variables that name that key, as announced: never a secret."""
        held = self.announced.payload.get(f"{whose}_variables")
        return {str(name): str(value) for name, value in held.items()} if isinstance(held, dict) else {}


def rotations(events: Iterable[SignerEvent]) -> list[Rotation]:
    """The rotations that the events (in order, outbox after chain) describe, oldest first."""
    found: dict[str, Rotation] = {}
    for event in events:
        key, step = event.text("rotation_id"), event.text("step")
        if event.event_type != EVENT_TYPE or step not in STEPS:
            continue
        if step == "announced":
            found.setdefault(key, Rotation(key, event.text("outgoing_kid"), event.text("incoming_kid")))
        if key in found:
            found[key].events.append(event)
    return list(found.values())


def announcement(
    outgoing: RegisteredSigner,
    incoming: RegisteredSigner,
    *,
    rotation_id: str,
    overlap: dt.timedelta,
    incoming_variables: Mapping[str, str],
    outgoing_variables: Mapping[str, str],
) -> dict[str, object]:
    """The payload that announces a successor, with all that is needed to verify it."""
    return {
        "step": "announced",
        "rotation_id": rotation_id,
        "outgoing_kid": outgoing.kid,
        "outgoing_fingerprint": outgoing.public_key.fingerprint,
        "incoming_kid": incoming.kid,
        "incoming_algorithm": incoming.algorithm,
        "incoming_fingerprint": incoming.public_key.fingerprint,
        "incoming_public_key_pem": incoming.public_pem,
        "overlap_seconds": str(int(overlap.total_seconds())),
        "incoming_variables": dict(incoming_variables),
        "outgoing_variables": dict(outgoing_variables),
    }


def step_payload(rotation: Rotation, step: Step, details: Mapping[str, object]) -> dict[str, object]:
    """The payload of a later step."""
    return {
        "step": step,
        "rotation_id": rotation.rotation_id,
        "outgoing_kid": rotation.outgoing,
        "incoming_kid": rotation.incoming,
        **details,
    }


def must_be_signed_by(intent: AuditIntent) -> str | None:
    """The key that has to sign this intent: the outgoing one where an operator announces its successor; else None."""
    if intent.event_type != EVENT_TYPE or not intent.actor_id.startswith("operator:"):
        return None  # no process may choose the key that signs
    outgoing = intent.payload.get("outgoing_kid")
    return outgoing if intent.payload.get("step") == "announced" and isinstance(outgoing, str) else None
