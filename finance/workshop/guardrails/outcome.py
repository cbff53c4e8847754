"""What a guardrail says: what it checked, what it found, or why it could not check.

Guarantees: "could not be checked" is a state of its own, never taken for "nothing found".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RepositoryFault:
    """One thing to mend: where it is, what it is, and what to do."""

    place: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}. Remedy: {self.remedy}"


@dataclass(frozen=True, slots=True)
class ScanOutcome:
    """The result of one check. `unchecked` (a reason) means that it says nothing about what it was to check."""

    check: str
    looked_at: str
    faults: tuple[RepositoryFault, ...] = ()
    unchecked: str | None = None

    @property
    def word(self) -> str:
        """`found`, `not checked` or `sound`."""
        return "found" if self.faults else "not checked" if self.unchecked else "sound"
