"""The archive on S3 with Object Lock (G7): written once, locked, read back, pinned by version and digest.

Guarantees: `put` returns only what was read back by version id, equal byte for byte, under a lock at least as long as
asked for; the same object again is success (a shorter lock on it is extended), another one under that key is Corrupt.
Time-outs, connection errors and throttling are Unavailable("s3"); a bucket, key or permission that is wrong is Refused
with the remedy.
Does not: delete anything, ever, except in `check_lock`, which tries to and must be refused. A store's administrator can
still delete below the S3 API: that is found by comparing manifests with the store, not prevented here.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from ledger_core.errors import Corrupt, Refused
from ledger_core.ports import LockMode, StoredObject
from producers.storage.lock_canary import check_lock
from producers.storage.s3_client import translated
from schemas.read_file import OBJECT_BYTES_MAX

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONTENT_TYPES: Final = {".gz": "application/gzip", ".json": "application/json"}
REMEDY: Final = (
    "check S3_AUDIT_BUCKET, S3_AUDIT_REGION, the credentials and their IAM statement (deploy/iam), and that the bucket "
    "was created with Object Lock"
)


class S3ArchiveStore:
    """The ArchiveStore port on one bucket. `mode` is that of every lock; `clock` (UTC) times the canary's lock only."""

    def __init__(
        self, client: S3Client, bucket: str, *, clock: Callable[[], dt.datetime], mode: LockMode = "COMPLIANCE"
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._mode: LockMode = mode
        self._clock = clock

    def check_lock(self) -> None:
        """Refuse a bucket that has no Object Lock or lets a locked version go (`producers.storage.lock_canary`)."""
        with _translated(self._bucket):
            check_lock(self._client, self._bucket, self._mode, self._clock())

    def put(self, key: str, data: bytes, *, retain_until: dt.datetime, metadata: dict[str, str]) -> StoredObject:
        """Store under lock and read back. An equal object that stands there already is success; a lock that was made
        when less was asked for is extended.

        Raises Corrupt when another object stands there, or when what is read back is not what was written; Refused when
        an equal one is locked in another way.
        """
        version_ids = self._version_ids(key) or self._create(key, data, retain_until, metadata)
        if not version_ids:
            raise Corrupt(f"s3://{self._bucket}/{key}: stored, and not there when read back")
        for version_id in version_ids:
            if self.get(key, version_id) != data:
                raise Corrupt(f"s3://{self._bucket}/{key}: version {version_id} has other bytes than given")
        stored = self._head(key, version_ids[0])
        if stored.mode == self._mode and stored.retain_until is not None and stored.retain_until < retain_until:
            self._extend(stored, retain_until)
            stored = self._head(key, version_ids[0])
        if stored.mode != self._mode or stored.retain_until is None or stored.retain_until < retain_until:
            raise Refused(
                f"s3://{self._bucket}/{key}: version {stored.version_id} is locked by {stored.mode} until "
                f"{stored.retain_until}, not by {self._mode} until {retain_until}",
                remedy="lock that version so (put-object-retention), or set retention_mode of topology.yaml as it was "
                "when it was stored",
            )
        return stored

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """The bytes of one version, whole. Raises KeyError when there is none, Corrupt for more than any object has."""
        with _translated(self._bucket, key):
            if version_id is None:
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
            else:
                answer = self._client.get_object(Bucket=self._bucket, Key=key, VersionId=version_id)
            if answer["ContentLength"] > OBJECT_BYTES_MAX:
                raise Corrupt(f"{self._bucket}/{key} is longer than {OBJECT_BYTES_MAX:,} bytes")
            return answer["Body"].read()

    def versions(self, prefix: str) -> list[StoredObject]:
        """Every version below a prefix in order of key, oldest first; delete markers last, with size_bytes == -1.

        One HEAD for each version; a version whose digest the store did not keep is read whole and hashed. One that is
        listed and gone below the API has no digest and no lock.
        """
        return [
            _marker(key, version_id) if gone else self._shown(key, version_id)
            for key, gone, _, version_id in self._listed(prefix)
        ]

    def _listed(self, prefix: str) -> list[tuple[str, bool, dt.datetime, str]]:
        """Key, whether it is a delete marker, time and version id; in order of key, markers last, oldest first."""
        found: list[tuple[str, bool, dt.datetime, str]] = []
        with _translated(self._bucket):
            for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix):
                for it in page.get("Versions", ()):
                    found.append((it["Key"], False, it["LastModified"], it["VersionId"]))
                for gone in page.get("DeleteMarkers", ()):
                    found.append((gone["Key"], True, gone["LastModified"], gone["VersionId"]))
        return sorted(found)

    def _version_ids(self, key: str) -> list[str]:
        """The versions under exactly this key, oldest first, without delete markers (the scrub reports those)."""
        return [version_id for name, gone, _, version_id in self._listed(key) if name == key and not gone]

    def _create(self, key: str, data: bytes, retain_until: dt.datetime, metadata: dict[str, str]) -> list[str]:
        """One PUT that makes the first version, or finds that somebody else just made it. The versions' ids."""
        try:
            with _translated(self._bucket, key):
                answer = self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=data,
                    ChecksumAlgorithm="SHA256",
                    ContentType=CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream"),
                    IfNoneMatch="*",  # a store that ignores it is caught by the list before
                    Metadata=metadata,
                    ObjectLockMode=self._mode,
                    ObjectLockRetainUntilDate=retain_until,
                )
        except FileExistsError:
            return self._version_ids(key)
        version_id = answer.get("VersionId")
        return [version_id] if version_id else self._version_ids(key)

    def _extend(self, stored: StoredObject, retain_until: dt.datetime) -> None:
        with _translated(self._bucket, stored.key):
            self._client.put_object_retention(
                Bucket=self._bucket,
                Key=stored.key,
                VersionId=stored.version_id,
                Retention={"Mode": self._mode, "RetainUntilDate": retain_until},
                ChecksumAlgorithm="SHA256",
            )

    def _shown(self, key: str, version_id: str) -> StoredObject:
        try:
            return self._head(key, version_id)
        except KeyError:
            return StoredObject(key, version_id, 0, "", None, None)

    def _head(self, key: str, version_id: str) -> StoredObject:
        with _translated(self._bucket, key):
            head = self._client.head_object(Bucket=self._bucket, Key=key, VersionId=version_id, ChecksumMode="ENABLED")
        checksum = head.get("ChecksumSHA256")
        if checksum is None or "-" in checksum:  # none kept, or that of the parts of a multipart upload
            sha256 = hashlib.sha256(self.get(key, version_id)).hexdigest()
        else:
            sha256 = base64.b64decode(checksum).hex()
        retain_until = head.get("ObjectLockRetainUntilDate")
        return StoredObject(
            key=key,
            version_id=version_id,
            size_bytes=head["ContentLength"],
            sha256=sha256,
            retain_until=None if retain_until is None else retain_until.astimezone(dt.UTC),
            mode=head.get("ObjectLockMode"),
            metadata=dict(head["Metadata"]),
        )


def _marker(key: str, version_id: str) -> StoredObject:
    return StoredObject(key=key, version_id=version_id, size_bytes=-1, sha256="", retain_until=None, mode=None)


def _translated(bucket: str, key: str = "") -> AbstractContextManager[None]:
    """boto3's errors as ours: KeyError, FileExistsError, Unavailable, Refused."""
    return translated(f"s3://{bucket}/{key}", what="s3", store="the archive store", remedy=REMEDY, key=key)
