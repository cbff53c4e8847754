"""The guards of the signing proxy, case by case: what is spoilt, exit 3, and what is said. All faults at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from finance.cli.main import run
from finance.guards.checklist import checks
from finance.guards.model import EVERYBODY, Given
from finance.guards.proxy_guards import PROXY_GUARDS, proxy_faults
from tests.support.certificates import TestAuthority
from tests.support.guard_environments import sound as sound_for_processes

DOOR: Final = """
version: 1
client_certificate: required
roles: {signer: [sign, verify], monitor: [metrics]}
callers:
  prover: {roles: [signer], certificates: ["subject:CN=prover"], signing_keys: [test-key-v1]}
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("ca"))


KMS: Final = '[signing]\nkind = "kms"\nkey = "alias/finance"\n'


def sound(folder: Path, authority: TestAuthority) -> dict[str, str]:
    """A production in which nothing is wrong; what it names is in `folder`."""
    wanted = ("FINANCE_ENV", "NODE_ENV", "FINANCE_DOMAIN", "FINANCE_SIGNERS", "FINANCE_TOPOLOGY", "REQUIRE_KMS",
              "AUDIT_SIGNING_KMS_KEY_ID", "AUDIT_SIGNING_ALG")  # fmt: skip
    processes = sound_for_processes(folder)
    (folder / "local.toml").write_text(KMS + '[outgoing]\nkind = "local"\nkey = "key.pem"\n')
    (folder / "proxy.toml").write_text(
        KMS + '[cosigner]\nkind = "proxy"\nkey = "https://p"\napi_key_file = "api-key"\n'
    )
    (folder / "api-key").write_text("k" * 40)
    (folder / "api-key").chmod(0o600)
    authority.issue("server", server=True, into=folder / "tls")
    (folder / "tls" / "ca.crt").write_bytes(authority.path.read_bytes())
    (folder / "door.yaml").write_text(DOOR)
    (folder / "log").mkdir(mode=0o700)
    return {
        **{name: processes[name] for name in wanted},
        "DOOR_TLS_DIR": str(folder / "tls"),
        "DOOR_CONFIG": str(folder / "door.yaml"),
        "SIGNING_PROXY_HOST": "0.0.0.0",
        "SIGNING_PROXY_LOG": str(folder / "log" / "proxy.log"),
    }


def test_a_sound_production_has_no_fault(tmp_path: Path, authority: TestAuthority) -> None:
    assert proxy_faults(Given.of("signing-proxy", sound(tmp_path, authority), tmp_path)) == []


