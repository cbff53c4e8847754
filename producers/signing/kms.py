"""A key in AWS KMS. The private key never leaves it; we send 32 bytes and get a signature.

Guarantees: RSA signs the digest as it is (`MessageType=DIGEST`, RSASSA_PKCS1_V1_5_SHA_256: with RAW, KMS would hash it
a second time, without an error); Ed25519 is pure Ed25519 over the bytes given (`ED25519_SHA_512` with RAW; the DIGEST
form is Ed25519ph, another scheme). Each call is tried once within a deadline; the failure says whether waiting helps.
Does not: verify (see verified_signer) or retry. IAM: kms:Sign and kms:GetPublicKey on the one key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives import serialization

from ledger_core.errors import Refused, Unavailable
from ledger_core.ports import Algorithm
from ledger_core.signing.signatures import PublicKey, to_sign
from producers.signing.kms_client import KmsPlace, kms_failure

if TYPE_CHECKING:
    from mypy_boto3_kms.literals import MessageTypeType, SigningAlgorithmSpecType

_SCHEMES: Final[dict[Algorithm, tuple[SigningAlgorithmSpecType, MessageTypeType]]] = {
    "rsa-sha256": ("RSASSA_PKCS1_V1_5_SHA_256", "DIGEST"),
    "ed25519": ("ED25519_SHA_512", "RAW"),
}

_WRONG_SPEC: Final = "use a key spec that fits AUDIT_SIGNING_ALG: RSA_2048 or larger, ECC_NIST_EDWARDS25519"
REMEDIES: Final[dict[str, str]] = {
    "AccessDeniedException": "allow kms:Sign and kms:GetPublicKey on this key to the process's IAM role",
    "DisabledException": "enable the key again, or rotate to another registered key",
    "InvalidKeyUsageException": "use a key of KeyUsage SIGN_VERIFY whose spec fits AUDIT_SIGNING_ALG",
    "KMSInvalidStateException": "cancel the key's deletion (or finish its import), or rotate to another registered key",
    "NotFoundException": "set AUDIT_SIGNING_KMS_KEY_ID and KMS_REGION to a key that exists",
    "UnsupportedOperationException": _WRONG_SPEC,
    "ValidationException": _WRONG_SPEC,
}


class KmsKey:
    """A KeyService on one AWS KMS key (id, ARN or alias)."""

    remedies: ClassVar[Mapping[str, str]] = REMEDIES

    def __init__(self, key_id: str, algorithm: Algorithm, place: KmsPlace) -> None:
        self._client = place.open()
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
        """GetPublicKey, checked for the wanted algorithm. Raises Refused on another key, and Unavailable."""
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
        return self._sign(to_sign(self._algorithm, text))

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
        return kms_failure(error, what="signer", name=self.name, remedies=self.remedies)
