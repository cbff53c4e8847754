"""What may go: backups beyond the policy, and the WAL that no kept backup needs; and letting it go.

Guarantees: the newest `keep_last` backups stay, and all that a restore to any moment of the last `keep_days` needs (so
also the newest backup before them); only a backup whose parts are all there counts as kept; at least one stays. A
backup goes by its manifest first: where a lock holds that, all of the backup stays.
Does not: read files, or shorten a lock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from finance.recovery.backup import wal
from finance.recovery.backup.place.catalogue import Catalogue
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import base_prefix, manifest_key, wal_file, wal_list_key
from finance.recovery.backup.place.manifest import BackupManifest


@dataclass(frozen=True, slots=True)
class Pruning:
    """What to delete: of each backup all its keys, the manifest's first; and keys of WAL."""

    kept: tuple[BackupManifest, ...]  # backups that stay
    backups: tuple[BackupManifest, ...]  # backups that go
    backup_keys: tuple[tuple[str, ...], ...]  # in the order of `backups`
    wal_keys: tuple[str, ...]  # before the oldest backup that is kept

    @property
    def keys(self) -> tuple[str, ...]:
        return (*(key for keys in self.backup_keys for key in keys), *self.wal_keys)


def prune_plan(catalogue: Catalogue, *, now: dt.datetime, keep_days: int, keep_last: int) -> Pruning:
    """Decide by the listing alone."""
    whole = [backup for backup in catalogue.backups if _is_whole(catalogue, backup)]
    since = now - dt.timedelta(days=keep_days)
    before = [backup for backup in whole if backup.finished < since]
    kept = {backup.backup_id for backup in (*whole[-max(1, keep_last) :], *before[-1:], *_forked(catalogue, before))}
    kept |= {backup.backup_id for backup in whole if backup.finished >= since}
    # What is damaged is nobody's backup any more, but somebody may want to know why: it goes when its time has come.
    going = [b for b in catalogue.backups if b.backup_id not in kept and b.finished < since]
    return Pruning(
        kept=tuple(backup for backup in catalogue.backups if backup not in going),
        backups=tuple(going),
        backup_keys=tuple(_keys_of(catalogue, backup) for backup in going),
        wal_keys=tuple(_wal_keys(catalogue, [b for b in whole if b.backup_id in kept])),
    )


def _forked(catalogue: Catalogue, before: Sequence[BackupManifest]) -> list[BackupManifest]:
    """What a later timeline began from, where it has no old backup of its own: the newest that ended before its WAL.
    (The history says it exactly, and is encrypted.)"""
    firsts: dict[int, str] = {}
    for name in sorted({*catalogue.segments, *catalogue.partials}, reverse=True):
        firsts[int(name[:8], 16)] = name
    found = []
    for life, name in firsts.items():
        if before and all(int(backup.timeline) != life for backup in before):
            first = wal.parse_segment(name, int(before[0].segment_bytes)).number
            parents = [b for b in before if int(b.timeline) < life and b.last_segment <= first]
            found += parents[-1:]
    return found


def prune(copies: Copies, plan: Pruning, advance: Callable[[int], None]) -> list[str]:
    """Delete; `advance` counts keys. The keys that a lock holds, which stay. Raises Unavailable, Refused."""
    locked: list[str] = []
    for manifest, *parts in plan.backup_keys:
        if copies.delete(manifest):
            locked += _delete(copies, parts)
        else:
            locked += [manifest, *parts]
        advance(1 + len(parts))
    for key in plan.wal_keys:
        locked += _delete(copies, [key])
        advance(1)
    return locked


def _delete(copies: Copies, keys: Sequence[str]) -> list[str]:
    return [key for key in keys if not copies.delete(key)]


def _is_whole(catalogue: Catalogue, backup: BackupManifest) -> bool:
    return all(catalogue.sizes.get(part.key) == int(part.size_bytes) for part in backup.parts)


def _keys_of(catalogue: Catalogue, backup: BackupManifest) -> tuple[str, ...]:
    manifest = manifest_key(catalogue.system_identifier, backup.backup_id)
    below = base_prefix(catalogue.system_identifier, backup.backup_id)
    return (manifest, *sorted(key for key in catalogue.sizes if key.startswith(below) and key != manifest))


def _wal_keys(catalogue: Catalogue, kept: list[BackupManifest]) -> list[str]:
    """Segments before the first one that any kept backup needs, whatever their timeline, and lists of nothing but such;
    histories stay."""
    if not kept:
        return []
    first = min(backup.first_segment for backup in kept)
    segment_bytes = int(kept[0].segment_bytes)

    def is_past(key: str) -> bool:
        file = wal_file(key)
        if file is None or wal.HISTORY_NAME.fullmatch(file.name):
            return False
        return wal.parse_segment(file.name.removesuffix(wal.PARTIAL), segment_bytes).number < first

    full = catalogue.listed.lists[:-1]  # from the oldest on, as long as nothing is left of what they sign for
    past = takewhile(lambda one: all(is_past(key) for key in one.files), full)
    lists = (wal_list_key(catalogue.system_identifier, int(one.list_no)) for one in past)
    return [*(key for key in sorted(catalogue.sizes) if is_past(key)), *lists]
