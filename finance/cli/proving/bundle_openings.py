"""The openings of a bundle: pii/openings.jsonl, written beside it while the entries are read.

Guarantees: one line for each entry that was asked for, has a digest, and whose data are kept, in order of shard and
sequence; memory is that of one page. What was asked of the keeper's table once is read from the file from then on, so
that an erasure meanwhile does not change a member between its digest and its bytes.
Does not: decide what may be shown: the decision on record does (`ledger_core.postgres.personal.disclosures`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ledger_core.bundle.matching import AskedEntry
from ledger_core.bundle.openings import ShownPair, opening_line
from schemas.read_file import OBJECT_BYTES_MAX, read_file

PAGE_ENTRIES: Final = 2_000

Ask = Callable[[Sequence[str]], Mapping[str, Sequence[ShownPair]]]  # event ids -> pairs of those whose data are kept


class OpeningsFile:
    """Feed it the entries that were asked for; `finish`, and then read it."""

    def __init__(self, path: Path, ask: Ask) -> None:
        self._path, self._ask = path, ask
        self._waiting: list[tuple[int, AskedEntry]] = []
        self.count = 0  # lines
        path.write_bytes(b"")

    def take(self, shard: int, entry: AskedEntry) -> None:
        """An entry that was asked for, of that shard."""
        if entry.pii_digest is None:
            return
        self._waiting.append((shard, entry))
        if len(self._waiting) >= PAGE_ENTRIES:
            self.finish()

    def finish(self) -> None:
        """Write down what waits."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        found = self._ask([entry.event_id for _, entry in waiting])
        lines = []
        for shard, entry in waiting:
            pairs = found.get(entry.event_id, ())
            if any(pair.name is not None for pair in pairs):
                lines.append(opening_line(shard, entry.seq, entry.event_id, pairs))
        with self._path.open("ab") as file:
            file.writelines(lines)
        self.count += len(lines)

    def read(self) -> bytes:
        """The member's bytes."""
        return read_file(self._path, OBJECT_BYTES_MAX)
