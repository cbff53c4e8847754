"""The client of AWS KMS, and what its errors mean: for the adapters that use a key there.

Guarantees: each call is tried once within a deadline; a failure says whether waiting helps (Unavailable) or what to
mend (Refused). Does not: know what a key is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from ledger_core.errors import Refused, Unavailable
from producers.aws_clock import is_clock_wrong, wrong_clock

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

CONNECT_TIMEOUT_SECONDS: Final = 2
READ_TIMEOUT_SECONDS: Final = 5
SETTINGS_REMEDY: Final = "correct KMS_REGION, KMS_ENDPOINT and the credentials"

# Errors of the service that pass by themselves. Others with an HTTP status of 429 or from 500 on are taken as such too.
_PASSING: Final = frozenset(
    {
        "DependencyTimeoutException",
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "LimitExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)

_CREDENTIALS: Final = {
    "ExpiredTokenException": "give the process fresh AWS credentials",
    "UnrecognizedClientException": "give the process valid AWS credentials",
}


@dataclass(frozen=True, slots=True)
class KmsPlace:
    """Where the service is, and as whom. `endpoint` None means AWS itself; credentials None mean the AWS SDK's own
    search (environment, web identity, instance role), `ca_file` None the system's authorities."""

    region: str  # of AWS
    endpoint: str | None = None
    access_key: str | None = field(default=None, repr=False)  # both credentials, or neither
    secret: str | None = field(default=None, repr=False)  # see access_key
    ca_file: str | None = None
    client_pair: tuple[str, str] | None = None  # certificate and key files of ours
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS  # for each of two tries
    read_timeout_seconds: float = READ_TIMEOUT_SECONDS  # between two packets

    def open(self) -> KMSClient:
        """A client. Raises Refused."""
        config = Config(  # type: ignore[call-arg]  # its stub lacks the last one
            client_cert=self.client_pair,
            connect_timeout=self.connect_timeout_seconds,
            read_timeout=self.read_timeout_seconds,
            retries={"total_max_attempts": 1, "mode": "standard"},
            ignore_configured_endpoint_urls=True,  # as for S3: only KMS_ENDPOINT names another place
        )
        try:
            return boto3.client(
                "kms",
                region_name=self.region,
                endpoint_url=self.endpoint,
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret,
                verify=self.ca_file,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise Refused(f"KMS settings: {error}", remedy=SETTINGS_REMEDY) from error


def kms_failure(
    error: BotoCoreError | ClientError, *, what: str, name: str, remedies: Mapping[str, str]
) -> Unavailable | Refused:
    """What to raise. `what` is the word of Unavailable, `name` the key's, `remedies` are by the service's code."""
    line = f"{name}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, BotoConnectionError | HTTPClientError):  # no connection, time-out, cut off
        return Unavailable(what, line)
    if not isinstance(error, ClientError):
        return Refused(line, remedy=SETTINGS_REMEDY)
    remedies = {**_CREDENTIALS, **remedies}
    details: dict[str, Any] = dict(error.response)
    code = str(details.get("Error", {}).get("Code", ""))
    status = int(details.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if is_clock_wrong(code, line):
        return Unavailable("clock", wrong_clock(line))
    if code in _PASSING or (code not in remedies and (status == 429 or status >= 500)):
        return Unavailable(what, line)
    return Refused(line, remedy=remedies.get(code, "read the error of AWS KMS; nothing was signed"))
