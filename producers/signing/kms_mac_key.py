"""A MAC key in AWS KMS that signs range proofs, and the one who asks KMS whether a key of ours made a MAC.

Guarantees: the key is one for HMAC_SHA_256 (KMS is asked: KeyUsage, KeySpec), named by its id, never by an alias; what
it makes is checked by VerifyMac of the id that the registry holds, another call than the one that made it. A MAC is
never computed here: no bytes that we hold, a public key's least of all, are a secret.
Does not: sign a note: no MAC signs a checkpoint. IAM: kms:DescribeKey, kms:GenerateMac, kms:VerifyMac for who signs,
kms:VerifyMac alone for who verifies (deploy/kms/mac-*.json).
"""

from __future__ import annotations

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from ledger_core.errors import Refused
from ledger_core.ports import Algorithm
from ledger_core.signing.mac_keys import CHECK_TEXT, MAC_ALGORITHM, CannotAsk, MacKey
from producers.signing.kms_client import KmsPlace, kms_failure
from producers.signing.kms_mac import KmsMac

_WRONG_KEY: Final = (
    "use a key of KeySpec HMAC_256 and KeyUsage GENERATE_VERIFY_MAC for hmac-sha256, or set AUDIT_SIGNING_ALG to the "
    "algorithm of this one"
)
_REMEDIES: Final = {
    "AccessDeniedException": "allow kms:DescribeKey, kms:GenerateMac and kms:VerifyMac on this key to the process's "
    "IAM role (deploy/kms/mac-maker.json)",
    "DisabledException": "enable the key again, or sign with another registered key",
    "InvalidKeyUsageException": _WRONG_KEY,
    "KMSInvalidStateException": "cancel the key's deletion: without it, no MAC of it can be checked any more",
    "NotFoundException": "set AUDIT_SIGNING_KMS_KEY_ID and KMS_REGION to a key that exists",
    "UnsupportedOperationException": _WRONG_KEY,
    "ValidationException": _WRONG_KEY,
}


class KmsMacKey:
    """A KeyService on one MAC key in KMS (id, ARN or alias)."""

    def __init__(self, key_id: str, place: KmsPlace) -> None:
        self._client = place.open()
        self._mac = KmsMac(key_id, place, what="signer", remedies=_REMEDIES)
        self._macs = KmsMacs(place)

    @property
    def name(self) -> str:
        return f"KMS key {self._mac.key_id}"

    @property
    def algorithm(self) -> Algorithm:
        return MAC_ALGORITHM

    @property
    def claimed_kid(self) -> None:
        return None

    def public_key(self) -> MacKey:
        """DescribeKey, checked to be a key for this MAC, and the key's check value. Raises Refused on another key, and
        Unavailable."""
        try:
            told = self._client.describe_key(KeyId=self._mac.key_id)["KeyMetadata"]
        except (BotoCoreError, ClientError) as error:
            raise kms_failure(error, what="signer", name=self.name, remedies=_REMEDIES) from error
        usage, spec = told.get("KeyUsage"), told.get("KeySpec")
        if (usage, spec) != ("GENERATE_VERIFY_MAC", "HMAC_256"):
            raise Refused(
                f"{self.name} is a key of {spec} for {usage}, and makes no {MAC_ALGORITHM}", remedy=_WRONG_KEY
            )
        return MacKey(told["KeyId"], self._mac.make(CHECK_TEXT).hex(), self._macs)

    def sign_digest(self, digest: bytes) -> bytes:
        return self._mac.make(digest)

    def sign_text(self, text: bytes) -> bytes:
        """Raises Refused: a note is for strangers."""
        del text
        raise Refused(f"{self.name} signs no note", remedy="name a key of rsa-sha256 or ed25519 as [cosigner]")

    def close(self) -> None:
        self._mac.close()
        self._macs.close()
        self._client.close()


class KmsMacs:
    """Asks KMS about MACs of any key of ours (`ledger_core.signing.mac_keys.CheckMac`)."""

    def __init__(self, place: KmsPlace) -> None:
        self._place = place
        self._open: dict[str, KmsMac] = {}

    def __call__(self, key_id: str, digest: bytes, mac: bytes) -> bool:
        """Whether that key made it. Raises CannotAsk where KMS lets us not ask, Unavailable("signer")."""
        try:
            if key_id not in self._open:
                self._open[key_id] = KmsMac(key_id, self._place, what="signer", remedies=_REMEDIES)
            return self._open[key_id].verify(digest, mac)
        except Refused as error:
            raise CannotAsk(error.message) from error

    def close(self) -> None:
        for mac in self._open.values():
            mac.close()
