"""What the demo reports: plain values, made by its parts and shown by `finance.workshop.demo.words` or as JSON."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the route. Seconds count from the first publication; `busy_seconds` from its own first result."""

    name: str
    unit: str
    count: int
    done_seconds: float
    busy_seconds: float

    @property
    def per_second(self) -> float | None:
        """None when it was over in one check."""
        return self.count / self.busy_seconds if self.busy_seconds >= 0.05 else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure, by two ways that share no code. `is_money`: cents."""

    what: str
    from_data: int
    from_ledger: int
    is_money: bool

    @property
    def equal(self) -> bool:
        return self.from_data == self.from_ledger


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """One shard at the end of the route."""

    shard: int
    entries: int
    duplicates: int
    rejected: int
    proofs: int
    objects: int
    head_hash: str
    retain_until: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TypeTotal:
    """The trial balance of one account type, in cents."""

    type: str
    accounts: int
    debits: int
    credits: int


@dataclass(frozen=True, slots=True)
class Cheat:
    """One attempt. `caught` says whether what must happen happened; `exit_code` None: no command was asked."""

    tried: str
    caught_by: str
    exit_code: int | None
    finding: str
    caught: bool


@dataclass(frozen=True, slots=True)
class DemoCheck:
    """One command that must end 0, and what it checked."""

    command: str
    exit_code: int
    looked_at: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What the route came to."""

    stages: tuple[Stage, ...]
    comparisons: tuple[Comparison, ...]
    shards: tuple[ShardSummary, ...]
    trial_balance: tuple[TypeTotal, ...]
    modes: tuple[str, ...]  # of the archive's locks
    audit_events: int


@dataclass(slots=True)
class Demo:
    """The whole story, as far as it came."""

    month: str | None
    folder: str
    stack_seconds: float
    summary: Summary
    cheats: tuple[Cheat, ...]
    checks: tuple[DemoCheck, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]  # what a stranger runs: title, command lines
    seconds: float

    @property
    def failures(self) -> list[str]:
        """Every expectation that was not met; empty when all is well."""
        summary = self.summary
        failed = [
            f"{c.what}: data say {c.from_data}, ledger says {c.from_ledger}" for c in summary.comparisons if not c.equal
        ]
        sides = [sum(getattr(total, side) for total in summary.trial_balance) for side in ("debits", "credits")]
        if sides[0] != sides[1]:
            failed.append(f"trial balance: debits {sides[0]}, credits {sides[1]}")
        if summary.modes != ("COMPLIANCE",):
            failed.append(f"archive: objects are locked by {', '.join(summary.modes) or 'nothing'}")
        failed += [f"not caught: {cheat.tried} ({cheat.finding})" for cheat in self.cheats if not cheat.caught]
        failed += [
            f"{check.command} ended {check.exit_code}: {check.looked_at}" for check in self.checks if check.exit_code
        ]
        return failed
