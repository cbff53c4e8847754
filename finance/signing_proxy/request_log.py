"""The append-only log of the signing proxy: one canonical JSON line a record, each chained to the one before.

Guarantees: `append` returns once the line is on disk (fsync); a line that could not be written leaves the log unsound,
and nothing is signed before it is sound again; one process holds it (a lock), and what somebody else wrote, moved or
cut is noticed before the next line. A torn line (a crash, a full disk) is never cut away: it is ended, and
the next record (`recovered`) names it by its hash, so that the file can be append-only for the file system too.
`hash = SHA256(canonical(record without hash) || previous hash)`; the record repeats `prev_hash`.
Does not: rotate. To begin a new file, stop the proxy and move the old one away; keep its head (`log verify` tells it).
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from finance.signing_proxy.witness import sync_folder
from ledger_core.canonical import decode, encode, is_hash
from ledger_core.chain import link
from ledger_core.errors import Refused, Unavailable
from ledger_core.times import format_time

LINE_BYTES_MAX: Final = 16_384
RECENT_BYTES_MAX: Final = 4_194_304
Record = dict[str, str]


@dataclass(frozen=True, slots=True)
class LogHead:
    """The last record: its number, from 1, and its hash; 0 and None before the first."""

    seq: int
    hash: bytes | None


NO_RECORD: Final = LogHead(0, None)


class RequestLog:
    """The log at `path`, made when it is not there. Raises Refused. `fsync` is an argument so that disks can fail."""

    def __init__(
        self, path: Path, *, clock: Callable[[], dt.datetime], fsync: Callable[[int], None] = os.fsync
    ) -> None:
        self._path, self._clock, self._fsync = path, clock, fsync
        self._lock = threading.Lock()
        self._dead: str | None = None
        self._head, self._size = NO_RECORD, 0
        self._sound = False
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            sync_folder(path)
        except OSError as error:
            raise Refused(f"the log {path} cannot be opened ({error})", remedy="set SIGNING_PROXY_LOG") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise Refused(
                f"the log {path} is held by another process", remedy="give each signing proxy a log of its own"
            ) from error
        try:
            self._recover()
        except OSError as error:
            self.close()
            raise Refused(f"the log {path} cannot be written ({error})", remedy="make room for it") from error
        except Refused:
            self.close()
            raise

    @property
    def head(self) -> LogHead:
        return self._head

    @property
    def sound(self) -> bool:
        """Whether the last line is on disk; when not, the next append tries to mend that."""
        return self._sound and self._dead is None

    def append(self, record: Record) -> LogHead:
        """Write one record, on disk when this returns. Raises Unavailable("log"): then it may or may not be there."""
        with self._lock:
            try:
                if self._dead is not None:
                    raise OSError(self._dead)
                self._check_ours()
                if not self._sound:
                    self._recover()
                return self._append(record)
            except (OSError, Refused) as error:
                self._sound = False
                raise Unavailable("log", f"{self._path.name} cannot be written: {error}") from error

    def recent(self) -> Iterator[Record]:
        """The records of the last RECENT_BYTES_MAX bytes, oldest first."""
        lines = self._tail(RECENT_BYTES_MAX).splitlines()
        for line in lines:
            record = parse_line(line)
            if record is not None:
                yield record

    def close(self) -> None:
        os.close(self._file)

    def _append(self, record: Record) -> LogHead:
        seq = self._head.seq + 1
        body: dict[str, object] = {name: _plain(value) for name, value in record.items()}
        body |= {"seq": str(seq), "ts": format_time(self._clock())}
        if self._head.hash is not None:
            body["prev_hash"] = self._head.hash.hex()
        digest = link(encode(body), self._head.hash)
        self._write(encode({**body, "hash": digest.hex()}) + b"\n")
        self._head = LogHead(seq, digest)
        return self._head

    def _write(self, data: bytes) -> None:
        self._sound = False
        written = os.write(self._file, data)
        self._size += written
        if written != len(data):
            raise OSError("only a part could be written: the disk is full")
        try:
            self._fsync(self._file)
        except OSError as error:
            self._dead = f"fsync failed ({error}): what is on disk is not known. Restart the proxy"
            raise
        self._sound = True

    def _recover(self) -> None:
        """Find the last record; end and name what is torn after it. The way in at the start and after a failure."""
        data = self._tail(2 * LINE_BYTES_MAX)
        self._size = os.fstat(self._file).st_size
        whole, _, torn = data.rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        if torn:
            self._write(b"\n")  # from here on it is a line
            lines.append(torn)
        broken: list[bytes] = []  # several, when the disk stayed full
        last: Record | None = None
        while lines and (last := parse_line(lines[-1])) is None:
            broken.insert(0, lines.pop())
        if last is None and self._size > LINE_BYTES_MAX:
            raise Refused(
                f"the log {self._path} ends in lines that are no records",
                remedy="find out who wrote there (finance signing-proxy log verify), then begin a new log",
            )
        self._head = NO_RECORD if last is None else LogHead(int(last["seq"]), bytes.fromhex(last["hash"]))
        self._sound = True
        if broken:
            self._append({"event": "recovered", "torn_sha256": torn_hash(broken)})

    def _check_ours(self) -> None:
        """Raise OSError when the path is another file by now, or somebody else wrote to it or cut it."""
        held = os.fstat(self._file)
        if os.stat(self._path).st_ino != held.st_ino:
            raise OSError("it was moved away: put it back, or restart the proxy to begin a new one")
        if held.st_size != self._size:
            self._dead = "somebody else wrote to it or cut it: look into it, then restart the proxy"
            raise OSError(self._dead)

    def _tail(self, bytes_max: int) -> bytes:
        """Whole lines (and what is torn after them) of the last `bytes_max` bytes."""
        size = os.fstat(self._file).st_size
        start = max(0, size - bytes_max)
        data = b""
        while len(data) < size - start:
            part = os.pread(self._file, size - start - len(data), start + len(data))
            if not part:
                break
            data += part
        return data if start == 0 else data.partition(b"\n")[2]


def torn_hash(broken: Sequence[bytes]) -> str:
    """What a `recovered` record says of the lines before it that are no records."""
    return hashlib.sha256(b"\n".join(broken)).hexdigest()


def parse_line(line: bytes) -> Record | None:
    """The record of a line (without LF) whose hash fits; None for anything else. The chain is not looked at."""
    try:
        found = decode(line)
    except ValueError:
        return None
    record = {name: value for name, value in found.items() if isinstance(value, str)}
    if len(record) != len(found) or not is_hash(record.get("hash")) or not record.get("seq", "").isdigit():
        return None
    previous = record.get("prev_hash")
    if previous is not None and not is_hash(previous):
        return None
    body: dict[str, object] = {name: value for name, value in record.items() if name != "hash"}
    digest = link(encode(body), None if previous is None else bytes.fromhex(previous))
    return record if digest.hex() == record["hash"] else None


def _plain(text: str) -> str:
    """ASCII, whatever a name was written in: a record must never fail to be written for its spelling."""
    return text.encode("ascii", "backslashreplace").decode("ascii").replace("\0", "\\0")
