"""A MAC by a key that never leaves AWS KMS: HMAC_SHA_256 by GenerateMac and VerifyMac.

Guarantees: whoever can make or check a MAC here is let by KMS, and nobody else: the key cannot be read. Each call is
tried once within a deadline. Does not: replace a signature: strangers cannot verify it, and who may verify could be
given the right to forge. IAM: kms:GenerateMac and kms:VerifyMac on the one key; for auditors the second alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from producers.signing.kms_client import KmsPlace, kms_failure

_ALGORITHM: Final = "HMAC_SHA_256"
_WRONG_KEY: Final = "use a key of KeySpec HMAC_256 and KeyUsage GENERATE_VERIFY_MAC"
_REMEDIES: Final = {
    "AccessDeniedException": "allow kms:GenerateMac and kms:VerifyMac on this key to the process's IAM role",
    "DisabledException": "enable the key again; without it, seals can be neither made nor checked",
    "InvalidKeyUsageException": _WRONG_KEY,
    "KMSInvalidStateException": "cancel the key's deletion: without it, no seal can be checked any more",
    "NotFoundException": "set SIGNING_PROXY_LOG_MAC_KEY and KMS_REGION to a key that exists",
    "UnsupportedOperationException": _WRONG_KEY,
    "ValidationException": _WRONG_KEY,
}


class KmsMac:
    """The port Mac on one key in KMS (id, ARN or alias)."""

    def __init__(
        self, key_id: str, place: KmsPlace, *, what: str = "mac", remedies: Mapping[str, str] = _REMEDIES
    ) -> None:
        self._client = place.open()
        self._key_id = key_id
        self._what, self._remedies = what, remedies

    @property
    def key_id(self) -> str:
        return self._key_id

    def make(self, message: bytes) -> bytes:
        try:
            answer = self._client.generate_mac(KeyId=self._key_id, Message=message, MacAlgorithm=_ALGORITHM)
        except (BotoCoreError, ClientError) as error:
            raise kms_failure(error, what=self._what, name=self._name, remedies=self._remedies) from error
        return answer["Mac"]

    def verify(self, message: bytes, mac: bytes) -> bool:
        try:
            answer = self._client.verify_mac(KeyId=self._key_id, Message=message, Mac=mac, MacAlgorithm=_ALGORITHM)
        except self._client.exceptions.KMSInvalidMacException:
            return False
        except (BotoCoreError, ClientError) as error:
            raise kms_failure(error, what=self._what, name=self._name, remedies=self._remedies) from error
        return answer["MacValid"]

    def close(self) -> None:
        self._client.close()

    @property
    def _name(self) -> str:
        return f"MAC key {self._key_id} in KMS"
