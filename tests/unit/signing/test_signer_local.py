"""A key in the process is for development: production refuses it, and so is a careless key file."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger_core.errors import Refused
from ledger_core.ports import Algorithm
from ledger_core.signing.signatures import verify_digest
from producers.signing.local import LocalKey


def _write(path: Path, key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, mode: int) -> Path:
    none = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none))
    path.chmod(mode)
    return path


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa-sha256"])
def test_production_refuses_a_key_in_the_process(algorithm: Algorithm) -> None:
    with pytest.raises(Refused, match="production") as caught:
        LocalKey.generate(algorithm, env="production")
    assert "KMS" in caught.value.remedy


def test_a_key_file_of_its_owner_signs(tmp_path: Path) -> None:
    path = _write(tmp_path / "key.pem", Ed25519PrivateKey.generate(), 0o600)
    key = LocalKey.from_file(path, env="dev")
    verify_digest(key.public_key(), bytes(32), key.sign_digest(bytes(32)))
    with pytest.raises(Refused, match="production"):
        LocalKey.from_file(path, env="production")


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "key.pem", Ed25519PrivateKey.generate(), 0o640)
    with pytest.raises(Refused, match="read by others") as caught:
        LocalKey.from_file(path, env="dev")
    assert "chmod 600" in caught.value.remedy


def test_another_kind_of_file_or_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        LocalKey.from_file(tmp_path / "missing.pem", env="dev")
    text = tmp_path / "text.pem"
    text.touch(0o600)
    text.write_text("no key at all")
    with pytest.raises(Refused, match="no plain PEM"):
        LocalKey.from_file(text, env="dev")
    curve = _write(tmp_path / "curve.pem", ec.generate_private_key(ec.SECP256R1()), 0o600)
    with pytest.raises(Refused, match="neither RSA nor Ed25519"):
        LocalKey.from_file(curve, env="dev")
    short = _write(tmp_path / "short.pem", rsa.generate_private_key(65537, 1024), 0o600)
    with pytest.raises(ValueError, match="1024 bits"):
        LocalKey.from_file(short, env="dev")
