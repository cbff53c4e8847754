"""A catalogue as JSON and in words."""

from __future__ import annotations

import datetime as dt

from rich.console import Group, RenderableType

from finance.cli.common import table, utc
from finance.recovery.backup import wal
from finance.recovery.backup.place.catalogue import Catalogue
from finance.recovery.backup.place.keys import wal_folder
from ledger_core.times import parse_time


def listing(catalogue: Catalogue) -> dict[str, object]:
    """Sizes in bytes, positions as Postgres writes them."""
    stream = catalogue.stream
    return {
        "ok": not catalogue.broken,
        "system_identifier": catalogue.system_identifier,
        "backups": [
            {
                "backup_id": backup.backup_id,
                "env": backup.env,
                "started_at": backup.started_at,
                "finished_at": backup.finished_at,
                "timeline": int(backup.timeline),
                "start_lsn": wal.format_lsn(int(backup.start_lsn)),
                "stop_lsn": wal.format_lsn(int(backup.stop_lsn)),
                "size_bytes": int(backup.size_bytes),
                "stored_bytes": backup.stored_bytes,
                "signer_kid": backup.signer_kid,
            }
            for backup in catalogue.backups
        ],
        "broken": list(catalogue.broken),
        "wal": {
            "segments": len(catalogue.segments),
            "unsigned": len(catalogue.unsigned),
            "reaches_lsn": wal.format_lsn(stream.lsn) if stream else None,
            "reaches_time": utc(dt.datetime.fromtimestamp(stream.at / 1000, dt.UTC)) if stream else None,
            "bytes": sum(
                size for key, size in catalogue.sizes.items() if key.startswith(wal_folder(catalogue.system_identifier))
            ),
        },
    }


def listing_words(catalogue: Catalogue) -> RenderableType:
    rows = [
        (
            backup.backup_id,
            utc(backup.finished),
            f"{(backup.finished - parse_time(backup.started_at)).total_seconds():,.0f}",
            f"{int(backup.size_bytes) / 1e6:,.1f}",
            f"{backup.stored_bytes / 1e6:,.1f}",
            wal.format_lsn(int(backup.stop_lsn)),
            backup.timeline,
        )
        for backup in catalogue.backups
    ]
    numbers = ("s", "MB", "stored MB", "timeline")
    stream = catalogue.stream
    reach = "no WAL is stored: a restore ends where its backup ends"
    if stream:
        at = utc(dt.datetime.fromtimestamp(stream.at / 1000, dt.UTC))
        reach = f"WAL      {len(catalogue.segments):,} segment(s), reaches {wal.format_lsn(stream.lsn)} as of {at}"
    lines: list[RenderableType] = [f"cluster  {catalogue.system_identifier}", reach]
    lines += [f"broken   {told}" for told in catalogue.broken]
    lines.append(table(("backup", "finished", "s", "MB", "stored MB", "ends at", "timeline"), rows, right=numbers))
    return Group(*lines)
