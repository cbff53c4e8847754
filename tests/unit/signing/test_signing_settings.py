"""One signer is chosen, never two, never by accident; secrets may come from files, and then from nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from finance.settings.deployment import Settings
from finance.settings.secret_files import SECRET_BYTES_MAX
from finance.settings.signing import signing_of
from finance.settings.variables import VARIABLES
from ledger_core.errors import Refused
from tests.unit.runtime.test_settings import write_stack

KMS = {"AUDIT_SIGNING_KMS_KEY_ID": "alias/finance"}
HSM = {"AUDIT_SIGNING_PKCS11_KEY": "finance", "PKCS11_MODULE": "lib.so", "PKCS11_TOKEN": "t", "PKCS11_PIN": "1234"}
TRANSIT = {"AUDIT_SIGNING_TRANSIT_KEY": "finance", "TRANSIT_URL": "https://vault:8200", "TRANSIT_TOKEN": "t0ken"}
PROXY = {"SIGNING_PROXY_URL": "https://signer:8443", "SIGNING_PROXY_API_KEY": "k3y"}
LOCAL = {"AUDIT_SIGNING_KEY_FILE": "key.pem"}
EACH = {"kms": KMS, "pkcs11": HSM, "transit": TRANSIT, "proxy": PROXY, "local": LOCAL}
PRODUCTION = {"FINANCE_ENV": "production", "FINANCE_DOMAIN": "a.org"}


def settings_of(environ: dict[str, str], cwd: Path = Path("/nowhere")) -> Settings:
    return Settings.from_env(environ, cwd)


@pytest.mark.parametrize("kind", EACH)
def test_the_variable_that_names_a_key_tells_the_kind(kind: str) -> None:
    signing = signing_of(settings_of(PRODUCTION | EACH[kind]))
    assert (signing.kind, signing.algorithm, signing.kid) == (kind, "rsa-sha256", None)


@pytest.mark.parametrize("kind", EACH)
def test_two_keys_are_refused_unless_the_kind_is_said(kind: str) -> None:
    both = PRODUCTION | EACH[kind] | (PROXY if kind != "proxy" else KMS)
    with pytest.raises(Refused, match="more than one signing key is named") as caught:
        signing_of(settings_of(both))
    assert "AUDIT_SIGNING_KIND" in caught.value.remedy
    assert signing_of(settings_of(both | {"AUDIT_SIGNING_KIND": kind})).kind == kind


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "AUDIT_SIGNING_KMS_KEY_ID is not set.*SIGNING_PROXY_URL"),
        ({"AUDIT_SIGNING_KIND": "proxy"} | KMS, "SIGNING_PROXY_URL is not set"),
        ({"AUDIT_SIGNING_KIND": "paper"} | KMS, "AUDIT_SIGNING_KIND is 'paper'"),
        (KMS | {"AUDIT_SIGNING_ALG": "RSA-SHA256"}, "AUDIT_SIGNING_ALG is"),
        (KMS | {"AUDIT_SIGNING_ALG": "HMAC_SHA_256"}, "AUDIT_SIGNING_ALG is 'HMAC_SHA_256'"),
        (HSM | {"AUDIT_SIGNING_ALG": "hmac-sha256"}, "hmac-sha256 is not for a key of kind pkcs11.*HMAC_256"),
        (TRANSIT | {"AUDIT_SIGNING_ALG": "hmac-sha256"}, "hmac-sha256 is not for a key of kind transit"),
        (LOCAL | {"AUDIT_SIGNING_ALG": "hmac-sha256"}, "hmac-sha256 is not for a key of kind local"),
        (HSM | {"PKCS11_PIN": ""}, "PKCS11_PIN is not set"),
        (TRANSIT | {"TRANSIT_TOKEN": ""}, "TRANSIT_TOKEN is not set"),
        (TRANSIT | {"TRANSIT_URL": "http://vault:8200"}, "TRANSIT_URL is.*https"),
        (TRANSIT | {"AUDIT_SIGNING_TRANSIT_KEY_VERSION": "two"}, "AUDIT_SIGNING_TRANSIT_KEY_VERSION"),
        (PROXY | {"SIGNING_PROXY_URL": "http://signer"}, "SIGNING_PROXY_URL is.*https"),
        (PROXY | {"SIGNING_PROXY_URL": "signer:8443"}, "SIGNING_PROXY_URL is.*https"),
        (PROXY | {"SIGNING_PROXY_API_KEY": ""}, "would not know us"),
    ],
)
def test_what_cannot_sign_is_refused_by_name(environ: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=said):
        signing_of(settings_of(PRODUCTION | environ))


def test_the_algorithm_of_a_named_kid_comes_from_the_registry() -> None:
    assert signing_of(settings_of(PRODUCTION | KMS | {"AUDIT_SIGNING_KID": "finance-v2"})).algorithm is None


def test_a_signer_of_ones_own_replaces_that_of_the_dev_stack(tmp_path: Path) -> None:
    write_stack(tmp_path, "dev", {"AUDIT_SIGNING_KMS_KEY_ID": "stack", "AUDIT_SIGNING_ALG": "ed25519"})
    assert signing_of(settings_of({}, tmp_path)).algorithm == "ed25519"
    signing = signing_of(settings_of({"AUDIT_SIGNING_KEY_FILE": "own.pem"}, tmp_path))
    assert (signing.kind, signing.algorithm) == ("local", "rsa-sha256")


# --- secrets from files --------------------------------------------------------------------------------------------


def secret_file(folder: Path, data: bytes, mode: int = 0o600) -> str:
    path = folder / "secret"
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("name", [variable.name for variable in VARIABLES if variable.secret])
def test_every_secret_may_come_from_a_file(tmp_path: Path, name: str) -> None:
    environ = PRODUCTION | {f"{name}_FILE": secret_file(tmp_path, b"s3cr3t\n")}
    settings = settings_of(environ)
    assert settings.values[name] == "s3cr3t"
    assert "s3cr3t" not in repr(settings)


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="PKCS11_PIN and PKCS11_PIN_FILE are both set"):
        settings_of({"PKCS11_PIN": "1", "PKCS11_PIN_FILE": secret_file(tmp_path, b"1")})


def test_a_file_that_everybody_may_read_is_refused_outside_dev(tmp_path: Path) -> None:
    environ = {"PKCS11_PIN_FILE": secret_file(tmp_path, b"1234", 0o644)}
    assert settings_of(environ).values["PKCS11_PIN"] == "1234"
    with pytest.raises(Refused, match="everybody may read") as caught:
        settings_of(PRODUCTION | environ)
    assert "chmod o=" in caught.value.remedy


@pytest.mark.parametrize("data", [b"", b"\n", b"x" * (SECRET_BYTES_MAX + 1), b"\xff\xfe"])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Refused, match="PKCS11_PIN_FILE"):
        settings_of({"PKCS11_PIN_FILE": secret_file(tmp_path, data)})


def test_a_missing_file_is_refused_by_the_variable_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="PKCS11_PIN_FILE"):
        settings_of({"PKCS11_PIN_FILE": "gone"}, tmp_path)


def test_only_secrets_have_file_variants(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="FINANCE_DOMAIN is not set"):
        settings_of({"FINANCE_ENV": "production", "FINANCE_DOMAIN_FILE": secret_file(tmp_path, b"a.org")})
