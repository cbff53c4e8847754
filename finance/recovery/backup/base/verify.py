"""Whether a place holds what its backups need: every digest, every signature, no gap in the WAL.

Guarantees: names every file that is missing or altered, in whichever place; heals what another place still has. Needs
no private identity, so it does not open anything: that a backup restores is shown by restoring it
(`finance drill pitr`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from finance.recovery.backup import wal
from finance.recovery.backup.place.catalogue import Catalogue
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import wal_folder
from finance.recovery.backup.place.signing_faults import list_faults, unsigned_within


@dataclass(frozen=True, slots=True)
class Checked:
    """What was read, what is wrong, in words; and the names of the newest WAL, which waits for its signature."""

    files: int  # how many were read
    findings: tuple[str, ...]  # in words; empty when sound
    unsigned: tuple[str, ...]  # names of WAL files


def verify_place(copies: Copies, catalogue: Catalogue, advance: Callable[[int], None]) -> Checked:
    """`advance` counts bytes read."""
    files = [(part.key, part.sha256) for backup in catalogue.backups for part in backup.parts]
    wal_files = [*catalogue.segments.values(), *catalogue.histories.values()]
    files += [(file.key, file.sha256) for file in sorted(wal_files, key=lambda file: file.name)]
    signing = list_faults(catalogue, catalogue.backups)
    findings = [
        *(told for told in catalogue.broken if told not in signing),
        *signing,
        *unsigned_within(catalogue, wal_files),
        *_without_manifest(catalogue),
        *_without_history(catalogue),
        *copies.check(files, advance, everywhere=True),
        *_check_partials(copies, catalogue, advance),
        *_gaps(catalogue),
    ]
    waiting = tuple(file.name for file in catalogue.unsigned)
    return Checked(len(files) + len(catalogue.partials), tuple(findings), waiting)


def _check_partials(copies: Copies, catalogue: Catalogue, advance: Callable[[int], None]) -> list[str]:
    """A stream that is at work replaces them: what is not there any more, and has a successor, is not a finding."""
    findings = []
    for name, file in sorted(catalogue.partials.items()):
        faults = copies.check([(file.key, file.sha256)], advance, everywhere=True)
        below = wal_folder(catalogue.system_identifier)
        now = copies.sizes(below) if faults else {file.key: 0}
        if file.key in now or not any(key.startswith(f"{below}{name}") for key in now):
            findings += faults
    return findings


def _without_manifest(catalogue: Catalogue) -> list[str]:
    return [
        f"{folder} has parts and no manifest.json: a backup that is being taken, was killed, or lost it"
        for folder in sorted({key.rpartition("/")[0] for key in catalogue.unfinished})
    ]


def _without_history(catalogue: Catalogue) -> list[str]:
    """A later timeline whose beginning nobody knows: a restore would end in an earlier one."""
    names = (wal.history_name(timeline) for timeline in sorted(catalogue.timelines()) if timeline > 1)
    return [f"{name} is missing" for name in names if name not in catalogue.histories]


def _gaps(catalogue: Catalogue) -> list[str]:
    """Segments that lie between such as are here, or before where the stream has come, and are not here."""
    if not catalogue.backups:
        return []
    segment_bytes = int(catalogue.backups[0].segment_bytes)
    first = min(backup.first_segment for backup in catalogue.backups)
    names = {*catalogue.segments, *catalogue.partials}
    told = {catalogue.stream.first, catalogue.stream.segment} if catalogue.stream else set()
    known = [wal.parse_segment(name, segment_bytes) for name in names | told]
    missing = []
    for timeline in sorted({segment.timeline for segment in known}):
        numbers = [segment.number for segment in known if segment.timeline == timeline]
        # What was written before the stream began was never here; what no kept backup needs was pruned.
        for number in range(max(min(numbers), first), max(numbers) + 1):
            name = wal.Segment(timeline, number).name(segment_bytes)
            if name not in names:
                missing.append(f"WAL segment {name} is missing")
    return missing
