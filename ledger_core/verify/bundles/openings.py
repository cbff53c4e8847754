"""Checking pii/openings.jsonl: each line opens the digest of an entry that the bundle was asked for.

Guarantees: lines stand in order of shard and sequence, one for an entry; each is of an entry that the window holds and
the filter asks for, and its pairs have the digest of that entry. Findings name the line. Entries without a line are
counted: their data were erased, or never came, and the digest in the entry holds all the same.
Does not: say that data are true: it says that the publisher put these, and no others, under the entry's digest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger_core.archive.bundle_names import OPENINGS
from ledger_core.bundle.openings import Opening, parse_opening
from ledger_core.findings import Collector


@dataclass(slots=True)
class OpeningsCheck:
    """Feed it every entry that was asked for, in order of shard and sequence."""

    member: bytes | None  # None: the bundle includes no personal data
    found: Collector
    _lines: list[bytes] = field(init=False)
    _at: int = 0  # lines read so far
    _next: Opening | None = None
    _last: tuple[int, int] = (-1, 0)

    def __post_init__(self) -> None:
        self._lines = (self.member or b"").split(b"\n")
        if self._lines.pop():
            self.found.add("opening.form", "the last line is not ended by LF", field="data", place=OPENINGS)
        self._advance()

    def take(self, shard: int, seq: int, event_id: str, digest: str | None) -> None:
        """The next entry that was asked for."""
        if self.member is None:
            return
        while self._next is not None and self._last < (shard, seq):
            self._stray()
        if self._next is None or self._last != (shard, seq):
            if digest is not None:
                self.found.count("digests_not_opened")
            return
        if self._next.event_id != event_id:
            self._bad("opening.entry", f"is of event {self._next.event_id}, the entry of {event_id}", "event_id")
        elif self._next.digest != digest:
            self._bad("opening.digest", f"the pairs have the digest {self._next.digest}, the entry {digest}", "pairs")
        else:
            self.found.count("openings")
        self._advance()

    def finish(self) -> None:
        """After the last entry."""
        while self._next is not None:
            self._stray()

    def _stray(self) -> None:
        self._bad("opening.entry", "opens no entry of the window that was asked for", "seq")
        self._advance()

    def _bad(self, code: str, message: str, name: str) -> None:
        shard, seq = self._last
        self.found.add(code, f"line {self._at}: {message}", shard=shard, seq=seq, field=name, place=OPENINGS)

    def _advance(self) -> None:
        """The next line that can be read."""
        self._next = None
        while self._at < len(self._lines):
            line, self._at = self._lines[self._at], self._at + 1
            try:
                opening = parse_opening(line)
            except ValueError as error:
                self.found.add("opening.form", f"line {self._at}: {error}", field="pairs", place=OPENINGS)
                continue
            place = opening.shard, int(opening.seq)
            if place <= self._last:
                message = f"line {self._at}: does not stand in order of shard and sequence"
                self.found.add("opening.order", message, shard=place[0], seq=place[1], field="seq", place=OPENINGS)
                continue
            self._next, self._last = opening, place
            return
