"""Making a key in AWS KMS. Two steps, since KMS chooses the id of a key: the key, then its alias (the commit point).

Guarantees: SIGN_VERIFY, made by KMS itself, of one region. A key whose alias was not set (a crash between the steps) is
found by its description at the next try, and named. Needs the rights of deploy/kms/key-admin.json, and none to sign.
Does not: move an alias that is there: it is Refused when its key is another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final, cast

from botocore.exceptions import BotoCoreError, ClientError

from ledger_core.errors import Refused
from producers.signing.key_maker import KeySpec, MadeKey, check_made
from producers.signing.kms import REMEDIES, KmsKey

if TYPE_CHECKING:
    from mypy_boto3_kms.literals import KeySpecType
    from mypy_boto3_kms.type_defs import CreateKeyRequestTypeDef, KeyMetadataTypeDef

KEYS_MAX: Final = 1_000  # searched for one without its alias; beyond, a new one is made
POLICY_BYTES_MAX: Final = 32_768
ALIAS: Final = "alias/"


class KmsKeyMaker(KmsKey):
    """A KeyMaker for one alias. `policy` is the key's policy (JSON); None: KMS's default, which leaves it to IAM."""

    remedies: ClassVar[Mapping[str, str]] = {
        **REMEDIES,
        "AccessDeniedException": "run this with the credentials of who makes keys: deploy/kms/key-admin.json",
        "MalformedPolicyDocumentException": "fill in deploy/kms/key-policy-ledger.json: its administrator is you",
    }
    policy: str | None = None

    def make(self, spec: KeySpec) -> MadeKey:
        """Make the key, or find it. Raises Unavailable("signer") and Refused."""
        if not self._key_id.startswith(ALIAS) or self._key_id.startswith(ALIAS + "aws/"):
            raise Refused(
                f"{self.name} is not an alias, and KMS gives a new key an id of its own",
                remedy="name an alias: --key alias/finance-v2",
            )
        wanted = cast("KeySpecType", f"RSA_{spec.bits}" if spec.bits else "ECC_NIST_EDWARDS25519")
        try:
            found = self._described(self._key_id)
            made = found is None
            if found is None:
                found = self._without_alias(wanted) or self._new(wanted)
                self._client.create_alias(AliasName=self._key_id, TargetKeyId=found["KeyId"])
        except (BotoCoreError, ClientError) as error:
            raise self._failure(error) from error
        terms: dict[str, object] = {"KeySpec": wanted, "KeyUsage": "SIGN_VERIFY", "KeyState": "Enabled"}
        check_made(self.name, {**terms, "Origin": "AWS_KMS", "MultiRegion": False}, dict(found))
        return MadeKey(self.public_key(), found["Arn"], made)

    @property
    def _description(self) -> str:
        return f"Finance signing key {self._key_id}"

    def _new(self, wanted: KeySpecType) -> KeyMetadataTypeDef:
        terms: CreateKeyRequestTypeDef = {
            "KeySpec": wanted,
            "KeyUsage": "SIGN_VERIFY",
            "Origin": "AWS_KMS",
            "Description": self._description,
        }
        if self.policy is not None:
            terms["Policy"] = self.policy
            # The maker of a key may not change its policy afterwards, and KMS would take that for an oversight.
            terms["BypassPolicyLockoutSafetyCheck"] = True
        return self._client.create_key(**terms)["KeyMetadata"]

    def _described(self, key_id: str) -> KeyMetadataTypeDef | None:
        try:
            return self._client.describe_key(KeyId=key_id)["KeyMetadata"]
        except self._client.exceptions.NotFoundException:
            return None

    def _without_alias(self, wanted: KeySpecType) -> KeyMetadataTypeDef | None:
        """The key that an interrupted run made and did not name."""
        pages = self._client.get_paginator("list_keys").paginate(PaginationConfig={"MaxItems": KEYS_MAX})
        for page in pages:
            for key in page["Keys"]:
                found = self._described(key["KeyId"])
                if (
                    found is not None
                    and (found.get("Description"), found.get("KeySpec")) == (self._description, wanted)
                    and found.get("KeyState") == "Enabled"
                    and not self._client.list_aliases(KeyId=key["KeyId"])["Aliases"]
                ):
                    return found
        return None
