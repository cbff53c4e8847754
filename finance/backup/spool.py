"""The spool: where the receiver writes WAL, and from where it is sealed and stored.

Guarantees: a file leaves the spool only when it is stored; storing again what is stored changes nothing, so a kill at
any moment costs nothing. Needs no server: what the spool holds when the server is lost can still be stored.
Does not: receive anything.
"""

from __future__ import annotations

import datetime as dt
import fcntl
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog
from pyrage import x25519

from finance.backup import wal
from finance.backup.catalogue import StreamState, stream_state
from finance.backup.copies import Copies
from finance.backup.keys import stream_key, wal_file, wal_key
from finance.backup.manifest import digest_of
from finance.backup.seal import pack
from ledger_core.errors import Refused

LOCK = ".lock"

log = structlog.get_logger("backup")


class Spool:
    """The spool of one cluster below `folder`; one process works on it. `on_stored` is told stored bytes."""

    def __init__(
        self,
        folder: Path,
        system_identifier: str,
        copies: Copies,
        recipients: Sequence[x25519.Recipient],
        clock: Callable[[], dt.datetime],
        on_stored: Callable[[int], None] = lambda _bytes: None,
    ) -> None:
        self.path = folder / system_identifier
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (self.path / LOCK).open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise Refused(
                f"another process works on the spool {self.path}", remedy="stop the other `finance backup stream`"
            ) from None
        self._system = system_identifier
        self._copies = copies
        self._recipients = recipients
        self._clock = clock
        self._on_stored = on_stored
        self._stored: set[str] = set()
        self._partials: dict[str, list[str]] = defaultdict(list)  # keys by segment name
        sizes = copies.sizes(f"{system_identifier}/")
        state = stream_state(copies, system_identifier, sizes)
        self._first = state.first if state else ""
        for key in sizes:
            file = wal_file(key)
            if file is not None and file.name.endswith(wal.PARTIAL):
                self._partials[file.name.removesuffix(wal.PARTIAL)].append(key)
            elif file is not None:
                self._stored.add(file.name)
        self._told: tuple[str, int] = ("", 0)  # name and mtime of the partial that was stored last
        self.safe_lsn = 0  # everything before it is stored

    def close(self) -> None:
        self._lock.close()

    def drain(self) -> None:
        """Store everything, then begin empty: a receiver goes on where its slot says. (With files of a life that the
        server did not live, after a restore to the past, it would not go on at all.)"""
        self.store_complete()
        self.store_partial(0)
        for path in self._files():
            path.unlink()

    def store_complete(self) -> bool:
        """Store every segment and history that is whole; True when there was one."""
        worked = False
        for path in self._files():
            name = path.name
            if not (wal.SEGMENT_NAME.fullmatch(name) or wal.HISTORY_NAME.fullmatch(name)):
                continue
            if name not in self._stored:
                self._store(name, path.read_bytes(), path)
                self._stored.add(name)
                worked = True
            if wal.SEGMENT_NAME.fullmatch(name):
                segment_bytes = path.stat().st_size
                self._reached(name, (wal.parse_segment(name, segment_bytes).number + 1) * segment_bytes)
                self._forget_partials(name)
                path.unlink()
        return worked

    def store_partial(self, received_lsn: int) -> bool:
        """Store the segment that is being written as far as it has come; its rest is zeros, where recovery ends.

        `received_lsn`: the receiver had written as far before this call; 0: not known.
        """
        found = [path for path in self._files() if path.name.endswith(wal.PARTIAL)]
        try:
            return self._store_partial(found[-1], received_lsn) if found else False
        except FileNotFoundError:  # it has become complete meanwhile
            return False

    def _store_partial(self, path: Path, received_lsn: int) -> bool:
        name = path.name.removesuffix(wal.PARTIAL)
        stat = path.stat()
        changed = (path.name, stat.st_mtime_ns) != self._told
        if changed and name not in self._stored:
            key = self._store(path.name, path.read_bytes(), path)
            self._forget_partials(name)
            self._partials[name].append(key)
            self._told = (path.name, stat.st_mtime_ns)
        first_lsn = wal.parse_segment(name, stat.st_size).number * stat.st_size
        if first_lsn <= received_lsn <= first_lsn + stat.st_size:
            self._reached(name, received_lsn)
        return changed

    def _files(self) -> list[Path]:
        return sorted(path for path in self.path.iterdir() if path.name != LOCK)

    def _store(self, name: str, data: bytes, path: Path) -> str:
        packed = pack(data, self._recipients)
        stored_at = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
        key = wal_key(self._system, name, stored_at, digest_of(packed))
        self._copies.put(key, packed)
        self._on_stored(len(packed))
        if not name.endswith(wal.PARTIAL):
            log.info("backup.wal_stored", file=name, stored_bytes=len(packed))
        return key

    def _forget_partials(self, name: str) -> None:
        for key in self._partials.pop(name, []):
            self._copies.delete(key)

    def _reached(self, name: str, lsn: int) -> None:
        """Note how far the place has come: the end of a listing cannot say what is missing after it."""
        if lsn <= self.safe_lsn:
            return
        self.safe_lsn = lsn
        self._first = self._first or name
        state = StreamState(first=self._first, segment=name, lsn=lsn, at=int(self._clock().timestamp() * 1000))
        self._copies.put(stream_key(self._system), msgspec.json.encode(state))
