"""Fixtures of the read side's fault tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.reading_apart import Apart
from tests.support.route import Ledger


@pytest.fixture
def apart(ledger: Ledger) -> Iterator[Apart]:
    """The read side in a database of its own; `ledger` is the fixture of the file."""
    with Apart.of(ledger) as made:
        yield made
