"""Production's guards on servers as production has them: a sound start passes, a start with less is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from finance.guards.checklist import checks, exit_code
from finance.guards.model import EVERYBODY, Given, StartRefused
from finance.guards.startup import check_start
from finance.settings.variables import PROCESSES
from finance.workshop.devstack import Stack
from ledger_core.postgres.schema.deployment import bind_deployment
from ledger_core.postgres.session import session
from tests.support import buckets, databases, topics

DOMAIN: Final = "ledger.example.org"


@pytest.fixture
def production(secure_stack: Stack) -> Iterator[dict[str, str]]:
    """A database, topics and a bucket of its own on the secure stack, said to be production's."""
    env = secure_stack.env
    url = databases.create_database(env["DATABASE_URL"], databases.ensure_template(env["DATABASE_URL"]))
    with session(url, application_name="test") as connection:
        bind_deployment(connection, "production", DOMAIN)
    roles = {name: name.removeprefix("DATABASE_URL_").lower() for name in env if name.startswith("DATABASE_URL_")}
    yield {
        **env,
        **{name: databases.role_url(url, f"finance_{role}") for name, role in roles.items()},
        "DATABASE_URL": url,
        "FINANCE_TOPOLOGY": str(topics.TOPOLOGY),
        "S3_AUDIT_BUCKET": buckets.create_bucket(env),
        "FINANCE_ENV": "production",
        "NODE_ENV": "production",
        "FINANCE_DOMAIN": DOMAIN,
        "REQUIRE_KMS": "true",
        "REQUIRE_MTLS": "true",
        "DEV_SKIP_MTLS": "false",
    }
    databases.drop_database(env["DATABASE_URL"], url)


def told(process: str, environ: dict[str, str], cwd: Path) -> str:
    """What a start is refused for, as one text; empty when it is not."""
    own = {name: value for name, value in environ.items() if name != "DATABASE_URL"}
    try:
        check_start(process, own, cwd)
    except StartRefused as error:
        return error.message
    return ""


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_of_a_sound_production_starts(production: dict[str, str], tmp_path: Path, process: str) -> None:
    assert told(process, production, tmp_path) == ""


def test_the_doctor_finds_nothing_that_would_refuse_a_start(production: dict[str, str], tmp_path: Path) -> None:
    results = {check.name: check.result() for check in checks(Given.of(EVERYBODY, production, tmp_path))}
    topics_line = results.pop(
        "topics as the topology"
    )  # whether another test made the unprefixed topics, is its own affair
    assert topics_line.state in ("sound", "refused")
    not_sound = {name: result.state for name, result in results.items() if result.state != "sound"}
    # Nothing was archived in this test, and no drill was held.
    assert not_sound == {"exports reach the archive": "found", "recovery drill within 35 days": "found"}
    assert exit_code(list(results.values())) == 1


def test_a_start_with_less_is_refused(production: dict[str, str], tmp_path: Path) -> None:
    weaker = production["DATABASE_URL_POSTER"].replace("verify-full", "require")
    assert "has sslmode=require" in told("poster", {**production, "DATABASE_URL_POSTER": weaker}, tmp_path)
    owner = {**production, "DATABASE_URL_POSTER": production["DATABASE_URL"]}
    assert "logs in as" in told("poster", owner, tmp_path)
    with session(production["DATABASE_URL"], application_name="test") as connection:
        connection.execute("GRANT DELETE ON entries TO finance_poster")
    assert "finance_poster may DELETE entries" in told("poster", production, tmp_path)
    plain = production["S3_AUDIT_ENDPOINT"].replace("https:", "http:")
    assert "S3_AUDIT_ENDPOINT" in told("archiver", {**production, "S3_AUDIT_ENDPOINT": plain}, tmp_path)
