"""Every package that production imports belongs to an extra, and whoever lacks it is told which one to install."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from finance.cli.main import EXIT_REFUSED, run
from finance.settings.deployment import Settings
from finance.settings.extras import EXTRA_OF, install_command
from finance.settings.signing import signing_of
from finance.wiring.services import open_archive, open_backup_place
from finance.wiring.signers import key_maker, key_service, open_mac
from ledger_core.errors import Refused
from ledger_core.signing.registry import SignerRegistry

ROOT = Path(__file__).parents[3]
FLOORS = ("consumers", "finance", "ledger_core", "producers", "schemas")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOR_TYPES_ONLY = {"mypy_boto3_kms", "mypy_boto3_s3"}
BASE = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}

KMS = {"AUDIT_SIGNING_KMS_KEY_ID": "alias/finance", "KMS_REGION": "eu-west-1"}
HSM = {"AUDIT_SIGNING_PKCS11_KEY": "finance", "PKCS11_MODULE": "lib.so", "PKCS11_TOKEN": "t", "PKCS11_PIN": "1234"}
S3 = {"S3_AUDIT_BUCKET": "audit", "S3_AUDIT_ACCESS_KEY": "a", "S3_AUDIT_SECRET": "s"}
BACKUP = {"BACKUP_S3_ACCESS_KEY": "a", "BACKUP_S3_SECRET": "s"}
NOBODY = SignerRegistry.from_json(b"[]")


def names_of(extra: str) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in EXTRAS[extra]}


def third_party_imports(path: Path) -> set[str]:
    """The packages that are neither ours nor Python's own."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
    return {name.partition(".")[0] for name in found} - {*FLOORS, *sys.stdlib_module_names}


def test_every_package_that_production_imports_has_an_extra() -> None:
    files = [path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    files = [path for path in files if not path.is_relative_to(ROOT / "finance/workshop")]
    imported = set[str]().union(*(third_party_imports(path) for path in files)) - FOR_TYPES_ONLY
    assert {name for name in imported if name not in EXTRA_OF and name not in BASE} == set()


@pytest.mark.parametrize("package", sorted(EXTRA_OF))
def test_the_extra_that_is_named_brings_the_package(package: str) -> None:
    """Or one of those it includes does: boto3 brings botocore."""
    distributions = {canonicalize_name(name) for name in packages_distributions()[package]}
    assert distributions & names_of(EXTRA_OF[package]) or (package, EXTRA_OF[package]) == ("botocore", "aws")


def test_the_test_extra_brings_everything() -> None:
    assert "finance-ledger[devstack]" in EXTRAS["test"]
    (others,) = (Requirement(text) for text in EXTRAS["devstack"] if text.startswith("finance-ledger["))
    assert others.extras == set(EXTRAS) - {"devstack", "test"}


@pytest.mark.parametrize("path", ["README.md", "docs/PUBLISHING.md"])
def test_the_documents_install_extras_that_exist_and_name_every_package_that_is_taken(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    named = {extra for extras in re.findall(r"pip install '\.\[([^\]]+)\]'", text) for extra in extras.split(",")}
    assert {"publisher"} <= named <= set(EXTRAS)
    taken = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert [name for name in taken["packages"] if f"`{name}`" not in text] == []
    assert set(taken["packages"]) == set(FLOORS)


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not installed."""
    for name in [*sys.modules]:
        if name == package or name.startswith(
            (f"{package}.", "producers.s", "finance.recovery.backup", "finance.cli.r")
        ):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)  # what Python does for a module that is not there


@pytest.mark.parametrize("package", ["boto3", "botocore"])
def test_without_aws_the_wiring_refuses_keys_and_stores_of_aws(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_env(KMS | S3 | BACKUP, Path("/nowhere"))
    signing = signing_of(settings)
    without(package, monkeypatch)
    for ask in (
        lambda: key_service(signing, "ed25519", NOBODY, None, env="dev"),
        lambda: key_maker(signing, "ed25519", policy=None),
        lambda: open_mac(settings, "alias/mac", name="proxy"),
        lambda: open_archive(settings),
        lambda: open_backup_place("s3://backups/ledger", settings),
    ):
        with pytest.raises(Refused, match=f"the package {package} is not installed") as refusal:
            ask()
        assert refusal.value.remedy == "pip install 'finance-ledger[aws]'"


def test_without_hsm_the_wiring_refuses_keys_on_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    signing = signing_of(Settings.from_env(HSM, Path("/nowhere")))
    without("pkcs11", monkeypatch)
    for ask in (
        lambda: key_service(signing, "ed25519", NOBODY, None, env="dev"),
        lambda: key_maker(signing, "ed25519", policy=None),
    ):
        with pytest.raises(Refused) as refusal:
            ask()
        assert refusal.value.remedy == install_command("hsm")


def test_without_backup_its_command_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without("pyrage", monkeypatch)
    assert run(["backup", "list"]) == EXIT_REFUSED
    assert "pip install 'finance-ledger[backup]'" in capsys.readouterr().err


LOADS = {
    "publisher": ("producers.settlement_publisher", {"confluent_kafka", "fastavro", "msgspec"}),
    "aws": ("producers.signing.kms", {"boto3", "botocore", "cryptography"}),
    "hsm": ("producers.signing.pkcs11", {"cryptography", "pkcs11"}),
}


@pytest.mark.parametrize("extra", LOADS)
def test_an_extra_loads_only_its_own_packages(extra: str) -> None:
    """The same as tests/integration/workshop/test_extras.py finds with a fresh environment, but in a second."""
    module, needs = LOADS[extra]
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded >= needs
    wanted = names_of(extra)
    assert {name for name in EXTRA_OF if canonicalize_name(name) not in wanted} & (loaded - needs) == set()
