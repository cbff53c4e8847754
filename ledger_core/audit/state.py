"""What a run of audit events adds up to: halted or not, which keys signed from where on, which epochs the database had.

Guarantees: a pure fold, in the order of the chain; an event that means nothing, or that an operator set aside since, is
counted and changes nothing. Does not: verify events, or know of what no event says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ledger_core.audit.event_types import meaning_fault
from ledger_core.audit.events import AuditEvent
from ledger_core.audit.set_aside import Place, set_aside_by
from ledger_core.times import format_time

_HALTS: Final = ("ledger.halted", "ledger.resumed")
_EPOCH: Final = "ledger.epoch_began"


@dataclass(slots=True)
class AuditState:
    """Feed it event by event."""

    seq: int = 0
    types: dict[str, int] = field(default_factory=dict)
    signers: list[tuple[str, int]] = field(default_factory=list)  # kid, first seq: each change is a rotation
    set_aside: int = 0  # decisions
    _moves: dict[Place, AuditEvent] = field(default_factory=dict)  # halts, resumes and epochs: few, in order

    def take(self, event: AuditEvent) -> None:
        """Add the next event."""
        self.seq = event.seq
        self.types[event.event_type] = self.types.get(event.event_type, 0) + 1
        if not self.signers or self.signers[-1][0] != event.signer_kid:
            self.signers.append((event.signer_kid, event.seq))
        place = set_aside_by(event)
        if place is not None:
            self.set_aside += 1
            self._moves.pop(place, None)
            return
        moves = event.event_type in (*_HALTS, _EPOCH)
        if moves and meaning_fault(event.event_type, event.actor_id, event.payload) is None:
            self._moves[event.seq, event.hash] = event

    @property
    def halt(self) -> AuditEvent | None:
        """What posting is halted by; None: it goes on."""
        newest = next((it for it in reversed(self._moves.values()) if it.event_type in _HALTS), None)
        return newest if newest is not None and newest.event_type == "ledger.halted" else None

    def to_json(self) -> dict[str, object]:
        halt = self.halt
        return {
            "seq": str(self.seq),
            "halted": halt is not None,
            "halted_by": "" if halt is None else halt.actor_id,
            "halted_since": "" if halt is None else format_time(halt.created_at),
            "types": dict(sorted(self.types.items())),
            "set_aside": self.set_aside,
            "signers": [f"{kid} from seq {seq}" for kid, seq in self.signers],
            "epochs": [
                f"{it.payload.get('kind')} at seq {it.seq}" for it in self._moves.values() if it.event_type == _EPOCH
            ],
        }
