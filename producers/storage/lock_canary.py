"""The canary of G7: a store that lets a locked version be deleted, or its retention be shortened, is refused.

Guarantees: what is asked is the store's behaviour, not its settings alone: a canary object is put under the same mode
as the archive, locked for a day, and attacked with all that our own credentials may do (a lock of GOVERNANCE that they
can bypass locks nothing). It is used again while its lock lasts, so that a day costs one version.
Does not: prove that an administrator below the S3 API cannot delete. The rendered policy lets the archiver delete the
canary alone (`schemas.authority.policies`); under one that does not, only the attack on the retention asks the lock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from ledger_core.errors import Refused
from ledger_core.ports import LockMode
from producers.storage.s3_client import has_lock, speaks_of_us
from schemas.authority.policies import CANARY_KEY

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CANARY_DAYS: Final = 1
CANARY_REUSE_SECONDS_MIN: Final = 600  # a lock about to end proves nothing
REMEDY: Final = (
    "create a bucket with Object Lock (aws s3api create-bucket --object-lock-enabled-for-bucket ...) on a store that "
    "enforces it, and set S3_AUDIT_BUCKET; nothing was archived"
)


def check_lock(client: S3Client, bucket: str, mode: LockMode, now: dt.datetime) -> None:
    """Raise Refused unless `bucket` has Object Lock and refuses both attacks. Other ClientErrors pass through."""
    if not has_lock(client, bucket):
        raise Refused(f"bucket {bucket} has no Object Lock", remedy=REMEDY)
    version_id, retain_until = _canary(client, bucket, mode, now)
    bypass = mode == "GOVERNANCE"
    if not _refused(
        lambda: client.delete_object(
            Bucket=bucket, Key=CANARY_KEY, VersionId=version_id, BypassGovernanceRetention=bypass
        )
    ):
        raise Refused(f"bucket {bucket} let a version locked by {mode} be deleted", remedy=REMEDY)
    earlier = retain_until - dt.timedelta(seconds=CANARY_REUSE_SECONDS_MIN // 2)
    if not _refused(
        lambda: client.put_object_retention(
            Bucket=bucket,
            Key=CANARY_KEY,
            VersionId=version_id,
            Retention={"Mode": mode, "RetainUntilDate": earlier},
            BypassGovernanceRetention=bypass,
        )
    ):
        raise Refused(f"bucket {bucket} let a retention of {mode} be shortened", remedy=REMEDY)
    head = client.head_object(Bucket=bucket, Key=CANARY_KEY, VersionId=version_id)
    if head.get("ObjectLockRetainUntilDate") != retain_until or head.get("ObjectLockMode") != mode:
        raise Refused(f"bucket {bucket} refused the attacks on its canary and changed its lock", remedy=REMEDY)


def _canary(client: S3Client, bucket: str, mode: LockMode, now: dt.datetime) -> tuple[str, dt.datetime]:
    """Version id and retain-until of a locked canary: today's, or a new one."""
    try:
        head = client.head_object(Bucket=bucket, Key=CANARY_KEY)
        retain_until = head.get("ObjectLockRetainUntilDate")
        lasting = now + dt.timedelta(seconds=CANARY_REUSE_SECONDS_MIN)
        if retain_until is not None and retain_until > lasting and head.get("ObjectLockMode") == mode:
            return head["VersionId"], retain_until
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (403, 404):
            raise
    retain_until = (now + dt.timedelta(days=CANARY_DAYS)).replace(microsecond=0)
    answer = client.put_object(
        Bucket=bucket,
        Key=CANARY_KEY,
        Body=b"This version is locked: if it can be deleted, the archive cannot be trusted.\n",
        ChecksumAlgorithm="SHA256",
        ObjectLockMode=mode,
        ObjectLockRetainUntilDate=retain_until,
    )
    version_id = answer.get("VersionId")
    if not version_id or version_id == "null":
        raise Refused(f"bucket {bucket} keeps no versions", remedy=REMEDY)
    return version_id, retain_until


def _refused(attack: Callable[[], object]) -> bool:
    """Whether the store says no. An outage is not an answer, nor is what it says of our haste or our clock: they pass
    through."""
    try:
        attack()
    except ClientError as error:
        if speaks_of_us(error):
            raise
        return True
    return False
