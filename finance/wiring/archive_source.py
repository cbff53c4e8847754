"""Where an archive is read from: `s3://bucket[/prefix]`, or a folder that holds a copy of one.

Guarantees: a folder that is not there and a scheme that is not known are Refused before anything is read. An S3 address
goes to the endpoint and with the reading keys of S3_AUDIT_*, whatever its bucket.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from finance.settings.deployment import Settings
from finance.wiring import services
from ledger_core.archive.listing import ArchiveReader, BelowPrefix
from ledger_core.errors import Refused


def open_source(address: str, settings: Settings) -> ArchiveReader:
    """The reader of an archive's address. Raises Refused."""
    parts = urlsplit(address)
    if parts.scheme == "s3" and parts.netloc:
        bucket = services.open_archive(settings, bucket=parts.netloc)
        prefix = parts.path.strip("/")
        return BelowPrefix(bucket, prefix) if prefix else bucket
    folder = Path(address)
    if "://" in address or not folder.is_dir():
        raise Refused(f"{address} is not an archive", remedy="name s3://bucket, s3://bucket/prefix, or a folder")
    return services.open_archive_folder(folder)
