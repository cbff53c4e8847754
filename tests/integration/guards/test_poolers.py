"""A connection pooler between us and Postgres: every door of the product to a database refuses it, whatever its mode,
and says what stands there and what to do. Locks and limits of a session would hold for somebody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import psycopg
import pytest

from finance.workshop.devstack import Stack
from ledger_core.errors import Refused
from ledger_core.postgres.audit.notary_store import PostgresAuditStore
from ledger_core.postgres.connection import connect
from ledger_core.postgres.posting.poster_store import PosterStore
from ledger_core.postgres.recovery.rebuild_store import RebuildStore
from ledger_core.postgres.schema.migrate import migrate
from ledger_core.postgres.session import session
from ledger_core.postgres.verify.ledger_reader import open_ledger_reader
from tests.support.command_line import ROOT, Finance
from tests.support.pooler import MODES, by_way_of, pooling

pytestmark = pytest.mark.services


def _session(url: str) -> None:
    with session(url, application_name="test"):
        pass


def _reader(url: str) -> None:
    with open_ledger_reader(url):
        pass


# What opens a session with a database, by the file it stands in.
DOORS: Final[dict[str, Callable[[str], Any]]] = {
    "ledger_core/postgres/connection.py": lambda url: connect(url, application_name="test").close(),
    "ledger_core/postgres/session.py": _session,
    "ledger_core/postgres/verify/ledger_reader.py": _reader,
}
# Those that need not ask.
EXEMPT: Final = {
    "ledger_core/postgres/stalled.py": "at the address of a connection that was asked",
    "finance/recovery/backup/base/cluster.py": "a server that this very process has started, at its socket",
}
STORES: Final[tuple[Callable[[str], Any], ...]] = (PosterStore, PostgresAuditStore, RebuildStore, migrate)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("door", [*DOORS.values(), *STORES], ids=[*DOORS, *(store.__name__ for store in STORES)])
def test_every_door_refuses_a_pooler_and_names_the_remedy(
    database_url: str, mode: str, door: Callable[[str], Any]
) -> None:
    words = "a connection pooler, such as PgBouncer,"
    with pooling(database_url, mode) as pooler, pytest.raises(Refused, match=words) as caught:
        door(by_way_of(pooler, database_url))
    assert pooler in caught.value.message
    assert "to Postgres itself" in caught.value.remedy


def test_a_pooler_that_turns_our_login_away_is_named_too(database_url: str) -> None:
    with (
        pooling(database_url, "transaction", drops="search_path") as pooler,
        pytest.raises(Refused, match="a connection pooler, such as PgBouncer,"),
    ):
        connect(by_way_of(pooler, database_url), application_name="test")


def test_services_and_commands_end_with_the_remedy(environ: dict[str, str], stack: Stack) -> None:
    with pooling(environ["DATABASE_URL"], "transaction") as pooler:
        pooled = {name: by_way_of(pooler, url) for name, url in environ.items() if name.startswith("DATABASE_URL")}
        finance = Finance({**environ, **pooled})
        for command in ("run notary", "run poster", "status", "verify ledger", "migrate --check", "halt --reason x"):
            assert "such as PgBouncer," in finance(*command.split(), code=3), command


def test_a_refused_login_leaves_nothing_behind_in_a_session_of_the_pool(database_url: str) -> None:
    """What we set there would hold for whoever gets that session next."""
    with pooling(database_url, "transaction") as pooler:
        url = by_way_of(pooler, database_url)
        for door in DOORS.values():
            with pytest.raises(Refused):
                door(url)
        with psycopg.connect(url, autocommit=True) as other:
            left = other.execute("SELECT current_setting('statement_timeout'), current_setting('TimeZone')").fetchone()
        with psycopg.connect(database_url) as direct:
            own = direct.execute("SELECT current_setting('statement_timeout'), current_setting('TimeZone')").fetchone()
    assert left == own


def test_every_place_that_opens_a_connection_is_a_door_of_this_table() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in ("ledger_core", "consumers", "producers", "finance")
        for path in (ROOT / folder).rglob("*.py")
        if "workshop" not in path.parts
        and ("psycopg.connect(" in (text := path.read_text("utf-8")) or "Connection.connect(" in text)
    }
    assert found == {*DOORS, *EXEMPT}
