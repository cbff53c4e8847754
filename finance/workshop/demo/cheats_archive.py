"""Cheating in the archive: deleting what is locked, and hiding it behind a newer version or a delete marker.

Guarantees: what an attempt adds is removed again; what is locked stays, which is the point.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from finance.settings import clock
from finance.workshop.demo.cheat import by_verification
from finance.workshop.demo.ledger import DemoLedger
from finance.workshop.demo.model import Cheat
from ledger_core.postgres.session import session

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class _Target:
    """One locked version of one object."""

    bucket: str
    key: str
    version_id: str


def cheat_archive(ledger: DemoLedger) -> Iterator[Cheat]:
    """Every attempt in the archive, with its administrator's credentials, one after the other."""
    s3, target = _client(ledger), _target(ledger)
    bucket, key, version_id = target.bucket, target.key, target.version_id
    tomorrow = clock.utc_now() + dt.timedelta(days=1)
    attempts: tuple[tuple[str, Callable[[], object]], ...] = (
        ("deletes a locked batch", lambda: s3.delete_object(Bucket=bucket, Key=key, VersionId=version_id)),
        (
            "deletes it with the right to bypass governance",
            lambda: s3.delete_object(Bucket=bucket, Key=key, VersionId=version_id, BypassGovernanceRetention=True),
        ),
        (
            "shortens its retention to a day",
            lambda: s3.put_object_retention(
                Bucket=bucket,
                Key=key,
                VersionId=version_id,
                Retention={"Mode": "COMPLIANCE", "RetainUntilDate": tomorrow},
            ),
        ),
    )
    for tried, attempt in attempts:
        yield _refused(f"the archive's administrator {tried}", attempt)
    marker = s3.delete_object(Bucket=bucket, Key=key)["VersionId"]
    yield _shadowed(ledger, s3, target, marker, "hides a batch behind a delete marker")
    forged = s3.put_object(Bucket=bucket, Key=key, Body=b"nothing to see here\n", ChecksumAlgorithm="SHA256")
    yield _shadowed(ledger, s3, target, forged["VersionId"], "hides a batch behind a newer version")


def _refused(tried: str, attempt: Callable[[], object]) -> Cheat:
    try:
        attempt()
    except ClientError as error:
        said = error.response["Error"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        text = f"{status} {said.get('Code', '')}: {said.get('Message', '')}"
        return Cheat(tried, "S3 Object Lock", None, text, caught=400 <= status < 500)
    return Cheat(tried, "nothing", None, "the store let it happen", caught=False)


def _shadowed(ledger: DemoLedger, s3: S3Client, target: _Target, added: str, tried: str) -> Cheat:
    """The locked version survives below what was `added`, and the check of the archive must name its key."""
    try:
        return by_verification(
            f"the archive's administrator {tried}",
            ledger,
            ("archive",),
            lambda found: found.place is not None and target.key in found.place,
        )
    finally:
        s3.delete_object(Bucket=target.bucket, Key=target.key, VersionId=added)


def _client(ledger: DemoLedger) -> S3Client:
    archive = ledger.settings.archive()
    return boto3.client(
        "s3",
        region_name=archive.region,
        endpoint_url=archive.endpoint,
        aws_access_key_id=ledger.environ["S3_ADMIN_ACCESS_KEY"],
        aws_secret_access_key=ledger.environ["S3_ADMIN_SECRET"],
        verify=archive.tls.ca_file,
        config=Config(
            client_cert=archive.tls.client_pair, retries={"total_max_attempts": 2}, s3={"addressing_style": "path"}
        ),
    )


def _target(ledger: DemoLedger) -> _Target:
    """The oldest batch of the first shard."""
    with session(
        ledger.settings.database_url("auditor"), application_name="finance demo", read_only=True
    ) as connection:
        row = connection.execute(
            "SELECT object_key, version_id FROM archive_objects ORDER BY shard, range_no LIMIT 1"
        ).fetchone()
    if row is None:
        raise LookupError("the archive has no batch to tamper with")
    return _Target(ledger.settings.archive().bucket, row[0], row[1])
