"""Which backup and which WAL a restore to a moment needs. Pure.

Guarantees: the newest backup, on the way to the wanted timeline of the cluster (the newest, if none is named), that
ended before the moment; every segment from its end to the moment, and on to the newest, each of the timeline it belongs
to; what must be there and is not is named before anything is written.
Does not: read, decrypt or write.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from finance.recovery.backup import wal
from finance.recovery.backup.place.catalogue import Catalogue, Histories
from finance.recovery.backup.place.keys import WalFile
from finance.recovery.backup.place.manifest import BackupManifest
from finance.recovery.backup.place.signing_faults import list_faults, unsigned_within
from ledger_core.errors import Refused
from ledger_core.times import format_time

CLOCK_MARGIN: Final = dt.timedelta(seconds=60)  # between the clocks of server and receiver


@dataclass(frozen=True, slots=True)
class Target:
    """The moment to restore to: `moment` with "time" (UTC), `lsn` (bytes) with "lsn"."""

    # "latest": all WAL there is; "immediate": the end of the backup
    kind: Literal["latest", "time", "lsn", "immediate"]
    moment: dt.datetime | None = None
    lsn: int | None = None

    def __str__(self) -> str:
        if self.moment is not None:
            return self.moment.isoformat().replace("+00:00", "Z")
        return self.kind if self.lsn is None else wal.format_lsn(self.lsn)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the operator asks for beside the moment. `timeline` None: the newest one; `unsigned_wal`: take WAL also
    where the lists that sign for it are lost."""

    backup_id: str | None = None  # None: the newest that ended before the target
    timeline: int | None = None
    unsigned_wal: bool = False


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore reads. `needed` must be sound; `spare` follows it and is used as far as it is. `unsigned`: names
    among the needed that no list signs for."""

    backup: BackupManifest  # where it begins
    target: Target  # where it ends
    timeline: int  # that is followed to the target
    needed: tuple[WalFile, ...] = ()
    spare: tuple[WalFile, ...] = ()
    histories: tuple[WalFile, ...] = ()  # of the timelines on the way
    unsigned: tuple[str, ...] = ()

    def files(self) -> list[tuple[str, str]]:
        """(key, digest) of everything that must be sound, in the order it is read."""
        parts = [(part.key, part.sha256) for part in self.backup.parts]
        return parts + [(file.key, file.sha256) for file in (*self.histories, *self.needed)]


def check_restorable(catalogue: Catalogue, env: str, now: dt.datetime, place: str) -> None:
    """Refuse backups of another environment, and a clock that is behind what is stored here. Raises Refused."""
    other = next((backup for backup in catalogue.backups if backup.env != env), None)
    if other is not None:
        raise Refused(
            f"backup {other.backup_id} in {place} is of environment {other.env}, this is {env}",
            remedy="check FINANCE_ENV and BACKUP_PLACE",
        )
    files = (*catalogue.segments.values(), *catalogue.partials.values())
    moments = [*(backup.finished for backup in catalogue.backups), *(file.stored_at for file in files)]
    newest = max(moments, default=now)
    if now + CLOCK_MARGIN < newest:
        raise Refused(
            f"this clock says {format_time(now)}, and {place} has a file that was stored at {format_time(newest)}",
            remedy="set the clock (NTP), then run it again; nothing was written",
        )


def make_plan(catalogue: Catalogue, target: Target, choice: Choice, *, histories: Histories, place: str) -> RestorePlan:
    """Raises Refused when there is no such backup, or WAL that is needed is missing, naming it."""
    life = choice.timeline or max(catalogue.timelines(), default=1)
    backup = _choose(catalogue, target, choice.backup_id, life, histories, place)
    if target.kind == "immediate":
        return RestorePlan(backup, target, int(backup.timeline))
    if choice.backup_id is not None and choice.timeline is None:
        life = wal.newest_descendant(int(backup.timeline), int(backup.stop_lsn), histories)
    names = _names(catalogue, backup, life, histories)
    files = [_file(catalogue, name, is_newest=name == names[-1]) for name in names]
    count = _needed(files, names, backup, target)
    _check_reach(catalogue, backup, files[:count], target, place)
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
    needed = tuple(file for file in files[:count] if file)
    if not choice.unsigned_wal:
        _check_signed(catalogue, backup, needed, place)
    unsigned = {file.key for file in catalogue.unsigned}
    return RestorePlan(
        backup,
        target,
        life,
        needed,
        tuple(spare),
        tuple(file for _, file in sorted(catalogue.histories.items())),
        tuple(file.name for file in needed if file.key in unsigned),
    )


def _choose(
    catalogue: Catalogue, target: Target, backup_id: str | None, life: int, histories: Histories, place: str
) -> BackupManifest:
    if backup_id is not None:
        for backup in catalogue.backups:
            if backup.backup_id == backup_id:
                return backup
        broken = next((told for told in catalogue.broken if backup_id in told), None)
        raise Refused(broken or f"there is no backup {backup_id} in {place}", remedy="see `finance backup list`")
    on_the_way = [b for b in catalogue.backups if wal.leads_to(int(b.timeline), int(b.stop_lsn), life, histories)]
    before = [backup for backup in on_the_way if _ended_before(backup, target)]
    if before:
        return before[-1]
    if life > 1 and life not in histories and any(int(b.timeline) < life for b in catalogue.backups):
        raise Refused(
            f"{wal.history_name(life)} is missing in {place}: it says where timeline {life} left its parent",
            remedy="name a second place that still has it with --also, or an earlier timeline with --timeline",
        )
    lost = [f"{key.rpartition('/')[0]} has parts and no manifest.json" for key in catalogue.unfinished]
    told = "; ".join(dict.fromkeys([*catalogue.broken, *lost]))
    raise Refused(
        f"{place} has no backup of timeline {life} that ended before {target}" + (f" ({told})" if told else ""),
        remedy="name a signers.json that contains every key that ever signed, or a second place with --also"
        if catalogue.broken
        else "restore to a later moment (`finance backup list`), or name another place",
    )


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
    left_at = {parent: lsn // segment_bytes for parent, lsn in histories.get(timeline, ())}
    segments = [wal.parse_segment(name, segment_bytes) for name in known]
    # What a parent wrote after it was left belongs to another timeline.
    own = [s.number for s in segments if s.timeline == timeline or s.number < left_at.get(s.timeline, 0)]
    first = int(backup.stop_lsn) // segment_bytes
    numbers = range(first, max(own, default=first - 1) + 1)
    return [segment.name(segment_bytes) for segment in wal.path_of(timeline, histories, numbers, segment_bytes)]


def _file(catalogue: Catalogue, name: str, *, is_newest: bool) -> WalFile | None:
    """The whole segment; of the newest, else the newest part of it that the stream stored."""
    return catalogue.segments.get(name) or (catalogue.partials.get(name) if is_newest else None)


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


def _check_reach(
    catalogue: Catalogue, backup: BackupManifest, needed: Sequence[WalFile | None], target: Target, place: str
) -> None:
    """Refuse a moment that the stored WAL does not reach."""
    newest: dt.datetime | None = max((file.stored_at for file in needed if file), default=None)
    last = needed[-1] if needed else None
    lsn, segment_bytes = int(backup.stop_lsn), int(backup.segment_bytes)
    if last is not None and wal.SEGMENT_NAME.fullmatch(last.name):
        lsn = (wal.parse_segment(last.name, segment_bytes).number + 1) * segment_bytes
    if catalogue.stream is not None:
        told = dt.datetime.fromtimestamp(catalogue.stream.at / 1000, dt.UTC)
        newest = max(newest or told, told)
        if last is not None and last.name.removesuffix(wal.PARTIAL) == catalogue.stream.segment:
            lsn = max(lsn, catalogue.stream.lsn)
    short = (target.moment is not None and (newest is None or newest < target.moment)) or (
        target.lsn is not None and None not in needed and lsn < target.lsn
    )
    if short:
        reach = f"only to {newest:%Y-%m-%dT%H:%M:%SZ}, {wal.format_lsn(lsn)}" if newest else "nowhere"
        raise Refused(
            f"the WAL in {place} reaches {reach}, not to {target}",
            remedy="restore --to latest, or name another place",
        )


def _check_signed(catalogue: Catalogue, backup: BackupManifest, needed: Sequence[WalFile], place: str) -> None:
    """Refuse where somebody may have exchanged WAL: only the newest files may wait for their signature."""
    since = [later for later in catalogue.backups if later.finished >= backup.finished]
    faults = [*list_faults(catalogue, since), *unsigned_within(catalogue, needed)]
    if faults:
        raise Refused(
            f"who signed for the WAL in {place} is not known: {'; '.join(faults)}",
            remedy="name a second place that still has it with --also, restore another backup alone (--backup, "
            "--to immediate), or take the WAL as it lies there with --unsigned-wal",
        )


def parse_histories(texts: Mapping[str, str]) -> Histories:
    """Name -> text of every stored `.history` file. Raises ValueError."""
    return {int(name[:8], 16): wal.parse_history(text) for name, text in texts.items()}