CASES: Final[tuple[tuple[dict[str, str | None], str], ...]] = (
    ({"REQUIRE_KMS": None}, "REQUIRE_KMS is not true"),
    ({"REQUIRE_KMS": "ja"}, "REQUIRE_KMS is 'ja'"),
    ({"NODE_ENV": "development"}, "NODE_ENV is development"),
    ({"FINANCE_DOMAIN": None}, "FINANCE_DOMAIN is not set"),
    ({"AUDIT_SIGNING_KEY_FILE": "k.pem", "AUDIT_SIGNING_KMS_KEY_ID": None}, "AUDIT_SIGNING_KEY_FILE names a key in a"),
    ({"OUTGOING_AUDIT_SIGNING_KEY_FILE": "key.pem"}, "no variable names that key any more"),
    ({"SIGNING_KEYS_FILE": "local.toml", "AUDIT_SIGNING_KMS_KEY_ID": None, "AUDIT_SIGNING_ALG": None},
     "local.toml names a key in a file"),
    ({"AUDIT_SIGNING_KMS_KEY_ID": None}, "AUDIT_SIGNING_KMS_KEY_ID is not set"),
    ({"AUDIT_SIGNING_KMS_KEY_ID": None, "SIGNING_PROXY_URL": "https://p", "SIGNING_PROXY_API_KEY": "k" * 40},
     "a signing proxy behind a signing proxy"),
    ({"SIGNING_KEYS_FILE": "proxy.toml", "AUDIT_SIGNING_KMS_KEY_ID": None, "AUDIT_SIGNING_ALG": None},
     "behind a signing proxy"),
    ({"KMS_ENDPOINT": "HTTP://kms:4566"}, "KMS_ENDPOINT is plain http"),
    ({"FINANCE_SIGNERS": None}, "FINANCE_SIGNERS is not set"),
    ({"FINANCE_SIGNERS": "/nowhere/signers.json"}, "/nowhere/signers.json cannot be read"),
    ({"DOOR_TLS_DIR": None, "DOOR_CONFIG": None}, "0.0.0.0 is not a loopback address, and DOOR_TLS_DIR is not set"),
    ({"DOOR_TLS_DIR": None, "DOOR_CONFIG": None, "SIGNING_PROXY_HOST": "127.0.0.1"}, "not served in plaintext, on no"),
    ({"DOOR_TLS_DIR": None}, "DOOR_TLS_DIR and DOOR_CONFIG come together"),
    ({"DOOR_TLS_DIR": "/nowhere"}, "/nowhere/tls.key cannot be read"),
    ({"DOOR_CONFIG": "/nowhere/door.yaml"}, "/nowhere/door.yaml cannot be read"),
    ({"SIGNING_PROXY_LOG": None}, "SIGNING_PROXY_LOG is not set"),
    ({"SIGNING_PROXY_LOG": "/nowhere/proxy.log"}, "/nowhere is not a folder"),
    ({"SIGNING_PROXY_LOG_BYTES_MAX": "1000"}, "SIGNING_PROXY_LOG_BYTES_MAX"),
    ({"SIGNING_PROXY_PORT": "99999"}, "SIGNING_PROXY_PORT"),
    ({"FINANCE_ADMIN_TOKEN_FILE": "/nowhere/token"}, "/nowhere/token cannot be read"),
)  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), CASES, ids=[str(changes)[:80] for changes, _ in CASES])
def test_a_misconfigured_start_is_refused_with_exit_3_and_the_remedy(
    tmp_path: Path,
    authority: TestAuthority,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str | None],
    said: str,
) -> None:
    environ = {name: value for name, value in {**sound(tmp_path, authority), **changes}.items() if value is not None}
    monkeypatch.setattr(os, "environ", environ)
    monkeypatch.chdir(tmp_path)
    assert run(["signing-proxy"]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("finance: refused: signing-proxy does not start, ")
    faults = [line for line in lines if line.startswith(" - ")]
    assert any(said in line and ". Remedy: " in line for line in faults), faults
    assert not (tmp_path / "log" / "proxy.log").exists(), "nothing was touched"


def faults_of(folder: Path, environ: dict[str, str]) -> list[str]:
    return [str(fault) for fault in proxy_faults(Given.of("signing-proxy", environ, folder))]


@pytest.mark.parametrize(
    "name", ["log", "log/proxy.log", "log/proxy.log.2", "log/proxy.witness.json", "door.yaml", "tls/ca.crt", "tls"]
)
def test_what_others_can_write_to_is_refused(tmp_path: Path, authority: TestAuthority, name: str) -> None:
    environ, path = sound(tmp_path, authority), tmp_path / name
    if not path.exists():
        path.touch(mode=0o600)
    path.chmod(path.stat().st_mode | 0o002)
    assert any(f"{path}" in fault and "written to by everybody" in fault for fault in faults_of(tmp_path, environ))
    staging = {**environ, "FINANCE_ENV": "staging", "NODE_ENV": "staging"}
    assert any("written to by everybody" in fault for fault in faults_of(tmp_path, staging))
    dev = {**environ, "FINANCE_ENV": "dev", "NODE_ENV": "test"}
    assert not any("written to by everybody" in fault for fault in faults_of(tmp_path, dev))


RULES: Final = (
    ("[sign, verify]", "[sing]", "role signer: nothing here has the scope sing"),
    ("signing_keys: [test-key-v1]", "signing_keys: [test-key-v2]", "no key is registered as test-key-v2"),
    ("roles: [signer]", "roles: [signor]", "no role is called 'signor'"),
)


@pytest.mark.parametrize(("before", "after", "said"), RULES, ids=[said for _, _, said in RULES])
def test_rules_that_mean_nothing_are_refused(
    tmp_path: Path, authority: TestAuthority, before: str, after: str, said: str
) -> None:
    environ = sound(tmp_path, authority)
    (tmp_path / "door.yaml").write_text(DOOR.replace(before, after))
    assert any(said in fault for fault in faults_of(tmp_path, environ))


def test_a_key_of_the_door_that_everybody_may_read_is_refused(tmp_path: Path, authority: TestAuthority) -> None:
    environ = sound(tmp_path, authority)
    (tmp_path / "tls" / "tls.key").chmod(0o644)
    assert any("may be read by everybody" in fault for fault in faults_of(tmp_path, environ))


def test_all_faults_are_told_at_once(tmp_path: Path, authority: TestAuthority) -> None:
    spoilt = {"REQUIRE_KMS": "no", "AUDIT_SIGNING_KEY_FILE": "k", "AUDIT_SIGNING_KMS_KEY_ID": "", "DOOR_TLS_DIR": ""}
    environ = {name: value for name, value in {**sound(tmp_path, authority), **spoilt}.items() if value}
    (tmp_path / "log").chmod(0o777)
    assert len(faults_of(tmp_path, environ)) >= 4


def test_the_doctor_looks_at_the_proxy_where_its_log_is_named(tmp_path: Path, authority: TestAuthority) -> None:
    environ = sound(tmp_path, authority)
    (named,) = [c for c in checks(Given.of(EVERYBODY, environ, tmp_path)) if c.name == "settings of the signing proxy"]
    assert named.result().state == "sound"
    (tmp_path / "log").chmod(0o777)
    assert named.result().state == "refused"


def test_dev_on_loopback_is_left_alone(tmp_path: Path) -> None:
    given = {"SIGNING_PROXY_LOG": str(tmp_path / "log"), "AUDIT_SIGNING_KEY_FILE": "k.pem"}
    (tmp_path / "signers.json").write_text('{"signers": []}')
    assert faults_of(tmp_path, {**given, "FINANCE_SIGNERS": str(tmp_path / "signers.json")}) == []
    assert len(PROXY_GUARDS) == len(set(PROXY_GUARDS))
