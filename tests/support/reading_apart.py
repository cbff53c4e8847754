"""A database of the read side's own, set up as the runbook says; it can be lost, or shut."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.support.databases import database_at, role_url
from tests.support.route import ROOT, Ledger

PAGE = ROOT / "docs" / "runbook" / "18-read-side.md"
SETUP = re.search(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


class Apart:
    """The roles are the server's, and there already."""

    def __init__(self, server: str) -> None:
        self.server, self.name = server, f"test_reading_{uuid.uuid4().hex[:8]}"
        self.url = database_at(server, self.name)

    @classmethod
    @contextmanager
    def of(cls, ledger: Ledger) -> Iterator[Apart]:
        """Where this ledger's projector and questions go from now on; its processes end before the database goes."""
        made = cls(database_at(ledger.environ["DATABASE_URL"], "postgres"))
        made.make()
        ledger.environ["DATABASE_URL_PROJECTOR"] = role_url(made.url, "finance_projector")
        ledger.environ["DATABASE_URL_READING"] = role_url(made.url, "finance_reading")
        yield made
        ledger.end()
        made.lose()

    def make(self) -> None:
        assert SETUP is not None
        self._on_server(f"CREATE DATABASE {self.name}")
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in SETUP[1].split(";"):
                if statement.strip() and "CREATE ROLE" not in statement:
                    connection.execute(statement.encode())

    def lose(self) -> None:
        self._on_server(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")

    def shut(self) -> None:
        self._on_server(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        self._on_server(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'")

    def open(self) -> None:
        self._on_server(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")

    def ask(self, query: str) -> tuple[object, ...] | None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchone()

    def _on_server(self, statement: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(statement.encode())
