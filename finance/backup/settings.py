"""The settings of backups, read from the checked environment when a backup command needs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finance.settings import Settings
from finance.variables import VARIABLES
from ledger_core.errors import Refused

_BY_NAME = {variable.name: variable for variable in VARIABLES}


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """Where backups lie, and for how long. `tools` None: Postgres's tools are on PATH."""

    place: Path
    spool: Path
    slot: str
    partial_seconds: int
    keep_days: int
    keep_last: int
    tools: Path | None


def backup_settings(settings: Settings) -> BackupSettings:
    """Raises Refused, naming the variable."""
    return BackupSettings(
        place=Path(needed(settings, "BACKUP_PLACE")),
        spool=Path(needed(settings, "BACKUP_SPOOL")),
        slot=needed(settings, "BACKUP_SLOT"),
        partial_seconds=_count(settings, "BACKUP_PARTIAL_SECONDS", 1, 3600),
        keep_days=_count(settings, "BACKUP_KEEP_DAYS", 0, 36_525),
        keep_last=_count(settings, "BACKUP_KEEP_LAST", 1, 10_000),
        tools=Path(folder) if (folder := settings.values.get("PG_BIN")) else None,
    )


def needed(settings: Settings, name: str) -> str:
    """The value, or its default. Raises Refused when there is neither."""
    value = settings.values.get(name) or _BY_NAME[name].default
    if not value:
        raise Refused(f"{name} is not set", remedy=f"set {name} ({_BY_NAME[name].meaning})")
    return value


def _count(settings: Settings, name: str, smallest: int, largest: int) -> int:
    value = needed(settings, name)
    if not (value.isascii() and value.isdigit() and len(value) < 10 and smallest <= int(value) <= largest):
        raise Refused(f"{name} is {value!r}", remedy=f"use a whole number from {smallest} to {largest}")
    return int(value)
