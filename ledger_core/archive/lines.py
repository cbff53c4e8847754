"""The lines of a stored batch out of its gzip, in bounded memory: the one way in for whoever reads what is archived.

Guarantees: what is taken is exactly one gzip member (or, for `line_blocks`, plain JSON lines) of LF-ended lines of at
most LINE_BYTES_MAX, give or take a block; memory is that of a line and a block, whatever the data claims to hold.
Does not: parse a line.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final, cast

from isal import igzip_lib, isal_zlib

LINE_BYTES_MAX: Final = 8 * 1024 * 1024  # twice over what a message of the journal topic can hold
BLOCK_BYTES: Final = 192 * 1024  # small enough that a block, decoded, stays in the processor's second-level cache
GZIP_MAGIC: Final = b"\x1f\x8b"

GzipError = cast(type[Exception], igzip_lib.IsalError)  # its stub calls the class an instance


def line_blocks(data: bytes) -> Iterator[bytes]:
    """Blocks of whole lines, of about BLOCK_BYTES, out of gzip or plain JSON lines.

    Raises ValueError for what is not exactly one gzip member, or not lines of at most LINE_BYTES_MAX each ended by LF.
    """
    return _whole_lines(_inflated(data) if data.startswith(GZIP_MAGIC) else _sliced(data))


def batch_lines(data: bytes) -> Iterator[bytes]:
    """The lines of a stored batch without their LF, one by one.

    Raises ValueError for what is not exactly one gzip member of LF-ended lines of at most LINE_BYTES_MAX.
    """
    for block in _whole_lines(_inflated(data)):
        yield from block[:-1].split(b"\n")


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            yield rest + chunk[:end]
            rest = chunk[end:]
        else:
            rest += chunk
        if len(rest) > LINE_BYTES_MAX:
            raise ValueError(f"a line of more than {LINE_BYTES_MAX} bytes")
    if rest:
        raise ValueError("the last line is not ended by LF")


def _sliced(data: bytes) -> Iterator[bytes]:
    return (data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES))


def _inflated(data: bytes) -> Iterator[bytes]:
    inflate = isal_zlib.decompressobj(zlib.MAX_WBITS | 16)  # three times the speed of zlib, the same bytes
    try:
        while not inflate.eof:
            chunk = inflate.decompress(data, BLOCK_BYTES)
            data = inflate.unconsumed_tail
            if not chunk and not data and not inflate.eof:
                raise ValueError("the batch ends in the middle of its gzip member")
            yield chunk
    except GzipError as error:
        raise ValueError(f"not gzip: {error}") from None
    if inflate.unused_data:
        raise ValueError("bytes follow the gzip member")
