"""What the KMS does wrong is named by what the operator must do: wait, or act."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from finance.workshop.devstack import Stack
from ledger_core.errors import Refused, Unavailable
from producers.signing.kms import KmsKey
from producers.signing.kms_client import KmsPlace
from producers.signing.verified_signer import pin
from tests.support.signing import NOW, kms_admin, kms_key, kms_signer, register
from tests.support.silent_server import address, connections, silent_server

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

pytestmark = pytest.mark.services
DIGEST = bytes(range(32))


@pytest.fixture
def admin(stack: Stack) -> KMSClient:
    return kms_admin(stack.env)


@pytest.fixture
def key_id(admin: KMSClient) -> str:
    return admin.create_key(KeySpec="ECC_NIST_EDWARDS25519", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa-sha256"])
def test_the_stack_registers_its_own_keys(stack: Stack, algorithm: str) -> None:
    signer, registry = kms_signer(stack.env, algorithm)  # type: ignore[arg-type]
    assert registry.get(signer.kid).retired_at is None
    assert signer.sign_digest(DIGEST)


def test_a_key_disabled_while_running_is_refused_and_signs_again_when_enabled(
    stack: Stack, admin: KMSClient, key_id: str
) -> None:
    service = kms_key(stack.env, "ed25519", key_id)
    signer = pin(service, register(service, "to-be-disabled"), now=NOW)
    admin.disable_key(KeyId=key_id)
    with pytest.raises(Refused) as caught:
        signer.sign_digest(DIGEST)
    assert "enable the key" in caught.value.remedy
    admin.enable_key(KeyId=key_id)
    assert signer.sign_digest(DIGEST)


def test_a_key_pending_deletion_is_refused_with_the_remedy(stack: Stack, admin: KMSClient, key_id: str) -> None:
    service = kms_key(stack.env, "ed25519", key_id)
    signer = pin(service, register(service, "to-be-deleted"), now=NOW)
    admin.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    with pytest.raises(Refused) as caught:
        signer.sign_digest(DIGEST)
    assert "deletion" in caught.value.remedy


def test_a_key_that_does_not_exist_is_refused_at_start(stack: Stack) -> None:
    with pytest.raises(Refused) as caught:
        kms_key(stack.env, "ed25519", "00000000-0000-0000-0000-000000000000").public_key()
    assert "AUDIT_SIGNING_KMS_KEY_ID" in caught.value.remedy


def test_a_key_of_another_algorithm_is_refused_at_start(stack: Stack, key_id: str) -> None:
    with pytest.raises(Refused) as caught:
        kms_key(stack.env, "rsa-sha256", key_id).public_key()
    assert "AUDIT_SIGNING_ALG" in caught.value.remedy


def test_a_key_for_encryption_is_refused_at_start(stack: Stack, admin: KMSClient) -> None:
    key = admin.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    service = kms_key(stack.env, "rsa-sha256", key)
    with pytest.raises(Refused):
        pin(service, register(service, "for-encryption"), now=NOW)


def test_a_kms_that_is_gone_is_unavailable_and_one_that_is_back_signs(stack: Stack) -> None:
    signer, _ = kms_signer(stack.env, "ed25519")
    before = signer.sign_digest(DIGEST)
    stack.stop("kms")
    try:
        with pytest.raises(Unavailable) as caught:
            signer.sign_digest(DIGEST)
        assert caught.value.what == "signer"
    finally:
        stack.start("kms")
    assert signer.sign_digest(DIGEST) == before


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    with silent_server() as server:
        yield server


def test_a_kms_that_hangs_is_unavailable_within_its_deadline(silent: socket.socket) -> None:
    place = KmsPlace("us-east-1", f"http://{address(silent)}", "x", "x", read_timeout_seconds=0.3)
    key = KmsKey("any", "ed25519", place)
    with pytest.raises(Unavailable, match="signer"):
        key.sign_digest(DIGEST)
    assert connections(silent) == 1, "one try, no hidden retries"
