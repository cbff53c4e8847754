"""What the wiring gives to a prover: its settings, and the store it writes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from consumers.proving.live_checkpoints import LiveStore
from consumers.proving.range_closer import ClosingStore
from ledger_core.ports import AuditIntent
from ledger_core.proving.closed_range import ClosedRange
from ledger_core.proving.range_limits import RangeLimits


@dataclass(frozen=True, slots=True)
class ProverSettings:
    """What never changes while a prover runs."""

    env: str  # environment, such as prod
    domain: str  # the origin of checkpoints begins with it
    limits: RangeLimits  # where a range is cut
    idle_seconds: float  # after so long without a record an open range is cut
    checkpoint_seconds: float = 1.0  # between two live checkpoints of a shard
    actor_id: str = "service:prover"  # who proved, in audit events
    mac_waiver: str | None = None  # by whose decision proofs carry a MAC alone, and why; None: nobody's
    poll_records_max: int = 2000  # of the journal, in one poll
    poll_seconds: float = 0.1  # how long one poll waits for the first record
    sign_ranges_max: int = 20  # in one step


class ProverStore(ClosingStore, LiveStore, Protocol):
    """See `ledger_core.postgres.proving.prover_store`. Every method may raise Unavailable("postgres")."""

    def unsigned(self, shard: int, limit: int) -> list[ClosedRange]: ...

    def publish_proof(
        self, closed: ClosedRange, proof_id: str, proof: bytes, note: bytes, intent: AuditIntent
    ) -> bool: ...

    def close(self) -> None: ...
