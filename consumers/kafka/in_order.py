"""What a client hands over again: an offset that comes twice in one poll is one record, and is passed over.

Guarantees: pure. Of a partition each offset is taken once and in order, so that nobody behind a reader sees a repeat
within what was read at once. An offset that comes behind a later one and was never taken must not be passed over, which
would lose its record: everything is read anew (Unavailable), from where Postgres says.
Does not: find what is missing between two offsets: that may be a transaction's, and is accounted for by the poster.
"""

from __future__ import annotations

from collections.abc import Iterable

from ledger_core.errors import Unavailable


def check_repeated(place: str, offset: int, start: int, taken: Iterable[int]) -> None:
    """Of an `offset` that comes behind a later one, in a poll that began at `start` and took these: whether it came
    before. Raises Unavailable("kafka") when it did not."""
    if offset >= start and offset not in taken:
        raise Unavailable("kafka", f"{place}: offset {offset} came behind a later one, and not before it")
