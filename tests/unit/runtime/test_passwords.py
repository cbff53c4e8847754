"""A password reaches no command line, log line or message: each form of an address, at each place that repeats one."""

from __future__ import annotations

from pathlib import Path

import click
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from finance.cli.addresses import DatabaseAddress
from finance.cli.main import COMMANDS, cli
from finance.guards.model import one_line
from finance.recovery.backup.tools import without_password
from finance.settings.deployment import Settings
from finance.settings.tls_database import unsafe_address
from finance.settings.variables import VARIABLES
from finance.settings.web_addresses import is_web_address_of
from ledger_core.errors import FinanceError, Refused
from ledger_core.postgres.session import translated
from tests.unit.runtime.test_moments import options

PART = "qX7"  # stands in each password, on both sides of what libpq stumbles over
ADDRESSES = {
    "an address": f"postgresql://ann:{PART}a{PART}@127.0.0.1:9/ledger",
    "encoded": f"postgresql://ann:{PART}%2F{PART}@127.0.0.1:9/ledger",
    "a slash in it": f"postgresql://ann:{PART}/{PART}@127.0.0.1:9/ledger",
    "a colon in it": f"postgresql://ann:{PART}:{PART}@127.0.0.1:9/ledger",
    "an at sign in it": f"postgresql://ann:{PART}@{PART}@127.0.0.1:9/ledger",
    "a percent sign in it": f"postgresql://ann:{PART}%zz{PART}@127.0.0.1:9/ledger",
    "as a parameter": f"postgresql://ann@127.0.0.1:9/ledger?password={PART}{PART}",
    "settings": f"host=127.0.0.1 port=9 user=ann password={PART}{PART}",
    "settings with a blank in it": f"host=127.0.0.1 port=9 password={PART} {PART}",
    "settings with a quote": f"host=127.0.0.1 port=9 password='{PART}{PART}",
    "of the key": f"host=127.0.0.1 port=9 user=ann sslpassword={PART}{PART}",
}
every_address = pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)


@every_address
def test_a_connection_that_fails_does_not_repeat_it(address: str) -> None:
    with pytest.raises(FinanceError) as raised, translated():
        psycopg.connect(address, connect_timeout=2).close()
    assert PART not in str(raised.value)
    assert raised.value.__cause__ is None or PART not in str(raised.value.__cause__)


@every_address
def test_a_guard_does_not_repeat_it(address: str) -> None:
    assert PART not in str(unsafe_address("DATABASE_URL", address, mutual=True))


@every_address
def test_a_tool_does_not_get_it_on_its_command_line(address: str) -> None:
    shown, password, said = "", None, ""
    try:
        shown, password = without_password(address)
    except Refused as error:
        said = str(error)
    assert PART not in said
    if not said:
        given = conninfo_to_dict(address)
        assert password == given.pop("password", None)
        assert conninfo_to_dict(shown) == given
        assert password is None or PART not in shown


@every_address
def test_an_option_takes_no_password_and_does_not_repeat_it(address: str) -> None:
    said = ""
    try:
        assert DatabaseAddress().convert(address, None, None) == address
    except click.BadParameter as error:
        said = str(error)
    assert PART not in said
    assert said or not {"password", "sslpassword"} & conninfo_to_dict(address).keys()


def test_every_option_that_is_an_address_of_postgres_is_checked() -> None:
    found = [option for name in COMMANDS for option in options(cli.get_command(click.Context(cli), name) or cli)]
    named = {option.name: option for option in found if {"--into", "--database-url", "--dsn"} & set(option.opts)}
    assert named
    assert all(isinstance(option.type, DatabaseAddress) for option in named.values())


@pytest.mark.parametrize("scheme", ["postgresql", "redis", "https"])
@pytest.mark.parametrize("password", ["abc", "a/b", "a@b", "a:b", "a?b#c"])
def test_a_message_hides_it(scheme: str, password: str) -> None:
    assert one_line(f"no answer of {scheme}://ann:{password}@host/db") == f"no answer of {scheme}://ann:***@host/db"


WEB = sorted(variable.name for variable in VARIABLES if is_web_address_of(variable.name))


def test_every_variable_whose_value_is_an_address_is_one_or_a_secret() -> None:
    named = {variable.name for variable in VARIABLES if "address" in variable.meaning.split() and not variable.secret}
    assert named - set(WEB) == {"METRICS_HOST", "SIGNING_PROXY_HOST"}


@pytest.mark.parametrize("name", WEB)
@pytest.mark.parametrize("userinfo", [f"ann:{PART}", PART, f":{PART}", f"ann:{PART}/{PART}@x"])
def test_credentials_in_a_web_address_are_refused_and_not_repeated(name: str, userinfo: str, tmp_path: Path) -> None:
    environ = {"FINANCE_STACK": "none", name: f"https://{userinfo}@host:9000"}
    with pytest.raises(Refused, match=name) as raised:
        Settings.from_env(environ, tmp_path)
    assert PART not in str(raised.value)
