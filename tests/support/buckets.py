"""Object-Lock buckets of the stack's archive store, one per test."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import boto3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def s3_client(env: dict[str, str]) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=env["S3_AUDIT_ENDPOINT"],
        region_name=env["S3_AUDIT_REGION"],
        aws_access_key_id=env["S3_AUDIT_ACCESS_KEY"],
        aws_secret_access_key=env["S3_AUDIT_SECRET"],
    )


def create_bucket(env: dict[str, str]) -> str:
    """A fresh bucket with Object Lock (versioned, no default retention). Locked objects stay until it is wiped."""
    name = f"test-{uuid.uuid4().hex[:16]}"
    s3_client(env).create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name
