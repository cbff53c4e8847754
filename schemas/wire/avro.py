"""Avro's binary encoding for the few types we use, and the Confluent frame around it.

Written by hand because it is the hottest loop of the service: two to three times faster than a general reader driven by
a schema. Property tests prove byte equality with fastavro in both directions; nothing here knows a schema.
Sources: Avro specification 1.12, "Binary Encoding"; Confluent wire format (0x00, 4-byte big-endian schema id, body).

Readers take `(value, at)` and give `(result, next)`. They raise IndexError at the end of the bytes and ValueError
(UnicodeDecodeError among them) on bad content. A slice may run past the end: the caller's next read raises, and its
last check compares the position with the length. Every item read consumes at least one byte, so no count is a bomb.
"""

from __future__ import annotations

from typing import Final

FRAME_BYTES: Final = 5  # magic byte and schema id
_CONTINUES: Final = 0x80


def frame(schema_id: int) -> bytes:
    """The five bytes before every body."""
    return b"\x00" + schema_id.to_bytes(4, "big")


def read_long(value: bytes, at: int) -> tuple[int, int]:
    """A zig-zag varint of at most ten bytes and 64 bits, in its shortest form: one number, one spelling. Raises
    ValueError on any other.
    """
    bits = shift = 0
    while (byte := value[at]) >= _CONTINUES:
        bits |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if shift > 63:
            raise ValueError("an integer longer than 64 bits")
    if shift:
        if not byte:
            raise ValueError("an integer with bytes it does not need")
        bits |= byte << shift
        if bits >> 64:
            raise ValueError("an integer longer than 64 bits")
    else:
        bits = byte
    return (bits >> 1) ^ -(bits & 1), at + 1


def read_span(value: bytes, at: int) -> tuple[int, int]:
    """A length prefix: where the bytes it announces start and end. Raises ValueError when it is negative."""
    size, at = read_long(value, at)
    if size < 0:
        raise ValueError("a negative length")
    return at, at + size


def read_bytes(value: bytes, at: int) -> tuple[bytes, int]:
    at, end = read_span(value, at)
    return value[at:end], end


def read_text(value: bytes, at: int) -> tuple[str, int]:
    size = value[at]
    if size & 0x81:  # two or more bytes, or negative
        at, end = read_span(value, at)
    else:
        at += 1
        end = at + (size >> 1)
    return value[at:end].decode(), end


def read_is_present(value: bytes, at: int) -> tuple[bool, int]:
    """The branch of a union [null, X]: False for null. Raises ValueError on any other branch."""
    branch = value[at]
    if branch == 2:
        return True, at + 1
    if branch == 0:
        return False, at + 1
    raise ValueError("a union branch that is not in the schema")


def read_count(value: bytes, at: int) -> tuple[int, int]:
    """The count of an array's or a map's next block; 0 ends it. A negative count is followed by the block's size."""
    count, at = read_long(value, at)
    if count < 0:
        _, at = read_long(value, at)
        count = -count
    return count, at


def read_text_map(value: bytes, at: int) -> tuple[dict[str, str], int]:
    """A map of texts. A key that comes twice is refused: readers would differ on which one counts. Raises ValueError
    then.
    """
    found: dict[str, str] = {}
    total = 0
    while True:
        count, at = read_count(value, at)
        if not count:
            break
        total += count
        for _ in range(count):
            key, at = read_text(value, at)
            found[key], at = read_text(value, at)
    if len(found) != total:
        raise ValueError("a map with the same key twice")
    return found, at


def put_long(number: int) -> bytes:
    """A zig-zag varint. Raises ValueError outside 64 bits."""
    bits = (number << 1) ^ (number >> 63)
    if 0 <= bits < 0x4000:
        return _UP_TO_TWO_BYTES[bits]
    if 0 <= bits < 0x200000:  # a sequence or an offset below a million, without the loop
        return bytes((bits & 0x7F | 0x80, bits >> 7 & 0x7F | 0x80, bits >> 14))
    if not 0 <= bits < 1 << 64:
        raise ValueError(f"{number} does not fit into 64 bits")
    out = bytearray()
    while bits > 0x7F:
        out.append(bits & 0x7F | 0x80)
        bits >>= 7
    out.append(bits)
    return bytes(out)


_ONE_BYTE: Final = tuple(bytes((byte,)) for byte in range(0x80))
_UP_TO_TWO_BYTES: Final = _ONE_BYTE + tuple(bytes((n & 0x7F | 0x80, n >> 7)) for n in range(0x80, 0x4000))


def put_bytes(data: bytes) -> bytes:
    return put_long(len(data)) + data


def put_text(text: str) -> bytes:
    data = text.encode()
    size = len(data)
    return (_ONE_BYTE[size << 1] if size < 64 else put_long(size)) + data


def put_text_map(texts: dict[str, str]) -> bytes:
    if not texts:
        return b"\x00"
    parts = [put_long(len(texts))]
    for key, text in texts.items():
        parts += (put_text(key), put_text(text))
    parts.append(b"\x00")
    return b"".join(parts)
