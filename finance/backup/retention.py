"""What may go: backups beyond the policy, and the WAL that no kept backup needs. Pure.

Guarantees: the newest `keep_last` backups stay, and all that a restore to any moment of the last `keep_days` needs (so
also the newest backup before them); only a backup whose parts are all there counts as kept; at least one stays.
Does not: delete.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from finance.backup import wal
from finance.backup.catalogue import Catalogue, base_prefix
from finance.backup.manifest import MANIFEST, BackupManifest


@dataclass(frozen=True, slots=True)
class Pruning:
    """What to delete, in this order: a manifest goes first, and its backup with it."""

    kept: tuple[BackupManifest, ...]
    backups: tuple[BackupManifest, ...]
    keys: tuple[str, ...]
    bytes: int


def prune_plan(catalogue: Catalogue, *, now: dt.datetime, keep_days: int, keep_last: int) -> Pruning:
    """Decide by the listing alone."""
    whole = [backup for backup in catalogue.backups if _is_whole(catalogue, backup)]
    since = now - dt.timedelta(days=keep_days)
    before = [backup for backup in whole if backup.finished < since]
    kept = {backup.backup_id for backup in (*whole[-max(1, keep_last) :], *before[-1:])}
    kept |= {backup.backup_id for backup in whole if backup.finished >= since}
    # What is damaged is nobody's backup any more, but somebody may want to look why: it goes when its time has come.
    going = [b for b in catalogue.backups if b.backup_id not in kept and b.finished < since]
    staying = tuple(backup for backup in catalogue.backups if backup not in going)
    keys = [*_keys_of(catalogue, going), *_wal_keys(catalogue, [b for b in whole if b.backup_id in kept])]
    return Pruning(staying, tuple(going), tuple(keys), sum(catalogue.sizes.get(key, 0) for key in keys))


def _is_whole(catalogue: Catalogue, backup: BackupManifest) -> bool:
    return all(catalogue.sizes.get(part.key) == int(part.size_bytes) for part in backup.parts)


def _keys_of(catalogue: Catalogue, going: list[BackupManifest]) -> list[str]:
    keys = []
    for backup in going:
        prefix = base_prefix(catalogue.system_identifier, backup.backup_id)
        keys += [prefix + MANIFEST, *(key for key in sorted(catalogue.sizes) if key.startswith(f"{prefix}part-"))]
    return keys


def _wal_keys(catalogue: Catalogue, kept: list[BackupManifest]) -> list[str]:
    """Segments before the first one that any kept backup needs, whatever their timeline; histories stay."""
    if not kept:
        return []
    oldest = min(kept, key=lambda backup: int(backup.start_lsn))
    segment_bytes = int(oldest.segment_bytes)
    return [
        file.key
        for files in (catalogue.segments, catalogue.partials)
        for name, file in sorted(files.items())
        if wal.parse_segment(name, segment_bytes).number < oldest.first_segment
    ]
