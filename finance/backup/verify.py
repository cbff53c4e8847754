"""Whether a place holds what its backups need: every digest, every signature, no gap in the WAL.

Guarantees: names every file that is missing or altered; heals what another place still has. Needs no private identity,
so it does not open anything: that a backup restores is shown by restoring it (`finance drill pitr`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from finance.backup import wal
from finance.backup.catalogue import Catalogue
from finance.backup.copies import Copies
from finance.backup.keys import wal_file


@dataclass(frozen=True, slots=True)
class Checked:
    """What was read, and what is wrong, in words."""

    files: int
    findings: tuple[str, ...]


def verify_place(copies: Copies, catalogue: Catalogue, advance: Callable[[int], None]) -> Checked:
    """`advance` counts bytes read."""
    files = [(part.key, part.sha256) for backup in catalogue.backups for part in backup.parts]
    stored = (catalogue.segments, catalogue.partials, catalogue.histories)
    files += [(file.key, file.sha256) for kind in stored for _, file in sorted(kind.items())]
    findings = [*catalogue.broken, *copies.check(files, advance, everywhere=True), *_gaps(catalogue)]
    return Checked(len(files), tuple(findings))


def _gaps(catalogue: Catalogue) -> list[str]:
    """Segments that were stored once, or lie between such, and are not here."""
    if not catalogue.backups:
        return []
    segment_bytes = int(catalogue.backups[0].segment_bytes)
    names = {*catalogue.segments, *catalogue.partials}
    told = {catalogue.stream.first, catalogue.stream.segment} if catalogue.stream else set()
    told |= {file.name for b in catalogue.backups for key in b.wal if (file := wal_file(key)) is not None}
    known = [wal.parse_segment(name, segment_bytes) for name in names | told]
    missing = []
    for timeline in sorted({segment.timeline for segment in known}):
        numbers = [segment.number for segment in known if segment.timeline == timeline]
        # What was written before the stream began was never here; what no kept backup needs was pruned.
        for number in range(max(min(numbers), catalogue.backups[0].first_segment), max(numbers) + 1):
            name = wal.Segment(timeline, number).name(segment_bytes)
            if name not in names:
                missing.append(f"WAL segment {name} is missing")
    return missing
