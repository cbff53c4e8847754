"""A place for backups: a bucket on S3, or a prefix of one, with or without Object Lock.

Guarantees: a file is there whole or not at all (one PUT with its SHA-256, of 64 MiB of WAL at most). Where the bucket
has Object Lock, what is put to last is locked for `retain_days`; a locked version stays readable whatever was written
over it or marked as deleted. We delete versions, by their ids, and never leave a delete marker.
Does not: refuse a bucket without Object Lock, or check that a lock holds: what lies here is encrypted and pinned.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from ledger_core.ports import LockMode
from producers.storage.backup_folder import FILE_BYTES_MAX, NOT_OURS
from producers.storage.s3_client import has_lock, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import PutObjectRequestTypeDef

REMEDY: Final = (
    "check BACKUP_PLACE, BACKUP_S3_REGION, BACKUP_S3_ENDPOINT, the credentials and their IAM statement "
    "(deploy/iam/backup.json)"
)
UNVERSIONED: Final = (None, "null")


class BackupBucket:
    """The Place protocol of `finance.recovery.backup.place.copies` below `prefix` (empty, or no slash at its end)."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str,
        *,
        clock: Callable[[], dt.datetime],
        mode: LockMode,
        retain_days: int,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._clock = clock
        self._mode: LockMode = mode
        self._retain = dt.timedelta(days=retain_days)
        self._locks: bool | None = None  # not asked yet
        self.name = f"s3://{bucket}/{prefix}".rstrip("/")

    def put(self, key: str, data: bytes, *, passing: bool) -> None:
        """Store or replace; what is not `passing` is locked, where there are locks. Raises Unavailable, Refused."""
        request: PutObjectRequestTypeDef = {
            "Bucket": self._bucket,
            "Key": self._prefix + key,
            "Body": data,
            "ChecksumAlgorithm": "SHA256",
        }
        with self._translated(key):
            if self._retain and not passing and self._has_lock():
                request["ObjectLockMode"] = self._mode
                request["ObjectLockRetainUntilDate"] = (self._clock() + self._retain).replace(microsecond=0)
            version_id = self._client.put_object(**request).get("VersionId")
            if passing and version_id not in UNVERSIONED:  # each replacement would leave one more for ever
                for older, _ in self._versions(key):
                    if older != version_id:
                        self._delete(key, older)

    def forms(self, key: str) -> Iterator[bytes]:
        """The newest version, then what it was written over; a delete marker is read as an empty one, so that what it
        hides is put back. Raises Unavailable, Refused."""
        newest = self._read(key, None)
        if newest is not None:
            yield newest
        with self._translated(key):
            versions = self._versions(key)
        if newest is None and versions:
            yield b""
        for version_id, is_newest in versions:
            if not (is_newest and newest is not None):
                data = self._read(key, version_id)
                if data is not None:
                    yield data

    def sizes(self, prefix: str) -> dict[str, int]:
        """Every key below `prefix` (a folder, with its slash, or all) with its size in bytes, also one that somebody
        marked as deleted."""
        found: dict[str, int] = {}
        with self._translated(prefix):
            for page in self._client.get_paginator("list_object_versions").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            ):
                for it in page.get("Versions", ()):  # the newest of each key comes first
                    found.setdefault(it["Key"].removeprefix(self._prefix), it["Size"])
        return found

    def delete(self, key: str) -> bool:
        """Every version; what is not there is deleted already. False: a lock holds one. Raises Unavailable, Refused."""
        with self._translated(key):
            gone = [self._delete(key, version_id) for version_id, _ in self._versions(key, markers=True)]
        return all(gone)

    def _has_lock(self) -> bool:
        if self._locks is None:
            self._locks = has_lock(self._client, self._bucket)
        return self._locks

    def _read(self, key: str, version_id: str | None) -> bytes | None:
        full = self._prefix + key
        try:
            with self._translated(key):
                if version_id is None:
                    answer = self._client.get_object(Bucket=self._bucket, Key=full)
                else:
                    answer = self._client.get_object(Bucket=self._bucket, Key=full, VersionId=version_id)
                return NOT_OURS if answer["ContentLength"] > FILE_BYTES_MAX else answer["Body"].read()
        except KeyError:
            return None

    def _versions(self, key: str, *, markers: bool = False) -> list[tuple[str, bool]]:
        """Version id of each, and whether it is the newest; newest first."""
        full, found = self._prefix + key, []
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=full):
            found += [(it["VersionId"], it["IsLatest"]) for it in page.get("Versions", ()) if it["Key"] == full]
            if markers:
                found += [(it["VersionId"], False) for it in page.get("DeleteMarkers", ()) if it["Key"] == full]
        return found

    def _delete(self, key: str, version_id: str) -> bool:
        """False when a lock holds this version."""
        full = self._prefix + key
        try:
            self._client.delete_object(Bucket=self._bucket, Key=full, VersionId=version_id)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
                raise
            head = self._client.head_object(Bucket=self._bucket, Key=full, VersionId=version_id)
            until = head.get("ObjectLockRetainUntilDate")
            if until is None or until <= self._clock():
                raise  # not the lock: the role may not delete
            return False
        return True

    def _translated(self, key: str) -> AbstractContextManager[None]:
        return translated(f"{self.name}/{key}", what="backup_place", store="the backup place", remedy=REMEDY, key=key)
