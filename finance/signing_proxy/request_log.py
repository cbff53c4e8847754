"""The append-only log of the signing proxy: one canonical JSON line a record, each chained to the one before.

Guarantees: `append` returns once the line is on disk (fsync); a line that could not be written leaves the log unsound,
and nothing is signed before it is sound again. A torn line (a crash, a full disk) is never cut away: it is ended, and
the next record (`recovered`) names it by its hash. The chain goes on from part to part (`log_file.py`), and over a
first part that was moved away: an empty log beside older parts continues them.
`hash = SHA256(canonical(record without hash) || previous hash)`; the record repeats `prev_hash`.
Does not: seal the chain with a key (`log_seal.py` does), or check it from its beginning (`log_verify.py`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from finance.signing_proxy.log_file import LogFile, lines_back
from ledger_core.canonical import decode, encode
from ledger_core.chain import link
from ledger_core.decimals import is_decimal
from ledger_core.errors import Refused, Unavailable
from ledger_core.hashes import is_hash
from ledger_core.times import format_time

LINE_BYTES_MAX: Final = 16_384
VALUE_CHARS_MAX: Final = 1024  # of a name that a caller may choose; an origin and a nonce are shorter
TORN_BYTES_MAX: Final = 4_194_304  # of lines that are not records, at the end
PART_BYTES_MAX: Final = 268_435_456
LINES_BETWEEN_TIMES: Final = 1000
Record = dict[str, str]


@dataclass(frozen=True, slots=True)
class LogHead:
    """The last record: its number, from 1, and its hash; 0 and None before the first."""

    seq: int  # from 1
    hash: bytes | None  # 32 bytes


NO_RECORD: Final = LogHead(0, None)


class RequestLog:
    """The log at `path`, made when it is not there. Raises Refused."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], dt.datetime],
        part_bytes_max: int = PART_BYTES_MAX,
        fsync: Callable[[int], None] = os.fsync,
    ) -> None:
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        self._head = NO_RECORD
        self._sound = False
        self.held: str | None = None  # why nothing but a seal may be written now
        self._file = LogFile(path, part_bytes_max=part_bytes_max, fsync=fsync)
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
        """Whether the last line is on disk, and another may follow; when not, the next append tries to mend that."""
        return self._sound and self._file.dead is None and self.held is None

    def append(self, record: Record) -> LogHead:
        """Write one record, on disk when this returns. Raises Unavailable("log"): then it may or may not be there."""
        with self._lock:
            if self.held is not None and record["event"] != "sealed":
                raise Unavailable("log", self.held)
            try:
                self._file.check_ours()
                if not self._sound:
                    self._recover()
                self._file.begin_part_when_full()
                return self._append(record)
            except (OSError, Refused) as error:
                self._sound = False
                raise Unavailable("log", f"{self._file.name} cannot be written: {error}") from error

    def recent(self, since: dt.datetime, holding: bytes) -> Iterator[Record]:
        """The records since then that hold these bytes, newest first, as far back as `lines_back` reads."""
        oldest = format_time(since)
        for number, line in enumerate(lines_back(self._file.parts)):
            wanted = holding in line
            if not wanted and number % LINES_BETWEEN_TIMES:
                continue
            record = parse_line(line)
            if record is not None and record.get("ts", "") < oldest:
                return
            if record is not None and wanted:
                yield record

    def close(self) -> None:
        self._file.close()

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
        self._file.write(data)
        self._sound = True

    def _recover(self) -> None:
        """Find the last record; end and name what is torn after it. The way in at the start and after a failure."""
        self._file.look()
        parts = self._file.parts
        torn = self._file.size > 0 and not _ends_whole(parts[-1])
        broken: list[bytes] = []  # several, when the disk stayed full
        last: Record | None = None
        for line in lines_back(parts, TORN_BYTES_MAX):
            last = parse_line(line)
            if last is not None:
                break
            broken.insert(0, line)
        if last is None and sum(part.stat().st_size for part in parts) > LINE_BYTES_MAX:
            raise Refused(
                f"the log {self._path} ends in lines that are not records",
                remedy="find out who wrote there (finance signing-proxy log verify), then begin a new log",
            )
        if last is None and not broken and parts[-1] != self._path:
            raise Refused(
                f"the log goes on in {parts[-1].name}, which is empty, and the part before it is gone",
                remedy="put that part back: only the chain's last record says how it goes on",
            )
        if torn:
            self._write(b"\n")  # from here on it is a line
        self._head = NO_RECORD if last is None else LogHead(int(last["seq"]), bytes.fromhex(last["hash"]))
        self._sound = True
        if broken:
            self._append({"event": "recovered", "torn_sha256": torn_hash(broken)})


def torn_hash(broken: Sequence[bytes]) -> str:
    """What a `recovered` record says of the lines before it that are not records."""
    return hashlib.sha256(b"\n".join(broken)).hexdigest()


def parse_line(line: bytes) -> Record | None:
    """The record of a line (without LF) whose hash fits; None for anything else. The chain is not checked."""
    try:
        found = decode(line)
    except ValueError:
        return None
    record = {name: value for name, value in found.items() if isinstance(value, str)}
    if len(record) != len(found) or not is_hash(record.get("hash")) or not is_decimal(record.get("seq", "")):
        return None
    previous = record.get("prev_hash")
    if previous is not None and not is_hash(previous):
        return None
    body: dict[str, object] = {name: value for name, value in record.items() if name != "hash"}
    digest = link(encode(body), None if previous is None else bytes.fromhex(previous))
    return record if digest.hex() == record["hash"] else None


def _ends_whole(part: Path) -> bool:
    with part.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _plain(text: str) -> str:
    """ASCII, whatever a name was written in, and no longer than a line bears: a record must never fail for a name."""
    plain = text.encode("ascii", "backslashreplace").decode("ascii").replace("\0", "\\0")
    return plain if len(plain) <= VALUE_CHARS_MAX else plain[: VALUE_CHARS_MAX - 3] + "..."
