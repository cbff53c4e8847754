"""Object-Lock buckets of the stack's archive store, one per test."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def boto_tls(env: Mapping[str, str], name: str) -> dict[str, Any]:
    """What boto3.client wants on a secure stack, as that principal; nothing on a plain one."""
    folder = env.get("FINANCE_TLS_DIR")
    if not folder:
        return {}
    pair = f"{folder}/{name}/tls.crt", f"{folder}/{name}/tls.key"
    return {"verify": f"{folder}/ca.crt", "config": Config(client_cert=pair)}


def adapter_tls(env: Mapping[str, str], name: str) -> dict[str, Any]:
    """What our adapters of S3 and KMS want on a secure stack, as that principal; nothing on a plain one."""
    folder = env.get("FINANCE_TLS_DIR")
    pair = f"{folder}/{name}/tls.crt", f"{folder}/{name}/tls.key"
    return {"ca_file": f"{folder}/ca.crt", "client_pair": pair} if folder else {}


def s3_client(env: Mapping[str, str]) -> S3Client:
    """As the stack's administrator, who may do anything that a lock does not forbid."""
    return boto3.client(
        "s3",
        endpoint_url=env["S3_AUDIT_ENDPOINT"],
        region_name=env["S3_AUDIT_REGION"],
        aws_access_key_id=env["S3_ADMIN_ACCESS_KEY"],
        aws_secret_access_key=env["S3_ADMIN_SECRET"],
        **boto_tls(env, "admin"),
    )


def create_bucket(env: Mapping[str, str]) -> str:
    """A fresh bucket with Object Lock (versioned, no default retention). Locked objects stay until it is wiped."""
    name = f"test-{uuid.uuid4().hex[:16]}"
    s3_client(env).create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name
