"""Whatever is typed beside a process is guarded as the process is: a table of every command, and what refuses it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from finance.cli.main import COMMANDS, run
from finance.cli.operating.guard import is_protected
from finance.guards.commands import COMMAND_KINDS
from finance.guards.model import is_production
from producers.signing.kms_client import KmsPlace
from producers.storage.s3_client import s3_client
from tests.support.guard_environments import RANDOM, sound

GUARDED: Final = sorted(name for name, kind in COMMAND_KINDS.items() if kind in ("asks", "signs"))
SIGNING: Final = sorted(name for name, kind in COMMAND_KINDS.items() if kind == "signs")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable of ours, nor of the machine."""
    for name in os.environ:
        if name.startswith(("FINANCE_", "NODE_", "DATABASE_", "KAFKA_", "S3_", "AWS_", "KMS_", "AUDIT_", "REQUIRE_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def give(monkeypatch: pytest.MonkeyPatch, folder: Path, **changes: str | None) -> None:
    for name, value in {**sound(folder), **changes}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


def test_every_command_has_a_kind() -> None:
    assert set(COMMAND_KINDS) == set(COMMANDS), "decide in finance/guards/commands.py what refuses a new command"


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize(
    "spelled", ["production", "Production", " PRODUCTION ", "prod", "prd", "production-eu", "live"]
)
def test_a_forgotten_finance_env_refuses_every_command(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, spelled: str
) -> None:
    """The platform says production, and our own variable nothing: this is not dev."""
    monkeypatch.setenv("NODE_ENV", spelled)
    assert run([name]) == 3
    assert f"NODE_ENV is {spelled.strip()} and FINANCE_ENV is not set" in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_is_given_everywhere(environment: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NODE_ENV", "production")
    assert run([name, "--help"]) == 0


# What no production carries: (changes, what is said). For every guarded command.
CARRIED: Final[dict[str, tuple[dict[str, str | None], str]]] = {
    "a key in a file": ({"AUDIT_SIGNING_KEY_FILE": "k", "AUDIT_SIGNING_KMS_KEY_ID": None}, "names a key in a file"),
    "mTLS skipped": ({"DEV_SKIP_MTLS": "true"}, "DEV_SKIP_MTLS is true"),
    "a truth mistyped": ({"REQUIRE_KMS": "ture"}, "REQUIRE_KMS is 'ture'"),
    "a database in plaintext": ({"DATABASE_URL_API": "postgresql://finance_api@db/finance"}, "has sslmode=prefer"),
    "its owner in plaintext": ({"DATABASE_URL": "postgresql://finance_migrator@db/finance"}, "has sslmode=prefer"),
    "the SDK sent elsewhere": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "AWS_ENDPOINT_URL is set"),
    "only S3 sent elsewhere": ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, "AWS_ENDPOINT_URL_S3 is set"),
    "another environment": ({"FINANCE_ENV": "prod"}, "FINANCE_ENV is 'prod'"),
    "two environments": ({"FINANCE_ENV": "dev"}, "NODE_ENV is production and FINANCE_ENV is dev"),
}


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("carried", CARRIED)
def test_no_command_runs_with_what_no_production_carries(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, carried: str
) -> None:
    changes, said = CARRIED[carried]
    give(monkeypatch, environment, **changes)
    assert run([name]) == 3
    assert said in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", SIGNING)
def test_what_signs_needs_the_signing_path(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    give(monkeypatch, environment, REQUIRE_KMS=None)
    assert run([name]) == 3
    assert "neither REQUIRE_KMS nor REQUIRE_SIGNING_PROXY is true" in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", GUARDED)
def test_a_sound_environment_is_no_hindrance(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A word that no command has: it gets as far as the command's own reading of its arguments."""
    give(monkeypatch, environment)
    assert run([name, "--no-such-option"]) == 2
    assert "does not start" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("word", ["development", "dev", "test", "local", "ci", ""])
def test_a_development_machine_is_left_alone(environment: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("NODE_ENV", word)
    assert not is_production(word)
    assert run(["status", "--no-such-option"]) == 2


def test_no_variable_and_no_file_of_the_sdk_moves_our_services(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = environment / "config"
    config.write_text("[default]\nendpoint_url = http://127.0.0.1:2\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    kms = KmsPlace("eu-west-1", access_key="a", secret=RANDOM).open()
    s3 = s3_client(region="eu-west-1", endpoint=None, access_key="a", secret=RANDOM)
    assert [client.meta.endpoint_url for client in (kms, s3)] == [
        "https://kms.eu-west-1.amazonaws.com",
        "https://s3.eu-west-1.amazonaws.com",
    ]


BUILT: Final[dict[str, bool]] = {
    "main": True, "release/1.4": True, "refs/heads/main": True, "refs/heads/release/1.4": True, "origin/main": True,
    "refs/remotes/origin/release/2": True, " main ": True, "gh-readonly-queue/main/pr-12-0123abc": True,
    "refs/heads/gh-readonly-queue/release/1.4/pr-7-ab": True, "merge-queue/main": True, "queue/main/9": True,
    "trunk-merge-queue/release/1.4": True, "bors/staging/main": True,
    "feature/main-menu": False, "domain": False, "mainline": False, "release": False, "feature/queue": False,
    "fix/release-notes": False, "queue/feature": False,
}  # fmt: skip


@pytest.mark.parametrize("branch", BUILT)
def test_what_becomes_a_protected_branch_is_guarded_as_one(branch: str) -> None:
    assert is_protected(branch) is BUILT[branch]
