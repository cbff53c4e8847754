"""The one spelling of a bundle's ZIP file (APPNOTE 6.3.10): stored members, sorted, fixed time, no byte beside. Pure.

    [local header, bytes]*  [central header]*  [ZIP64 end record and locator, where needed]  end record

Guarantees: the same members give the same headers. `read_members` takes a file only when every header is exactly what
would be written for its names, sizes and CRCs, each at its place: so nothing is compressed, nothing stands twice, no
name leads elsewhere, local and central headers agree, and no byte precedes, follows or lies between. It reads nothing
but headers.
Does not: read a member's bytes, or say that they are sound.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ledger_core.archive.bundle_names import is_member_name

VERSION: Final = 20  # needed to extract: 2.0; 4.5 where ZIP64 fields stand
VERSION_ZIP64: Final = 45
DOS_DATE: Final = 33  # 1980-01-01
MEMBER_BYTES_MAX: Final = 512 * 2**20  # as an archived object may have
MEMBERS_MAX: Final = 2_000_000
DIRECTORY_BYTES_MAX: Final = 512 * 2**20
U16, U32 = 0xFFFF, 0xFFFFFFFF
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
END_BYTES_MAX: Final = _END64.size + _LOCATOR.size + _END.size


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One member of the file. Sizes and places in bytes."""

    name: str  # ASCII; see members
    size_bytes: int  # of its bytes
    crc32: int  # of its bytes
    header_at: int = 0  # where its local header begins

    @property
    def data_at(self) -> int:
        """Where its bytes begin."""
        return self.header_at + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        """Where the next header begins."""
        return self.data_at + self.size_bytes


def placed(members: Iterable[ZipMember]) -> list[ZipMember]:
    """The members, each at its place behind the one before it."""
    made, at = [], 0
    for member in members:
        made.append(ZipMember(member.name, member.size_bytes, member.crc32, at))
        at = made[-1].end
    return made


def local_header(member: ZipMember) -> bytes:
    """What stands before the member's bytes."""
    name = member.name.encode("ascii")
    size = member.size_bytes
    return _LOCAL.pack(b"PK\x03\x04", VERSION, 0, 0, 0, DOS_DATE, member.crc32, size, size, len(name), 0) + name


def directory(members: Iterable[ZipMember]) -> Iterator[bytes]:
    """What follows the last member: central headers, and the end."""
    count = size = at = 0
    for member in members:
        header = _central(member)
        count, size, at = count + 1, size + len(header), member.end
        yield header
    yield _end(count, size, at)


def read_members(read: Callable[[int, int], bytes], size_bytes: int) -> list[ZipMember]:
    """The members of a file of that size; `read(at, count)` gives so many bytes of it. Raises ValueError when it is
    not a bundle's ZIP file in its one spelling."""
    if size_bytes < _END.size:
        raise ValueError("it is empty, or too short to be a ZIP file")
    end = read(size_bytes - _END.size, _END.size)
    if end[:4] != b"PK\x05\x06":
        raise ValueError("the end record of a ZIP file is not at the end: cut off, or bytes follow it")
    _, _, _, _, count, directory_bytes, directory_at, _ = _END.unpack(end)
    if count == U16 or U32 in (directory_bytes, directory_at):
        count, directory_bytes, directory_at = _read_end64(read, size_bytes)
    ends = size_bytes - directory_at - directory_bytes  # bytes of the end records
    if count > MEMBERS_MAX or directory_bytes > DIRECTORY_BYTES_MAX or not 0 <= ends <= END_BYTES_MAX:
        raise ValueError("the end record names more than the file holds, or than is read")
    data = read(directory_at, size_bytes - directory_at)
    members = placed(_read_central(data, count))
    if b"".join(directory(members)) != data:
        raise ValueError("the central directory is not in its one spelling")
    if (members[-1].end if members else 0) != directory_at:
        raise ValueError("members and central directory do not follow each other without a gap")
    for member in members:
        header = local_header(member)
        if read(member.header_at, len(header)) != header:
            raise ValueError(f"the local header of {member.name} is not that of the central directory")
    return members


def _central(member: ZipMember) -> bytes:
    name, size, far = member.name.encode("ascii"), member.size_bytes, member.header_at >= U32
    extra = struct.pack("<2HQ", 1, 8, member.header_at) if far else b""
    version = VERSION_ZIP64 if far else VERSION
    at = U32 if far else member.header_at
    fields = (version, version, 0, 0, 0, DOS_DATE, member.crc32, size, size, len(name), len(extra), 0, 0, 0, 0, at)
    return _CENTRAL.pack(b"PK\x01\x02", *fields) + name + extra


def _end(count: int, size: int, at: int) -> bytes:
    small = _END.pack(b"PK\x05\x06", 0, 0, min(count, U16), min(count, U16), min(size, U32), min(at, U32), 0)
    if count < U16 and size < U32 and at < U32:
        return small
    end64 = _END64.pack(b"PK\x06\x06", 44, VERSION_ZIP64, VERSION_ZIP64, 0, 0, count, count, size, at)
    return end64 + _LOCATOR.pack(b"PK\x06\x07", 0, at + size, 1) + small


def _read_end64(read: Callable[[int, int], bytes], size_bytes: int) -> tuple[int, int, int]:
    at = size_bytes - _END.size - _LOCATOR.size - _END64.size
    if at < 0:
        raise ValueError("the ZIP64 end record is missing")
    fields = _END64.unpack(read(at, _END64.size))
    if fields[0] != b"PK\x06\x06":
        raise ValueError("the ZIP64 end record is missing")
    return fields[7], fields[8], fields[9]


def _read_central(data: bytes, count: int) -> Iterator[ZipMember]:
    at, before = 0, ""
    for _ in range(count):
        if len(data) - at < _CENTRAL.size:
            raise ValueError("the central directory ends in the middle of a header")
        fields = _CENTRAL.unpack_from(data, at)
        name_bytes, extra_bytes, size = fields[10], fields[11], fields[9]
        raw = data[at + _CENTRAL.size : at + _CENTRAL.size + name_bytes]
        name = raw.decode("ascii", "backslashreplace")
        if not is_member_name(name):
            raise ValueError(f"{name[:80]!r} is not the name of a member")
        if name <= before:
            raise ValueError(f"{name} stands twice, or out of order")
        if size > MEMBER_BYTES_MAX:
            raise ValueError(f"{name} has more than {MEMBER_BYTES_MAX:,} bytes")
        yield ZipMember(name, size, fields[7])
        at, before = at + _CENTRAL.size + name_bytes + extra_bytes, name
