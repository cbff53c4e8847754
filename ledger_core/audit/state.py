"""What a run of audit events adds up to: halted or not, which keys signed from where on, which epochs the database had.

Guarantees: a pure fold, in the order of the chain; an event that means nothing is counted and changes nothing. Does
not: verify events, or know of what no event says.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger_core.audit.event_types import meaning_fault
from ledger_core.audit.events import AuditEvent
from ledger_core.times import format_time


@dataclass(slots=True)
class AuditState:
    """Feed it event by event."""

    seq: int = 0
    halted: bool = False
    halted_by: str = ""
    halted_since: str = ""
    types: dict[str, int] = field(default_factory=dict)
    signers: list[tuple[str, int]] = field(default_factory=list)  # kid, first seq: each change is a rotation
    epochs: list[str] = field(default_factory=list)

    def take(self, event: AuditEvent) -> None:
        """Add the next event."""
        self.seq = event.seq
        self.types[event.event_type] = self.types.get(event.event_type, 0) + 1
        if not self.signers or self.signers[-1][0] != event.signer_kid:
            self.signers.append((event.signer_kid, event.seq))
        if meaning_fault(event.event_type, event.actor_id, event.payload) is not None:
            return
        if event.event_type == "ledger.halted":
            self.halted, self.halted_by = True, event.actor_id
            self.halted_since = format_time(event.created_at)
        elif event.event_type == "ledger.resumed":
            self.halted, self.halted_by, self.halted_since = False, "", ""
        elif event.event_type == "ledger.epoch_began":
            self.epochs.append(f"{event.payload.get('kind')} at seq {event.seq}")

    def to_json(self) -> dict[str, object]:
        return {
            "seq": str(self.seq),
            "halted": self.halted,
            "halted_by": self.halted_by,
            "halted_since": self.halted_since,
            "types": dict(sorted(self.types.items())),
            "signers": [f"{kid} from seq {seq}" for kid, seq in self.signers],
            "epochs": self.epochs,
        }
