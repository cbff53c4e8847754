"""An operator is who the certificate names; a typed name has one spelling, and in production none counts."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from finance.settings.deployment import Settings
from finance.settings.operators import checked_name, operator_name
from ledger_core.errors import Refused
from tests.support.certificates import TestAuthority


def settings(folder: Path, common_name: str | None = None, **given: str) -> Settings:
    environ = {"FINANCE_STACK": "none", "FINANCE_DOMAIN": "ledger.example.org", **given}
    if common_name is not None:
        authority = TestAuthority(folder / "ca")
        pair = authority.issue(common_name, into=folder / "own")
        files = f"sslrootcert={authority.path}&sslcert={pair.certificate}&sslkey={pair.key}"
        environ["DATABASE_URL_API"] = f"postgresql://finance_api@db/finance?sslmode=verify-full&{files}"
    return Settings.from_env(environ, folder)


def test_in_dev_the_name_is_given_or_the_os_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert operator_name(settings(tmp_path, FINANCE_OPERATOR="ada.lovelace")) == "ada.lovelace"
    monkeypatch.setattr(getpass, "getuser", lambda: "grace")
    assert operator_name(settings(tmp_path)) == "grace"


OTHERS = (
    "Mallory",
    "mallory ",
    " mallory",
    "carol (on holiday)",
    "a\nb",
    "a\x1b[2J",
    "",
    "ä",
    "а",
    "operator:ada",
    "x" * 65,
)


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_has_one_spelling(name: str) -> None:
    with pytest.raises(Refused, match="is not the name of an operator"):
        checked_name(name)


@pytest.mark.parametrize("env", ["dev", "staging", "production"])
def test_a_certificate_says_who_acts_and_no_variable_says_otherwise(tmp_path: Path, env: str) -> None:
    assert operator_name(settings(tmp_path, "operator.ada", FINANCE_ENV=env)) == "ada"
    assert operator_name(settings(tmp_path, "operator.ada", FINANCE_ENV=env, FINANCE_OPERATOR="ada")) == "ada"
    with pytest.raises(Refused, match=r"the certificate is ada's"):
        operator_name(settings(tmp_path, "operator.ada", FINANCE_ENV=env, FINANCE_OPERATOR="cfo"))


@pytest.mark.parametrize("common_name", [None, "api", "operator", "admin"])
def test_in_production_nobody_acts_without_one(tmp_path: Path, common_name: str | None) -> None:
    with pytest.raises(Refused, match=r"operator\.<name>"):
        operator_name(settings(tmp_path, common_name, FINANCE_ENV="production", FINANCE_OPERATOR="cfo"))


def test_a_name_in_a_certificate_has_its_form_too(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is not the name of an operator"):
        operator_name(settings(tmp_path, "operator.Ada Lovelace"))
