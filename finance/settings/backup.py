"""The settings of backups, read from the checked environment when a backup command needs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from finance.settings.deployment import EndpointTls, Settings
from ledger_core.ports import LockMode


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """Where backups lie (a folder, or s3://bucket/prefix), and for how long. `tools` None: Postgres's are on PATH."""

    place: str  # BACKUP_PLACE
    spool: Path  # folder on this host
    slot: str  # name of the replication slot
    partial_seconds: int  # between two storings of the unfinished segment
    keep_days: int  # a restore to any moment of so many days stays possible
    keep_last: int  # so many backups stay whatever their age
    tools: Path | None


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """How a bucket of backups is met, and how long a lock lasts; `endpoint` None means AWS itself."""

    region: str  # of AWS
    endpoint: str | None
    access_key: str = field(repr=False)  # of the backup host
    secret: str = field(repr=False)  # see access_key
    tls: EndpointTls
    lock_mode: LockMode  # of Object Lock
    retain_days: int  # from the storing on


def backup_bucket_settings(settings: Settings) -> BucketSettings:
    """Raises Refused, naming the variable."""
    return BucketSettings(
        region=settings.needed("BACKUP_S3_REGION"),
        endpoint=settings.text("BACKUP_S3_ENDPOINT") or None,
        access_key=settings.needed("BACKUP_S3_ACCESS_KEY"),
        secret=settings.needed("BACKUP_S3_SECRET"),
        tls=settings.endpoint_tls("BACKUP_S3_ENDPOINT", "BACKUP_S3_CA_FILE", "backup"),
        lock_mode=cast(LockMode, settings.one_of("BACKUP_S3_LOCK_MODE", ("COMPLIANCE", "GOVERNANCE"))),
        retain_days=int(settings.number("BACKUP_KEEP_DAYS", 0, 36_525)),
    )


def backup_settings(settings: Settings) -> BackupSettings:
    """Raises Refused, naming the variable."""
    return BackupSettings(
        place=settings.needed("BACKUP_PLACE"),
        spool=Path(settings.needed("BACKUP_SPOOL")),
        slot=settings.needed("BACKUP_SLOT"),
        partial_seconds=int(settings.number("BACKUP_PARTIAL_SECONDS", 1, 3600)),
        keep_days=int(settings.number("BACKUP_KEEP_DAYS", 0, 36_525)),
        keep_last=int(settings.number("BACKUP_KEEP_LAST", 1, 10_000)),
        tools=Path(folder) if (folder := settings.text("PG_BIN")) else None,
    )
