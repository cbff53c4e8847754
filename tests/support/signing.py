"""Signers for tests, and openssl as the verifier that knows nothing of ours."""

from __future__ import annotations

import datetime as dt
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3

from consumers.metrics import Metrics, NullMetrics
from consumers.signing.signer_set import SignerSet
from ledger_core.ports import Algorithm, Signer
from ledger_core.signing.mac_keys import MacKey
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import PublicKey
from producers.signing.kms import KmsKey
from producers.signing.kms_client import KmsPlace
from producers.signing.local import LocalKey
from producers.signing.verified_signer import KeyService, VerifiedSigner, pin
from tests.support.buckets import adapter_tls, boto_tls

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class HeldPlace(KmsPlace):
    """A place whose client the test holds too."""

    client: Any = None

    def open(self) -> KMSClient:
        return cast("KMSClient", self.client)


def held(place: KmsPlace) -> HeldPlace:
    given = {field.name: getattr(place, field.name) for field in fields(place)}
    return HeldPlace(**given, client=place.open())


def register(service: KeyService, kid: str, *, retired_at: dt.datetime | None = None) -> SignerRegistry:
    """A registry with the service's own key; one that names its key itself (a proxy) is registered under that name."""
    public_key = service.public_key()
    return SignerRegistry(
        [RegisteredSigner(service.claimed_kid or kid, service.algorithm, public_key, NOW, retired_at)]
    )


def signer_set(
    signer: Signer,
    registry: SignerRegistry,
    *,
    metrics: Metrics | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    others: Sequence[Signer] = (),
    cosigner: Signer | None = None,
) -> SignerSet:
    """A process's keys, each pinned by what the registry holds for it."""
    return SignerSet(
        PinnedSigner(signer, registry),
        registry,
        clock=lambda: dt.datetime.now(dt.UTC),
        monotonic=monotonic,
        metrics=metrics or NullMetrics(),
        others=[PinnedSigner(other, registry) for other in others],
        cosigner=None if cosigner is None else PinnedSigner(cosigner, registry),
    )


def local_signer(algorithm: Algorithm = "ed25519", kid: str = "test-v1") -> tuple[VerifiedSigner, SignerRegistry]:
    """A signer on a new key in memory, and the registry that holds it."""
    service = LocalKey.generate(algorithm, env="dev")
    registry = register(service, kid)
    return pin(service, registry, now=NOW), registry


def kms_key(env: Mapping[str, str], algorithm: Algorithm, key_id: str | None = None) -> KmsKey:
    """The stack's KMS key of that algorithm, or another by its id."""
    return KmsKey(
        key_id or env["KMS_KEY_ED25519" if algorithm == "ed25519" else "KMS_KEY_RSA"],
        algorithm,
        kms_place(env),
    )


def kms_place(env: Mapping[str, str]) -> KmsPlace:
    """The stack's KMS, as the prover."""
    return KmsPlace(
        env["KMS_REGION"],
        env["KMS_ENDPOINT"],
        env["AWS_ACCESS_KEY_ID"],
        env["AWS_SECRET_ACCESS_KEY"],
        **adapter_tls(env, "prover"),
    )


def kms_admin(env: Mapping[str, str]) -> KMSClient:
    """Who makes, disables and deletes keys on the stack's KMS."""
    return boto3.client(
        "kms",
        region_name=env["KMS_REGION"],
        endpoint_url=env["KMS_ENDPOINT"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        **boto_tls(env, "admin"),
    )


def kms_signer(env: Mapping[str, str], algorithm: Algorithm) -> tuple[VerifiedSigner, SignerRegistry]:
    """The stack's own signer, with the stack's own registry."""
    registry = SignerRegistry.from_json(Path(env["FINANCE_SIGNERS"]).read_bytes())
    return pin(kms_key(env, algorithm), registry, now=NOW), registry


def openssl_accepts_digest(key: PublicKey | MacKey, digest: bytes, signature: bytes) -> bool:
    """RSA: the digest as it is, PKCS#1 v1.5 with the SHA-256 DigestInfo. Ed25519: the digest is the message."""
    scheme = ["-rawin"] if key.algorithm == "ed25519" else ["-pkeyopt", "digest:sha256"]
    return _openssl(key, digest, signature, ["pkeyutl", "-verify", "-pubin", *scheme])


def openssl_accepts_text(key: PublicKey | MacKey, text: bytes, signature: bytes) -> bool:
    """RSA: SHA-256 of the text. Ed25519: the text is the message."""
    scheme = ["-rawin"] if key.algorithm == "ed25519" else ["-rawin", "-digest", "sha256"]
    return _openssl(key, text, signature, ["pkeyutl", "-verify", "-pubin", *scheme])


def _openssl(key: PublicKey | MacKey, message: bytes, signature: bytes, command: list[str]) -> bool:
    assert isinstance(key, PublicKey)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("key.pem", "message", "signature")}
        files["key.pem"].write_text(key.pem)
        files["message"].write_bytes(message)
        files["signature"].write_bytes(signature)
        arguments = ["-inkey", files["key.pem"], "-in", files["message"], "-sigfile", files["signature"]]
        done = subprocess.run(["openssl", *command, *map(str, arguments)], capture_output=True, check=False)
    bad_call = b"sage:" in done.stderr or b"rror opening" in done.stderr
    assert not bad_call, done.stderr  # which would be no verdict
    return done.returncode == 0
