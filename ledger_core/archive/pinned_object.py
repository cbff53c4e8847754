"""A locked object as the database pins it: which version, which bytes, which lock. Pure.

Guarantees: what is pinned was locked, or it is Refused; the end of a lock is a function of what the object holds, so
that every retry asks for the same one. Does not: store anything, or say what the object is of.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields
from typing import Final, Literal

from ledger_core.archive.batch import SealedBatch
from ledger_core.errors import Refused
from ledger_core.ports import StoredObject
from ledger_core.times import format_time


@dataclass(frozen=True, slots=True)
class PinnedObject:
    """One version of one object. Sizes in bytes; `sha256` of the uncompressed lines, `stored_sha256` of the gzip."""

    object_key: str  # name in the bucket
    version_id: str  # the store's id of this version
    sha256: str
    size_bytes: int  # of the uncompressed lines
    stored_sha256: str
    stored_size_bytes: int  # of the gzip
    mode: Literal["COMPLIANCE", "GOVERNANCE"]  # Object Lock mode
    retain_until: dt.datetime  # locked until then; UTC

    def told(self) -> dict[str, object]:
        """As an audit event names it."""
        return {
            "object_key": self.object_key,
            "version_id": self.version_id,
            "sha256": self.sha256,
            "size_bytes": str(self.size_bytes),
            "stored_sha256": self.stored_sha256,
            "mode": self.mode,
            "retain_until": format_time(self.retain_until),
        }


PINNED_COLUMNS: Final = tuple(field.name for field in fields(PinnedObject))
"""The columns of every table that pins objects, in the order of the fields."""


def pin_object(sealed: SealedBatch, stored: StoredObject) -> PinnedObject:
    """What was sealed, as it was stored. Raises Refused when the store locks nothing."""
    if stored.mode is None or stored.retain_until is None:
        raise Refused("the archive store locks nothing", remedy="archive to S3 with Object Lock")
    return PinnedObject(
        object_key=stored.key,
        version_id=stored.version_id,
        sha256=sealed.sha256,
        size_bytes=sealed.size_bytes,
        stored_sha256=stored.sha256,
        stored_size_bytes=stored.size_bytes,
        mode=stored.mode,
        retain_until=stored.retain_until,
    )


def lock_end(moment: dt.datetime, retention_days: int) -> dt.datetime:
    """The end of a lock that is counted from `moment`: whole seconds, since S3 keeps no more, and never earlier."""
    end = moment.astimezone(dt.UTC) + dt.timedelta(days=retention_days)
    return end.replace(microsecond=0) + dt.timedelta(seconds=1 if end.microsecond else 0)
