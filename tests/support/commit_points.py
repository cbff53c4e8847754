"""The way of a range as data: where each process can die, in front of a commit point and behind it.

tests/integration/recovery/test_restore_points.py puts the database back to each of them. A commit point that is new in
ARCHITECTURE.md must be entered here (tests/unit/recovery/test_commit_points.py).
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

from tests.simulator.faults import Mode

MANY: Final = 10**6
LIMITS: Final = {"range_entries_max": 2, "range_idle_seconds": MANY, "audit_export_events_max": MANY}
EXPORTS: Final = {**LIMITS, "audit_export_events_max": 3}
# Of the database that was put back: what it closed anew would be another range, another export.
OTHER_LIMITS: Final = {"range_entries_max": 3, "range_idle_seconds": MANY, "audit_export_events_max": 7}


class Point(NamedTuple):
    """The last call of a process, and the commit point that it stands at. "not applied" at a COMMIT: what goes before
    it has left, and the database does not know."""

    name: str
    step: int  # of the table in ARCHITECTURE.md
    process: str
    call: str  # of its adapter
    mode: Mode
    knows: bool  # whether the database differs from the one of the point before
    left: bool  # whether something left since then, or stands in the database that is lost
    limits: dict[str, int] = LIMITS


POINTS: Final = (
    Point("posted", 1, "poster", "publish", "not applied", knows=True, left=False),
    Point("relayed", 2, "poster", "note_relayed", "not applied", knows=False, left=True),
    Point("noted", 2, "poster", "note_relayed", "applied", knows=True, left=False),
    Point("closed", 3, "prover", "close_range", "applied", knows=True, left=True),
    Point("chained", 9, "notary", "extend", "applied", knows=True, left=True),
    Point("published", 10, "notary", "set_published", "not applied", knows=False, left=True),
    Point("announced", 10, "notary", "set_published", "applied", knows=True, left=False),
    Point("signed", 4, "prover", "publish_proof", "not applied", knows=False, left=False),
    Point("proved", 4, "prover", "publish_proof", "applied", knows=True, left=True),
    Point("stored", 5, "archiver", "record_object", "not applied", knows=False, left=True),
    Point("archived", 5, "archiver", "record_object", "applied", knows=True, left=False),
    Point("manifest stored", 6, "archiver", "record_manifest", "not applied", knows=False, left=True),
    Point("listed", 6, "archiver", "record_manifest", "applied", knows=True, left=False),
    Point("audit closed", 7, "archiver", "close_range", "applied", knows=True, left=False, limits=EXPORTS),
    Point("export stored", 8, "archiver", "record", "not applied", knows=False, left=True, limits=EXPORTS),
    Point("exported", 8, "archiver", "record", "applied", knows=True, left=False, limits=EXPORTS),
)
NOTHING: Final = "nothing"

# Whose calls fail, or who does not run, once the database is put back.
ON_THE_WAY: Final = tuple(dict.fromkeys(point.process for point in POINTS))
AWAY: Final = ("nobody", *ON_THE_WAY, "kafka", "s3", "signer")


class Case(NamedTuple):
    """A batch goes the way up to `lost_at`; the database is put back to `back_to`. `epoch`: whether somebody said so
    (a standby that takes over says nothing)."""

    lost_at: str
    back_to: str
    away: str
    epoch: bool

    def __str__(self) -> str:
        return f"lost {self.lost_at}, back to {self.back_to}, {self.away} away{', in a new epoch' * self.epoch}"


def cases() -> list[Case]:
    """Each point at which something more has left, with each state of the database before it; those who are away take
    turns."""
    away, epoch = itertools.cycle(AWAY), itertools.cycle((True, False, False))
    found, states = [], [NOTHING]
    for point in POINTS:
        if point.left:
            found += [Case(point.name, state, next(away), next(epoch)) for state in states]
        if point.knows:
            states.append(point.name)
    return found


def way_of(case: Case) -> list[Point]:
    """The points at which a process dies in this case; in between each goes as far as it goes in one life."""
    names = [point.name for point in POINTS]
    way = POINTS[: names.index(case.lost_at) + 1]
    # The prover has two lives: it closes, and signs once that is announced. Those of the archiver differ in limits.
    lives = {(point.process, point.step == 4, tuple(point.limits.items())): point.name for point in way}
    return [point for point in way if point.name in {case.back_to, case.lost_at, *lives.values()}]
