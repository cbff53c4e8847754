"""An auditor's bundle as a file on disk: written member by member, and checked as an auditor does.

Guarantees: memory is that of the biggest member; what is written is synced, in the one spelling of a bundle's ZIP file
(`ledger_core.bundle.zip_form`); only a regular file is read.
Does not: gather what is in it (`bundle_making`), or judge (`ledger_core.verify.bundles.whole`).
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ledger_core.bundle.zip_form import ZipMember, directory, local_header, placed
from ledger_core.errors import Refused
from ledger_core.findings import Report
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.audit import AuditLines
from ledger_core.verify.oracle import verify_bundle
from schemas.read_file import open_file

Provide = Callable[[], bytes]  # the bytes of a member, when they are needed


def write_zip(path: Path, contents: Mapping[str, Provide]) -> str:
    """Write the file and sync it; its SHA-256, hex. Memory is that of the biggest member."""
    sized: Iterable[ZipMember] = (
        ZipMember(name, len(data), zlib.crc32(data)) for name in sorted(contents) for data in [contents[name]()]
    )
    listed, digest = placed(sized), hashlib.sha256()
    with path.open("wb") as file:
        for piece in _pieces(listed, contents):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _pieces(listed: Sequence[ZipMember], contents: Mapping[str, Provide]) -> Iterator[bytes]:
    for member in listed:
        data = contents[member.name]()
        if len(data) != member.size_bytes:
            raise Refused(f"{member.name} changed while it was written", remedy="run the command again")
        yield local_header(member)
        yield data
    yield from directory(listed)


def verify_file(path: Path, registry: SignerRegistry, audit_lines: AuditLines | None = None) -> Report:
    """Check a bundle on disk. Raises Refused for what is not a regular file, and OSError."""
    with open_file(path) as file:
        size_bytes = file.seek(0, os.SEEK_END)

        def read_at(at: int, count: int) -> bytes:
            file.seek(at)
            return file.read(count)

        return verify_bundle(read_at, size_bytes, registry, audit_lines=audit_lines)
