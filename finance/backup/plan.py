"""Which backup and which WAL a restore to a moment needs. Pure.

Guarantees: the newest backup that ended before the moment; every segment from its end to the moment, and on to the
newest, in the timeline that the moment lies on; what must be there and is not is named before anything is written.
Does not: read, decrypt or write.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from finance.backup import wal
from finance.backup.catalogue import Catalogue, Histories
from finance.backup.keys import WalFile
from finance.backup.manifest import BackupManifest
from ledger_core.errors import Refused

CLOCK_MARGIN: Final = dt.timedelta(seconds=60)  # between the clocks of server and receiver


@dataclass(frozen=True, slots=True)
class Target:
    """The moment to restore to: `moment` with "time" (UTC), `lsn` (bytes) with "lsn"."""

    kind: Literal["latest", "time", "lsn", "immediate"]
    moment: dt.datetime | None = None
    lsn: int | None = None

    def __str__(self) -> str:
        if self.moment is not None:
            return self.moment.isoformat().replace("+00:00", "Z")
        return self.kind if self.lsn is None else wal.format_lsn(self.lsn)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore reads. `needed` must be sound; `spare` follows it and is used as far as it is."""

    backup: BackupManifest
    target: Target
    timeline: int
    needed: tuple[WalFile, ...]
    spare: tuple[WalFile, ...]
    histories: tuple[WalFile, ...]

    def files(self) -> list[tuple[str, str]]:
        """(key, digest) of everything that must be sound, in the order it is read."""
        parts = [(part.key, part.sha256) for part in self.backup.parts]
        return parts + [(file.key, file.sha256) for file in (*self.histories, *self.needed)]


def make_plan(catalogue: Catalogue, target: Target, *, histories: Histories, backup_id: str | None, place: str) -> Plan:
    """Raises Refused when there is no such backup, or WAL that is needed is missing, naming it."""
    backup = _choose(catalogue, target, backup_id, place)
    if target.kind == "immediate":
        return Plan(backup, target, int(backup.timeline), (), (), ())
    timeline = wal.newest_descendant(int(backup.timeline), int(backup.stop_lsn), histories)
    names = _names(catalogue, backup, timeline, histories)
    files = [_file(catalogue, name) for name in names]
    count = _needed(files, names, backup, target)
    lineage = tuple(file for _, file in sorted(catalogue.histories.items()))
    _check_reach(catalogue, files[:count], target, place)
    missing = next((name for name, file in zip(names[:count], files, strict=False) if file is None), None)
    if missing is not None:
        raise Refused(
            f"WAL segment {missing} is missing in {place}, and the way to {target} leads through it",
            remedy="name a second place that still has it with --also, or restore to a moment before it",
        )
    spare = []
    for file in files[count:]:
        if file is None:
            break
        spare.append(file)
    return Plan(backup, target, timeline, tuple(f for f in files[:count] if f), tuple(spare), lineage)


def _choose(catalogue: Catalogue, target: Target, backup_id: str | None, place: str) -> BackupManifest:
    if backup_id is not None:
        for backup in catalogue.backups:
            if backup.backup_id == backup_id:
                return backup
        broken = next((told for told in catalogue.broken if backup_id in told), None)
        raise Refused(broken or f"there is no backup {backup_id} in {place}", remedy="see `finance backup list`")
    before = [backup for backup in catalogue.backups if _ended_before(backup, target)]
    if not before:
        broken = f" ({'; '.join(catalogue.broken)})" if catalogue.broken else ""
        raise Refused(
            f"{place} holds no backup that ended before {target}{broken}",
            remedy="restore to a later moment (`finance backup list`), or name another place",
        )
    return before[-1]


def _ended_before(backup: BackupManifest, target: Target) -> bool:
    if target.moment is not None:
        return backup.finished <= target.moment
    return target.lsn is None or int(backup.stop_lsn) <= target.lsn


def _names(catalogue: Catalogue, backup: BackupManifest, timeline: int, histories: Histories) -> list[str]:
    """Every segment from the backup's end to the newest on the way to `timeline`, whether it is there or not."""
    segment_bytes = int(backup.segment_bytes)
    known = {*catalogue.segments, *catalogue.partials}
    if catalogue.stream is not None:
        known.add(catalogue.stream.segment)
    lineage = {parent for parent, _ in histories.get(timeline, ())} | {timeline}
    segments = [wal.parse_segment(name, segment_bytes) for name in known]
    first = int(backup.stop_lsn) // segment_bytes
    newest = max((segment.number for segment in segments if segment.timeline in lineage), default=first - 1)
    on_the_way = wal.path_of(timeline, histories, range(first, newest + 1), segment_bytes)
    return [segment.name(segment_bytes) for segment in on_the_way]


def _file(catalogue: Catalogue, name: str) -> WalFile | None:
    """The whole segment, or else the newest part of it that the stream stored."""
    return catalogue.segments.get(name) or catalogue.partials.get(name)


def _needed(files: Sequence[WalFile | None], names: Sequence[str], backup: BackupManifest, target: Target) -> int:
    """How many of the files the way to the target surely needs."""
    segment_bytes = int(backup.segment_bytes)
    if target.lsn is not None:
        last = target.lsn // segment_bytes
        return sum(wal.parse_segment(name, segment_bytes).number <= last for name in names)
    if target.moment is not None:
        for number, file in enumerate(files, 1):
            if file is not None and file.stored_at > target.moment + CLOCK_MARGIN:
                return number
    return len(files)


def _check_reach(catalogue: Catalogue, needed: Sequence[WalFile | None], target: Target, place: str) -> None:
    """Refuse a moment that the stored WAL does not reach."""
    newest: dt.datetime | None = max((file.stored_at for file in needed if file), default=None)
    lsn = 0
    if catalogue.stream is not None:
        told = dt.datetime.fromtimestamp(catalogue.stream.at / 1000, dt.UTC)
        newest, lsn = max(newest or told, told), catalogue.stream.lsn
    short = (target.moment is not None and (newest is None or newest < target.moment)) or (
        target.lsn is not None and catalogue.stream is not None and lsn < target.lsn
    )
    if short:
        reach = f"only to {newest:%Y-%m-%dT%H:%M:%SZ}, {wal.format_lsn(lsn)}" if newest else "nowhere"
        raise Refused(
            f"the WAL in {place} reaches {reach}, not to {target}",
            remedy="restore --to latest, or name another place",
        )


def parse_histories(texts: Mapping[str, str]) -> Histories:
    """Name -> text of every stored `.history` file. Raises ValueError."""
    return {int(name[:8], 16): wal.parse_history(text) for name, text in texts.items()}
