"""A key in AWS KMS. The private key never leaves it; we send 32 bytes and get a signature.

Guarantees: RSA signs the digest as it is (`MessageType=DIGEST`, RSASSA_PKCS1_V1_5_SHA_256: with RAW, KMS would hash it
a second time, without an error); Ed25519 is pure Ed25519 over the bytes given (`ED25519_SHA_512` with RAW; the DIGEST
form is Ed25519ph, another scheme). Each call is tried once within a deadline; the failure says whether waiting helps.
Does not: verify (see verified_signer) or retry. IAM: kms:Sign and kms:GetPublicKey on the one key.
"""

from __future__ import annotations

import hashlib
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
from cryptography.hazmat.primitives import serialization

from ledger_core.errors import Refused, Unavailable
from ledger_core.ports import Algorithm
from ledger_core.signatures import PublicKey

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_kms.literals import MessageTypeType, SigningAlgorithmSpecType

CONNECT_TIMEOUT_SECONDS: Final = 2
READ_TIMEOUT_SECONDS: Final = 5

_SCHEMES: Final[dict[Algorithm, tuple[SigningAlgorithmSpecType, MessageTypeType]]] = {
    "rsa-sha256": ("RSASSA_PKCS1_V1_5_SHA_256", "DIGEST"),
    "ed25519": ("ED25519_SHA_512", "RAW"),
}

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

_WRONG_SPEC: Final = "use a key spec that fits AUDIT_SIGNING_ALG: RSA_2048 or larger, ECC_NIST_EDWARDS25519"
_REMEDIES: Final[dict[str, str]] = {
    "AccessDeniedException": "allow kms:Sign and kms:GetPublicKey on this key to the process's IAM role",
    "DisabledException": "enable the key again, or rotate to another registered key",
    "ExpiredTokenException": "give the process fresh AWS credentials",
    "InvalidKeyUsageException": "use a key of KeyUsage SIGN_VERIFY whose spec fits AUDIT_SIGNING_ALG",
    "KMSInvalidStateException": "cancel the key's deletion (or finish its import), or rotate to another registered key",
    "NotFoundException": "set AUDIT_SIGNING_KMS_KEY_ID and KMS_REGION to a key that exists",
    "UnrecognizedClientException": "give the process valid AWS credentials",
    "UnsupportedOperationException": _WRONG_SPEC,
    "ValidationException": _WRONG_SPEC,
}


class KmsKey:
    """A KeyService on one AWS KMS key (id, ARN or alias). `endpoint` None means AWS itself; credentials None mean the
    AWS SDK's own search (environment, web identity, instance role), `ca_file` None the system's authorities."""

    def __init__(
        self,
        key_id: str,
        algorithm: Algorithm,
        *,
        region: str,
        endpoint: str | None = None,
        access_key: str | None = None,
        secret: str | None = None,
        ca_file: str | None = None,
        client_pair: tuple[str, str] | None = None,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        config = Config(
            client_cert=client_pair,
            connect_timeout=connect_timeout_seconds,
            read_timeout=read_timeout_seconds,
            retries={"total_max_attempts": 1, "mode": "standard"},
        )
        try:
            self._client: KMSClient = boto3.client(
                "kms",
                region_name=region,
                endpoint_url=endpoint,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret,
                verify=ca_file,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise Refused(
                f"KMS settings: {error}", remedy="correct KMS_REGION, KMS_ENDPOINT and the credentials"
            ) from error
        self._key_id = key_id
        self._algorithm = algorithm
        self._scheme, self._message_type = _SCHEMES[algorithm]

    @property
    def name(self) -> str:
        return f"KMS key {self._key_id}"

    @property
    def algorithm(self) -> Algorithm:
        return self._algorithm

    @property
    def claimed_kid(self) -> None:
        return None

    def public_key(self) -> PublicKey:
        """GetPublicKey, checked for the wanted algorithm."""
        try:
            answer = self._client.get_public_key(KeyId=self._key_id)
        except (BotoCoreError, ClientError) as error:
            raise self._failure(error) from error
        try:
            key = PublicKey.from_key(serialization.load_der_public_key(answer["PublicKey"]))
        except ValueError as error:
            raise Refused(f"{self.name}: {error}", remedy=_WRONG_SPEC) from error
        if key.algorithm != self._algorithm:
            raise Refused(
                f"{self.name} is a key for {key.algorithm}, not {self._algorithm}",
                remedy="set AUDIT_SIGNING_ALG and AUDIT_SIGNING_KMS_KEY_ID to what belongs together",
            )
        return key

    def sign_digest(self, digest: bytes) -> bytes:
        return self._sign(digest)

    def sign_text(self, text: bytes) -> bytes:
        """Ed25519 signs the text itself (KMS takes up to 4096 bytes), RSA its SHA-256."""
        return self._sign(text if self._algorithm == "ed25519" else hashlib.sha256(text).digest())

    def close(self) -> None:
        self._client.close()

    def _sign(self, message: bytes) -> bytes:
        try:
            answer = self._client.sign(
                KeyId=self._key_id, Message=message, MessageType=self._message_type, SigningAlgorithm=self._scheme
            )
        except (BotoCoreError, ClientError) as error:
            raise self._failure(error) from error
        return answer["Signature"]

    def _failure(self, error: BotoCoreError | ClientError) -> Unavailable | Refused:
        if isinstance(error, ClientError):
            return self._service_failure(error)
        if isinstance(error, BotoConnectionError | HTTPClientError):  # no connection, time-out, cut off
            return Unavailable("signer", f"{self.name}: {_line(error)}")
        return Refused(f"{self.name}: {_line(error)}", remedy="correct KMS_REGION, KMS_ENDPOINT and the credentials")

    def _service_failure(self, error: ClientError) -> Unavailable | Refused:
        details: dict[str, Any] = dict(error.response)
        code = str(details.get("Error", {}).get("Code", ""))
        status = int(details.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _PASSING or (code not in _REMEDIES and (status == 429 or status >= 500)):
            return Unavailable("signer", f"{self.name}: {_line(error)}")
        remedy = _REMEDIES.get(code, "read the error of AWS KMS; nothing was signed")
        return Refused(f"{self.name}: {_line(error)}", remedy=remedy)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
