"""The one way to read a file that somebody else made, in bounded memory and without waiting for anybody.

Guarantees: only a regular file is read (a symbolic link may lead to one, as mounted secrets do): a FIFO would wait for
its writer, a device has no end. No more than a limit is ever held, whatever the file's size says of itself.
Does not: judge who may write to a file (`finance.guards.file_guards` does), or what is in it.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Final, cast

from ledger_core.errors import Refused

MIB: Final = 2**20
SETTINGS_BYTES_MAX: Final = MIB  # settings, keys, certificates, policies
STATEMENT_BYTES_MAX: Final = 16 * MIB  # a signer registry, a signed statement, the state of a command
OBJECT_BYTES_MAX: Final = 512 * MIB  # an archived object as it is stored
LINE_BYTES_MAX: Final = 8 * MIB  # of JSON lines
GZIP_MAGIC: Final = b"\x1f\x8b"


def open_file(path: Path) -> BufferedReader:
    """Open a regular file for reading, without waiting. Raises Refused for anything else, and OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Refused(
                f"{path} is not a regular file", remedy="name a file on disk; save what comes out of a pipe first"
            )
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_file(path: Path, bytes_max: int) -> bytes:
    """The whole content. Raises Refused for another kind of file, or a longer one than `bytes_max`, and OSError."""
    with open_file(path) as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise Refused(f"{path} is longer than {bytes_max:,} bytes", remedy="name the file that is meant")
    return data


def read_text(path: Path, bytes_max: int, encoding: str = "utf-8") -> str:
    """The whole content as text. Raises as `read_file`, and ValueError where it is not in that encoding."""
    return read_file(path, bytes_max).decode(encoding)


def lines_of(file: IO[bytes], place: str, bytes_max: int = LINE_BYTES_MAX) -> Iterator[bytes]:
    """The lines, LF included. Raises Refused at one that is longer than `bytes_max`, and what the file raises."""
    while line := file.readline(bytes_max + 1):
        if len(line) > bytes_max:
            raise Refused(
                f"{place} has a line of more than {bytes_max:,} bytes",
                remedy="name a file of JSON lines, gzip or plain",
            )
        yield line


class FileLines:
    """The lines of a file, gzip or plain, LF included; read anew at each iteration, which raises Refused."""

    def __init__(self, path: Path, bytes_max: int = LINE_BYTES_MAX) -> None:
        self._path, self._bytes_max = path, bytes_max

    def __iter__(self) -> Iterator[bytes]:
        try:
            with open_file(self._path) as stored:
                packed = stored.read(len(GZIP_MAGIC)) == GZIP_MAGIC
                stored.seek(0)
                file = cast("IO[bytes]", gzip.GzipFile(fileobj=stored)) if packed else stored
                yield from lines_of(file, str(self._path), self._bytes_max)
        except (OSError, EOFError, zlib.error) as error:
            raise Refused(f"{self._path} cannot be read ({error})", remedy="name another file") from error
