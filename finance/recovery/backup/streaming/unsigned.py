"""The files of WAL that this host has stored and nobody has signed for yet: one key a line, in the spool.

Guarantees: a key is here, durably, before its file is in the place, and until a list signs for it. So what is signed is
what this host sealed itself, whatever others put into the place, and a signer that is away costs a line a segment.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from finance.recovery.backup.place.keys import wal_file
from producers.storage.whole_file import replace_file


class Unsigned:
    """Kept in `path`. `stored`: keys in the place; `signed`: keys that lists hold. Methods may raise OSError."""

    def __init__(self, path: Path, stored: Collection[str], *, signed: Iterable[str]) -> None:
        self._path = path
        lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
        done = set(signed)
        # A line that a crash tore is not a key; one whose file never came to the place is stored anew, under another.
        self.keys = [line for line in lines if wal_file(line) is not None and line in stored and line not in done]
        if self.keys != lines:
            self._write()

    def add(self, key: str) -> None:
        with self._path.open("a", encoding="ascii") as handle:
            handle.write(f"{key}\n")
            handle.flush()
            os.fsync(handle.fileno())
        self.keys.append(key)

    def drop(self, count: int) -> None:
        """The first `count` are signed for."""
        del self.keys[:count]
        self._write()

    def _write(self) -> None:
        replace_file(self._path, "".join(f"{key}\n" for key in self.keys).encode("ascii"))
