"""The one door from production to the workshop: opened by name, at the moment a person asks for what lies behind it.

Two commands use it: `finance publish` for sample data, and a recovery drill that has no scratch server of its own.
What stands behind the door fulfils `Workshop`; mypy checks that in `finance.workshop.entrance`.

Guarantees: without the workshop, or a package that it needs, Refused with what to install; never an import error.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol, cast

from finance.settings.extras import install_command
from ledger_core.books.settlements import SettlementEvent
from ledger_core.errors import Refused

ENTRANCE: Final = "finance.workshop.entrance"
REMEDY: Final = install_command("devstack")


class Counts(Protocol):
    """What a reading of the sample data came to."""

    @property
    def skipped(self) -> int:
        """Baskets for which nothing was paid."""


class Sample(Protocol):
    """Settlements of real sales, with a count that grows while they are read."""

    @property
    def counts(self) -> Counts: ...

    def events(self) -> Iterator[SettlementEvent]: ...


class ScratchPostgres(Protocol):
    """A Postgres server with a place of its own, for one drill."""

    def start(self, *, secure: bool) -> str:
        """Start it; the address at which databases may be made. Raises Refused, Unavailable."""

    def remove(self) -> None:
        """Stop it, and remove its data."""


class Workshop(Protocol):
    """What production asks the workshop for."""

    def sample(self, month: str | None) -> Sample: ...

    def synthetic(self, count: int, seed: int) -> Iterator[SettlementEvent]: ...

    def scratch_postgres(self, name: str, folder: Path) -> ScratchPostgres: ...


def open_workshop() -> Workshop:
    """The workshop. Raises Refused when it, or a package that it needs, is not installed."""
    try:
        return cast(Workshop, importlib.import_module(ENTRANCE).WORKSHOP)
    except ModuleNotFoundError as error:
        raise Refused(f"the workshop is not installed (no module {error.name})", remedy=REMEDY) from error
