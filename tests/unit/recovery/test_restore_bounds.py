"""A restore unpacks what was signed for and no more: no bomb, no place outside the target, nothing but files."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pyrage import x25519

from finance.recovery.backup.base.plan import RestorePlan, Target
from finance.recovery.backup.base.restore import RestoreTerms, restore
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.manifest import BackupPart, digest_of
from finance.recovery.backup.place.seal import pack, seal, unpack
from finance.recovery.backup.tools import Tools
from ledger_core.errors import Refused
from tests.simulator.place import MemoryPlace
from tests.unit.recovery.test_backup_plan import NOON, backup

IDENTITY = x25519.Identity.generate()
RECIPIENTS = [IDENTITY.to_public()]
MEGABYTE = 2**20


def tar_of(name: str, change: Callable[[tarfile.TarInfo], None], data: bytes = b"x") -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        change(member)
        tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return plain.getvalue()


def gzipped(plain: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packer.compress(plain) + packer.flush()


def restored(stored: bytes, plain: bytes, folder: Path) -> str:
    """What a restore says of a backup that signed for `plain` and holds `stored`."""
    sealed = seal(stored, RECIPIENTS)
    place = MemoryPlace("place")
    part = BackupPart(key="7/base/b/part-00001.age", size_bytes=str(len(sealed)), sha256=digest_of(sealed))
    place.put(part.key, sealed, passing=False)
    whole = backup(1, NOON, parts=(part,), size_bytes=str(len(plain)), sha256=digest_of(plain))
    terms = RestoreTerms(Copies([place]), [IDENTITY], Tools(None, {}), None, lambda _: None)
    with pytest.raises(Refused) as refused:
        restore(terms, RestorePlan(whole, Target("latest"), 1), folder / "data")
    assert not (folder / "data").exists()
    return refused.value.message


def _link(to: str) -> Callable[[tarfile.TarInfo], None]:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname, member.size = tarfile.SYMTYPE, to, 0

    return change


def _of(kind: bytes) -> Callable[[tarfile.TarInfo], None]:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.size, member.linkname = kind, 0, "PG_VERSION"

    return change


HOSTILE = {
    "an absolute path": ("/tmp/outside-of-it", lambda _: None),
    "a path that leads out": ("../outside-of-it", lambda _: None),
    "a link that leads out": ("pg_wal", _link("/etc")),
    "a link that stays inside": ("pg_wal", _link("base")),
    "a hard link": ("pg_wal", _of(tarfile.LNKTYPE)),
    "a FIFO": ("pg_wal", _of(tarfile.FIFOTYPE)),
    "a device": ("pg_wal", _of(tarfile.CHRTYPE)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_but_files_below_the_target_is_unpacked(tmp_path: Path, what: str) -> None:
    name, change = HOSTILE[what]
    plain = tar_of(name, change)
    assert "cannot be unpacked" in restored(gzipped(plain), plain, tmp_path)
    assert not (tmp_path / "outside-of-it").exists()
    assert not Path("/tmp/outside-of-it").exists()


def test_a_backup_that_opens_to_more_than_was_signed_for_is_refused_where_it_does(tmp_path: Path) -> None:
    bomb = tar_of("big", lambda _: None, bytes(64 * MEGABYTE))
    signed = tar_of("big", lambda _: None)
    assert "more than the" in restored(gzipped(bomb), signed, tmp_path)
    making = tmp_path / "data.restoring" / "big"
    assert not making.exists() or making.stat().st_size <= 2 * MEGABYTE


@pytest.mark.parametrize("stored", [b"no gzip", gzipped(bytes(1000))[:-6], gzipped(b"no tar" * 1000), b""])
def test_what_is_no_backup_is_refused(tmp_path: Path, stored: bytes) -> None:
    plain = tar_of("PG_VERSION", lambda _: None)
    message = restored(stored, plain, tmp_path)
    assert "cannot be unpacked" in message or "other bytes than were signed for" in message


def test_a_segment_of_wal_that_opens_to_more_is_refused() -> None:
    bomb = pack(bytes(64 * MEGABYTE), RECIPIENTS)
    assert len(unpack(bomb, [IDENTITY], "w", 64 * MEGABYTE)) == 64 * MEGABYTE
    for stored, said in (
        (bomb, "opens to more than 1,048,576 bytes"),
        (seal(gzipped(b"x" * 1000)[:-6], RECIPIENTS), "half a file"),
        (seal(b"no gzip", RECIPIENTS), "no gzip|half a file"),
    ):
        with pytest.raises(Refused, match=said):
            unpack(stored, [IDENTITY], "w", MEGABYTE)
