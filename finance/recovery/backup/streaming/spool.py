"""The spool: where the receiver writes WAL, and from where it is sealed and stored.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. NAME a complete segment in `.unsigned`     a crash leaves a name without a file, which no start takes over
  2. PUT it in the place                        the commit point of a segment
  3. NOTE how far the place has come            a crash notes it with the next segment
  4. REMOVE it from the spool                   a crash finds it stored at the next start, and removes it

Guarantees: a file leaves the spool only when it is stored; storing again what is stored changes nothing, so a kill at
any moment costs nothing. What this host stored and nobody signed for yet is remembered here, and not taken from what
the place says: it may hold anything. Needs no server: what the spool holds when the server is lost can still be stored.
Does not: receive anything, or sign.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import structlog
from pyrage import x25519

from finance.recovery.backup import wal
from finance.recovery.backup.place.catalogue import Catalogue, StreamState
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import stream_key, wal_file, wal_key
from finance.recovery.backup.place.manifest import digest_of
from finance.recovery.backup.place.seal import pack
from finance.recovery.backup.streaming.unsigned import Unsigned
from finance.settings.file_lock import lock_file
from ledger_core.errors import Unavailable

LOCK = ".lock"
UNSIGNED = ".unsigned"

log = structlog.get_logger("backup")


class Spool:
    """The spool of one cluster below `folder`; one process works on it. `look` (a function) reads the place, once the
    spool is ours: before, another process may have signed. `on_stored` is called with the stored bytes. Raises Refused
    when another process works on it."""

    def __init__(
        self,
        folder: Path,
        system_identifier: str,
        copies: Copies,
        look: Callable[[], Catalogue],
        recipients: Sequence[x25519.Recipient],
        clock: Callable[[], dt.datetime],
        on_stored: Callable[[int], None] = lambda _bytes: None,
    ) -> None:
        self.path = folder / system_identifier
        with failures(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = (self.path / LOCK).open("a")
        try:
            lock_file(self._lock.fileno(), f"another process works on the spool {self.path}")
        except BaseException:
            self._lock.close()
            raise
        self._system = system_identifier
        self._copies = copies
        self._recipients = recipients
        self._clock = clock
        self._on_stored = on_stored
        self._told: tuple[str, int] = ("", 0)  # name and mtime of the partial that was stored last
        self._reach: tuple[str, int] = ("", 0)  # segment and position of what was noted last
        self._partials: dict[str, list[str]] = defaultdict(list)  # keys by segment name
        try:
            self.place = look()
            self._recall()
        except BaseException:
            self.close()
            raise

    def _recall(self) -> None:
        """What the place holds already, of that which was signed for or this host made."""
        sizes, listed, state = self.place.sizes, self.place.listed, self.place.stream
        self._first = state.first if state else ""  # a note that is lost is written anew with the next segment
        self._listed = listed.count
        with failures(self.path):
            self.unsigned = Unsigned(self.path / UNSIGNED, sizes, signed=listed.keys.values())
        for key in sizes:
            file = wal_file(key)
            if file is not None and file.name.endswith(wal.PARTIAL):
                self._partials[file.name.removesuffix(wal.PARTIAL)].append(key)
        mine = [file for key in self.unsigned.keys if (file := wal_file(key)) is not None]
        self._stored = {name: key for name, key in listed.keys.items() if key in sizes}
        self._stored |= {file.name: file.key for file in mine}

    @property
    def safe_lsn(self) -> int:
        """Everything before it is stored, as far as it was noted by this process."""
        return self._reach[1]

    def close(self) -> None:
        self._lock.close()

    def drain(self) -> None:
        """Store everything, then begin empty: a receiver goes on where its slot says. (With files of a timeline that
        the server never followed, after a restore to the past, it would not go on at all.)"""
        for path in self._files():  # a run that ended between its places may have filled one of them only
            key = self._stored.get(path.name)
            file = wal_file(key) if key is not None else None
            if file is not None and self._copies.check([(file.key, file.sha256)], lambda _c: None, everywhere=True):
                log.warning("backup.wal_damaged", key=key, remedy="it is stored anew from the spool")
                del self._stored[path.name]
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
                self._stored[name] = self._store(path)
                worked = True
            if wal.SEGMENT_NAME.fullmatch(name):
                segment_bytes = path.stat().st_size
                # 3. NOTE. Only of what is stored; a crash before it lets the note lag, which the next one mends.
                self._reached(name, (wal.parse_segment(name, segment_bytes).number + 1) * segment_bytes)
                self._forget_partials(name)
                # 4. REMOVE. A crash before it: the next start finds the name among what is stored, and removes it.
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

    def note_listed(self, count: int) -> None:
        """So many files are signed for."""
        self._listed = count
        self._note()

    def _store_partial(self, path: Path, received_lsn: int) -> bool:
        name = path.name.removesuffix(wal.PARTIAL)
        stat = path.stat()
        changed = (path.name, stat.st_mtime_ns) != self._told
        if changed and name not in self._stored:
            key = self._store(path)
            self._forget_partials(name)
            self._partials[name].append(key)
            self._told = (path.name, stat.st_mtime_ns)
        first_lsn = wal.parse_segment(name, stat.st_size).number * stat.st_size
        if first_lsn <= received_lsn <= first_lsn + stat.st_size:
            self._reached(name, received_lsn)
        return changed

    def _files(self) -> list[Path]:
        return sorted(path for path in self.path.iterdir() if not path.name.startswith("."))

    def _store(self, path: Path) -> str:
        stored_at = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
        packed = pack(path.read_bytes(), self._recipients)
        key = wal_key(self._system, path.name, stored_at, digest_of(packed))
        is_partial = path.name.endswith(wal.PARTIAL)
        # 1. NAME. What is signed for is what this host named: a crash here leaves a key under which nothing will stand.
        if not is_partial:
            with failures(self.path):
                self.unsigned.add(key)
        # 2. PUT. A crash before: the segment lies in the spool still; after: it is stored, and signed for later.
        self._copies.put(key, packed)
        self._on_stored(len(packed))
        if not is_partial:
            log.info("backup.wal_stored", file=path.name, stored_bytes=len(packed))
        return key

    def _forget_partials(self, name: str) -> None:
        for key in self._partials.pop(name, []):
            self._copies.delete(key)

    def _reached(self, name: str, lsn: int) -> None:
        """Note how far the place has come: the end of a listing cannot say what is missing after it."""
        if lsn > self.safe_lsn:
            self._reach = (name, lsn)
            self._first = self._first or name
            self._note()

    def _note(self) -> None:
        segment, lsn = self._reach
        if segment:
            at = int(self._clock().timestamp() * 1000)
            state = StreamState(first=self._first, segment=segment, lsn=lsn, at=at, listed=self._listed)
            self._copies.put(stream_key(self._system), msgspec.json.encode(state))


@contextmanager
def failures(path: Path) -> Iterator[None]:
    """A disk that is full, or a folder that may not be written. Raises Unavailable."""
    try:
        yield
    except OSError as error:
        raise Unavailable("backup_spool", f"{path}: {error.strerror or error}") from error
