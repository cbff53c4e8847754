"""What every store on S3 shares: a client that gives up in bounded time, and boto3's errors raised as ours.

Guarantees: time-outs, connection errors and throttling are Unavailable; what is missing is a KeyError; a bucket, key or
permission that is wrong is Refused with the caller's remedy.
Does not: know what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ledger_core.errors import Refused, Unavailable
from producers.aws_clock import is_clock_wrong, wrong_clock

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_SECONDS: Final = 5
READ_TIMEOUT_SECONDS: Final = 10  # between two packets, tried twice: an outage is reported within half a minute
PASSING_CODES: Final = frozenset(
    {
        "SlowDown",
        "RequestTimeout",
        "Throttling",
        "ThrottlingException",
        "ConditionalRequestConflict",
        "OperationAborted",
    }
)
MISSING_CODES: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404", "MethodNotAllowed"})  # 405: a delete marker
NO_LOCK_CODES: Final = frozenset({"ObjectLockConfigurationNotFoundError", "InvalidRequest", "NotImplemented"})


def s3_client(
    *,
    region: str,
    endpoint: str | None,
    access_key: str | None,
    secret: str | None,
    ca_file: str | None = None,
    client_pair: tuple[str, str] | None = None,
) -> S3Client:
    """A client that gives up in bounded time. Without keys, boto3's own chain (instance role, profile) applies.

    `ca_file`: what the endpoint's certificate is checked with (None: the system's authorities); `client_pair`: ours,
    certificate and key, for an endpoint that asks for one.
    """
    config = Config(  # type: ignore[call-arg]  # its stub lacks the last one
        client_cert=client_pair,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 2},
        ignore_configured_endpoint_urls=True,  # AWS_ENDPOINT_URL, ~/.aws/config: only our own variable names a place
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    return boto3.client(
        "s3",
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        verify=ca_file,
        config=config,
    )


def has_lock(client: S3Client, bucket: str) -> bool:
    """Whether the bucket was made with Object Lock. Raises boto3's ClientError."""
    try:
        answer = client.get_object_lock_configuration(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"].get("Code") in NO_LOCK_CODES:
            return False
        raise
    return answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"


@contextmanager
def translated(place: str, *, what: str, store: str, remedy: str, key: str = "") -> Iterator[None]:
    """Turn boto3's errors into ours: KeyError, FileExistsError, Unavailable(what), Unavailable("clock"), Refused with
    the remedy.

    `place`: the address, for messages; `store`: what it is, in words; `key`: given where a missing one is a KeyError.
    """
    try:
        yield
    except ClientError as error:
        code = error.response["Error"].get("Code", "")
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        text = f"{place}: {code} ({status}) {error.response['Error'].get('Message', '')}"
        if is_clock_wrong(code, text):
            raise Unavailable("clock", wrong_clock(text)) from error
        if _passes(code, status):
            raise Unavailable(what, text) from error
        if code == "PreconditionFailed":
            raise FileExistsError(place) from error
        if key and code in MISSING_CODES:
            raise KeyError(place) from error
        raise Refused(f"{store} refuses {text}", remedy=remedy) from error
    except (BotoCoreError, OSError) as error:
        raise Unavailable(what, f"{place}: {' '.join(str(error).split())[:300]}") from error


def speaks_of_us(error: ClientError) -> bool:
    """Whether an error says nothing of what was asked: an outage, throttling, a wrong clock."""
    code, said = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    return _passes(code, error.response["ResponseMetadata"]["HTTPStatusCode"]) or is_clock_wrong(code, said)


def _passes(code: str, status: int) -> bool:
    return status >= 500 or status == 429 or code in PASSING_CODES
