"""Settings are read once, checked when read, refused by name when missing, and never show a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finance.settings.deployment import Settings
from finance.settings.signing import signing_of
from finance.settings.variables import ROLES, VARIABLES
from finance.workshop.reference import PAGES
from ledger_core.errors import Refused

ROOT = Path(__file__).parents[3]


def write_stack(cwd: Path, name: str, values: object) -> None:
    folder = cwd / ".finance" / name
    folder.mkdir(parents=True)
    (folder / "env.json").write_text(json.dumps(values))


def test_an_empty_environment_is_dev_with_defaults(tmp_path: Path) -> None:
    settings = Settings.from_env({}, tmp_path)
    assert (settings.env, settings.domain, settings.topic_prefix) == ("dev", "example.com", "")
    assert settings.topology_path == tmp_path / "topology.yaml"
    assert settings.metrics_port("poster") == 0


def test_dev_fills_what_is_not_set_from_the_running_stack(tmp_path: Path) -> None:
    write_stack(tmp_path, "other", {"KAFKA_BROKERS": "stack:1", "DATABASE_URL": "stack-db", "PATH": "/ignored"})
    settings = Settings.from_env({"FINANCE_STACK": "other", "DATABASE_URL": "mine"}, tmp_path)
    assert settings.kafka_brokers == "stack:1"
    assert settings.owner_database_url() == "mine"
    assert "PATH" not in settings.values


def test_the_dev_stack_is_never_read_outside_dev(tmp_path: Path) -> None:
    write_stack(tmp_path, "dev", {"KAFKA_BROKERS": "stack:1"})
    with pytest.raises(Refused, match="KAFKA_BROKERS is not set"):
        _ = Settings.from_env({"FINANCE_ENV": "production", "FINANCE_DOMAIN": "a.org"}, tmp_path).kafka_brokers


@pytest.mark.parametrize("role", ROLES)
def test_a_role_uses_the_owner_address_in_dev_only(tmp_path: Path, role: str) -> None:
    assert Settings.from_env({"DATABASE_URL": "owner"}, tmp_path).database_url(role) == "owner"
    own = {"DATABASE_URL": "owner", f"DATABASE_URL_{role.upper()}": "own"}
    assert Settings.from_env(own, tmp_path).database_url(role) == "own"
    production = {"DATABASE_URL": "owner", "FINANCE_ENV": "production", "FINANCE_DOMAIN": "a.org"}
    with pytest.raises(Refused, match=f"DATABASE_URL_{role.upper()} is not set"):
        Settings.from_env(production, tmp_path).database_url(role)


@pytest.mark.parametrize("env", ["staging", "production"])
def test_outside_dev_the_domain_must_be_named(tmp_path: Path, env: str) -> None:
    with pytest.raises(Refused, match="FINANCE_DOMAIN is not set"):
        Settings.from_env({"FINANCE_ENV": env}, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FINANCE_ENV", "prod"),
        ("FINANCE_DOMAIN", "EXAMPLE.com/x"),
        ("FINANCE_TOPIC_PREFIX", "a b"),
        ("FINANCE_STACK", "../other"),
        ("FINANCE_LOG_LEVEL", "loud"),
        ("FINANCE_LOG_FORMAT", "xml"),
        ("HEALTH_STALL_SECONDS", "0"),
        ("HEALTH_STALL_SECONDS", "ten"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(Refused, match=name):
        Settings.from_env({name: value}, tmp_path)


@pytest.mark.parametrize("port", ["65536", "-1", "http", "1e3", "²"])
def test_a_port_that_is_no_port_is_refused(tmp_path: Path, port: str) -> None:
    with pytest.raises(Refused, match="POSTER_METRICS_PORT"):
        Settings.from_env({"POSTER_METRICS_PORT": port}, tmp_path).metrics_port("poster")


def test_no_secret_shows_in_a_repr(tmp_path: Path) -> None:
    environ = {variable.name: "s3cr3t" for variable in VARIABLES if variable.secret}
    environ |= {"S3_AUDIT_BUCKET": "b", "AUDIT_SIGNING_KMS_KEY_ID": "k"}
    settings = Settings.from_env(environ, tmp_path)
    assert "s3cr3t" not in f"{settings!r} {settings.archive()!r} {signing_of(settings)!r}"


def test_a_broken_stack_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    write_stack(tmp_path, "dev", ["no object"])
    with pytest.raises(Refused, match="finance dev up"):
        Settings.from_env({}, tmp_path)


@pytest.mark.parametrize("path", list(PAGES))
def test_reference_pages_are_what_the_code_says(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == PAGES[path](), "run `python -m finance.workshop.reference`"


def test_every_variable_named_in_the_topology_is_in_the_table() -> None:
    import yaml

    def names(node: object) -> set[str]:
        if isinstance(node, dict):
            own = {value for key, value in node.items() if str(key).endswith("_env") and isinstance(value, str)}
            return own.union(*(names(value) for value in node.values()))
        return set().union(*map(names, node)) if isinstance(node, list) else set()

    in_topology = names(yaml.safe_load((ROOT / "topology.yaml").read_text()))
    assert in_topology
    assert in_topology <= {variable.name for variable in VARIABLES}
