"""What a check found. Checks collect findings instead of stopping at the first; each names its place.

Guarantees: a report is sound exactly when nothing was found; beyond FINDINGS_MAX findings are counted, not kept, so a
ruined ledger of millions of entries does not fill the memory. It decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

FINDINGS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction. `code` is `<thing>.<what>` and published for ever; `place` is an object key, id or file."""

    code: str
    message: str  # for people; may change between releases
    shard: int | None = None  # None when it concerns no shard
    seq: int | None = None  # of the entry or event concerned; None without one
    field: str | None = None  # name of the field that contradicts; None without one
    place: str | None = None

    def __str__(self) -> str:
        where = [
            f"{name} {value}"
            for name, value in (("shard", self.shard), ("seq", self.seq), ("field", self.field), ("in", self.place))
            if value is not None
        ]
        return f"{self.code}: {self.message}" + (f" ({', '.join(where)})" if where else "")

    def to_json(self) -> dict[str, str | int | None]:
        return {
            "code": self.code,
            "message": self.message,
            "shard": self.shard,
            "seq": None if self.seq is None else str(self.seq),
            "field": self.field,
            "place": self.place,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one verification. `counts` say what was checked: a report of nothing comforts nobody."""

    findings: tuple[Finding, ...]  # in the order of discovery, up to a limit
    counts: Mapping[str, int]
    findings_beyond_max: int = 0  # how many more there were

    @property
    def sound(self) -> bool:
        return not self.findings

    def joined(self, other: Report) -> Report:
        """Both reports as one."""
        return Report(
            self.findings + other.findings,
            {**self.counts, **other.counts},
            self.findings_beyond_max + other.findings_beyond_max,
        )

    def to_json(self) -> dict[str, object]:
        return {
            "sound": self.sound,
            "counts": dict(self.counts),
            "findings": [finding.to_json() for finding in self.findings],
            "findings_beyond_max": self.findings_beyond_max,
        }


@dataclass(slots=True)
class Collector:
    """Gathers findings and counts while a check runs. `shard` and `place` are given to findings that name none."""

    shard: int | None = None
    place: str | None = None
    _findings: list[Finding] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)
    _beyond_max: int = 0

    def add(
        self,
        code: str,
        message: str,
        *,
        shard: int | None = None,
        seq: int | None = None,
        field: str | None = None,
        place: str | None = None,
    ) -> None:
        """Record one finding."""
        if len(self._findings) >= FINDINGS_MAX:
            self._beyond_max += 1
            return
        where = self.shard if shard is None else shard
        self._findings.append(Finding(code, message, where, seq, field, self.place if place is None else place))

    def count(self, name: str, number: int = 1) -> None:
        """Count `number` more of something that was checked."""
        self._counts[name] = self._counts.get(name, 0) + number

    def absorb(self, other: Collector) -> None:
        """Take over what another one found and counted."""
        self._beyond_max += other._beyond_max + max(0, len(self._findings) + len(other._findings) - FINDINGS_MAX)
        self._findings += other._findings[: FINDINGS_MAX - len(self._findings)]
        for name, number in other._counts.items():
            self.count(name, number)

    def take(self, report: Report) -> None:
        """Take over a report, counts and all."""
        self.absorb(Collector(None, None, list(report.findings), dict(report.counts), report.findings_beyond_max))

    def __len__(self) -> int:
        return len(self._findings) + self._beyond_max

    def report(self) -> Report:
        """What was found so far."""
        return Report(tuple(self._findings), dict(self._counts), self._beyond_max)
