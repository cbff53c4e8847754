"""Restoring: digests first, then a data directory beside its place, moved there when it is whole.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. READ what is needed, compare digests (heal)      nothing is written but what heals a copy; a fault is named
  2. MAKE TARGET.restoring: unpack, compare with the server's own list, WAL, settings    a crash leaves it, unused
  3. RENAME it to TARGET                              the commit point: before it there is nothing

All WAL lies in pg_wal when the server starts, so recovery needs neither our tools, nor the place, nor a private key.

Guarantees: a target that is not empty is refused; the files are those that the server wrote (its
`backup_manifest`), recovered to the target and no further.
Does not: start a server (`finance.recovery.backup.base.cluster` does) or touch the one that was lost.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from isal import isal_zlib
from pyrage import x25519

from finance.recovery.backup import wal
from finance.recovery.backup.base import pages
from finance.recovery.backup.base.plan import Choice, RestorePlan, Target, make_plan, parse_histories
from finance.recovery.backup.place.catalogue import Catalogue
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import WalFile
from finance.recovery.backup.place.manifest import BackupManifest
from finance.recovery.backup.place.seal import unpack, unseal
from finance.recovery.backup.tools import Tools
from ledger_core.archive.lines import GzipError
from ledger_core.errors import Refused, Unavailable
from schemas.read_file import SETTINGS_BYTES_MAX, read_text

CHUNK_BYTES: Final = 2**20
RESTORING: Final = ".restoring"
COMMIT_TIME: Final = re.compile(r"desc: COMMIT(?:_PREPARED)? (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")

SETTINGS: Final = """
# Written by `finance backup restore`: backup {backup}, to {target}.
restore_command = 'false'    # everything that recovery reads lies in pg_wal
recovery_target_timeline = '{timeline}'
recovery_target_action = 'promote'
"""


@dataclass(frozen=True, slots=True)
class RestoreTerms:
    """What a restore takes from outside. `owner`: uid and gid of the server's OS user, when we are root."""

    copies: Copies
    identities: Sequence[x25519.Identity]  # age keys that open the backup
    tools: Tools
    owner: tuple[int, int] | None
    advance: Callable[[int], None]  # called with stored bytes as they are read


@dataclass(frozen=True, slots=True)
class RestoredCluster:
    """A data directory that waits for its server to be started."""

    directory: Path  # PGDATA
    backup: BackupManifest  # that it began from
    target: Target  # where recovery will stop
    wal_files: int  # in pg_wal
    stored_bytes: int  # read from the place
    ignored: tuple[str, ...]  # WAL beyond what was needed that was not sound
    unsigned: tuple[str, ...]  # WAL that was used, and that no list signs for


def plan_of(terms: RestoreTerms, catalogue: Catalogue, target: Target, choice: Choice) -> RestorePlan:
    """What to read. Raises Refused."""
    texts = {
        name: unpack(terms.copies.read(file.key, file.sha256), terms.identities, file.key, SETTINGS_BYTES_MAX).decode()
        for name, file in catalogue.histories.items()
    }
    return make_plan(catalogue, target, choice, histories=parse_histories(texts), place=terms.copies.name)


def restore(terms: RestoreTerms, plan: RestorePlan, directory: Path) -> RestoredCluster:
    """Make the data directory. Raises Refused, naming the file that is missing, altered or does not open; Unavailable
    when the disk or the place does not take or give it."""
    try:
        return _restore(terms, plan, directory)
    except OSError as error:
        raise Unavailable("disk", f"{error.filename or directory}: {error.strerror or error}") from error


def _restore(terms: RestoreTerms, plan: RestorePlan, directory: Path) -> RestoredCluster:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Refused(
            f"{directory} is not empty", remedy="restore into a new directory; nothing is ever written over a database"
        )
    # 1. READ. Before hours of work: a crash, or a fault, leaves nothing behind.
    newest = _hold_newest(terms, plan)
    faults = terms.copies.check(plan.files()[: None if newest is None else -1], terms.advance, everywhere=False)
    if faults:
        raise Refused(
            "; ".join(faults), remedy="name a second place with --also, or restore from another backup (--backup)"
        )
    # 2. MAKE. Beside the target, from its beginning: what a killed run left there is thrown away.
    making = directory.with_name(directory.name + RESTORING)
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700, parents=True)
    _unpack(terms, plan.backup, making)
    fault = pages.fault_in(making)
    if fault is not None:
        raise Refused(
            f"backup {plan.backup.backup_id} is not what the server wrote: {fault}",
            remedy="restore from another backup (--backup)",
        )
    _drop_socket_locks(making)
    used, ignored = _lay_wal(terms, plan, making, newest)
    target = _reachable(terms, plan, used)
    settings = making / "postgresql.auto.conf"
    settings.write_text(_settings(plan, target, read_text(settings, SETTINGS_BYTES_MAX)), encoding="utf-8")
    (making / "recovery.signal").touch(mode=0o600)
    _hand_over(making, terms.owner)
    os.sync()
    # 3. RENAME. A crash before: no data directory, run it again; after: it is whole, and on the disk.
    if directory.exists():
        directory.rmdir()
    making.rename(directory)
    os.sync()
    return RestoredCluster(directory, plan.backup, target, len(used), plan.backup.stored_bytes, ignored, plan.unsigned)


def _unpack(terms: RestoreTerms, backup: BackupManifest, making: Path) -> None:
    plain = _Plain(_inflated(terms, backup), int(backup.size_bytes))
    try:
        with tarfile.open(fileobj=cast(IO[bytes], plain), mode="r|", bufsize=CHUNK_BYTES) as tar:
            tar.extractall(making, filter=_plain_member)  # noqa: S202  # files and folders, below it
    except (tarfile.TarError, GzipError, EOFError) as error:
        raise Refused(
            f"backup {backup.backup_id} cannot be unpacked: {error}", remedy="restore from another backup (--backup)"
        ) from None
    if (plain.drained(), plain.size_bytes) != (backup.sha256, int(backup.size_bytes)):
        raise Refused(
            f"backup {backup.backup_id} opens to other bytes than were signed for",
            remedy="restore from another backup (--backup)",
        )


def _plain_member(member: tarfile.TarInfo, target: str) -> tarfile.TarInfo:
    """A file or a folder below the target. Raises tarfile.FilterError for all else: links, devices, other places."""
    if not (member.isreg() or member.isdir()):
        raise tarfile.SpecialFileError(member)
    if Path(member.name).is_absolute() or ".." in Path(member.name).parts:
        raise tarfile.OutsideDestinationError(member, member.name)
    return tarfile.tar_filter(member, target)


def _drop_socket_locks(making: Path) -> None:
    """Of a server whose sockets lay in its data directory: no server starts over one that names a living process of its
    OS user, and the pid of the lost server may have gone to one."""
    for lock in making.glob(".s.PGSQL.*.lock"):
        lock.unlink()


def _inflated(terms: RestoreTerms, backup: BackupManifest) -> Iterator[bytes]:
    """The plain tar in pieces of bounded size."""
    inflate = isal_zlib.decompressobj(31)
    for part in backup.parts:
        data = unseal(terms.copies.read(part.key, part.sha256), terms.identities, part.key)
        while data:
            yield inflate.decompress(data, CHUNK_BYTES)
            data = inflate.unconsumed_tail
    yield inflate.flush()


class _Plain:
    """A reader over pieces, which hashes what passes by, up to `bytes_max`. Raises tarfile.ReadError beyond."""

    def __init__(self, pieces: Iterator[bytes], bytes_max: int) -> None:
        self._pieces = pieces
        self._bytes_max = bytes_max
        self._rest = b""
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._digest.update(piece)
            self.size_bytes += len(piece)
            if self.size_bytes > self._bytes_max:
                raise tarfile.ReadError(f"it opens to more than the {self._bytes_max:,} bytes that were signed for")
            self._rest += piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def drained(self) -> str:
        """The digest of everything, once the rest is read as well."""
        while self.read(CHUNK_BYTES):
            continue
        return self._digest.hexdigest()


def _hold_newest(terms: RestoreTerms, plan: RestorePlan) -> bytes | None:
    """The unfinished segment, read before everything else: a stream that is at work replaces it every few seconds."""
    if not plan.needed or not plan.needed[-1].name.endswith(wal.PARTIAL):
        return None
    return terms.copies.read(plan.needed[-1].key, plan.needed[-1].sha256)


def _lay_wal(
    terms: RestoreTerms, plan: RestorePlan, making: Path, newest: bytes | None
) -> tuple[list[Path], tuple[str, ...]]:
    """Put histories and segments where recovery reads them; what is spare only as far as it is sound."""
    for file in plan.histories:
        _lay(terms, file, making, None, SETTINGS_BYTES_MAX)
    segment_bytes = int(plan.backup.segment_bytes)
    used = [
        _lay(terms, file, making, newest if file is plan.needed[-1] else None, segment_bytes)
        for file in plan.needed
        if _is_news(file, plan.backup)
    ]
    for file in plan.spare:
        try:
            used.append(_lay(terms, file, making, None, segment_bytes))
        except Refused as error:
            return used, (error.message,)
    return used, ()


def _is_news(file: WalFile, backup: BackupManifest) -> bool:
    """A part of a segment that is older than the backup's own copy of it would take back what the backup needs."""
    return not file.name.endswith(wal.PARTIAL) or file.stored_at > backup.finished


def _lay(terms: RestoreTerms, file: WalFile, making: Path, held: bytes | None, bytes_max: int) -> Path:
    sealed = terms.copies.read(file.key, file.sha256) if held is None else held
    data = unpack(sealed, terms.identities, file.key, bytes_max)
    path = making / "pg_wal" / file.name.removesuffix(wal.PARTIAL)
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def _reachable(terms: RestoreTerms, plan: RestorePlan, used: Sequence[Path]) -> Target:
    """A time after the last commit is the latest: the server would search for a commit after it and give up."""
    if plan.target.moment is None:
        return plan.target
    for path in reversed(used):
        code, told = terms.tools.run("pg_waldump", ["--rmgr=Transaction", str(path)])
        if code and "error in WAL record" not in told and "could not find a valid record" not in told:
            raise Refused(  # not where the WAL ends: taken for no commit, it would lead beyond the moment
                f"pg_waldump cannot read {path.name}: {' '.join(told.split())[-300:]}",
                remedy="install the client tools of the server's version of Postgres (PG_BIN)",
            )
        commits = COMMIT_TIME.findall(told)
        if commits:
            last = dt.datetime.fromisoformat(max(commits)).replace(tzinfo=dt.UTC)
            return Target("latest") if last <= plan.target.moment else plan.target
    return Target("latest")


def _settings(plan: RestorePlan, target: Target, before: str) -> str:
    """The settings as they were without those of an earlier restore: the server takes one target, even an empty one."""
    kept = [line for line in before.splitlines() if not line.startswith(("recovery_", "restore_", "primary_"))]
    text = "\n".join(kept) + SETTINGS.format(backup=plan.backup.backup_id, target=plan.target, timeline=plan.timeline)
    if target.kind == "immediate":
        return text + "recovery_target = 'immediate'\n"
    if target.moment is not None:
        return text + f"recovery_target_time = '{target.moment.isoformat(' ')}'\n"
    return text if target.lsn is None else text + f"recovery_target_lsn = '{wal.format_lsn(target.lsn)}'\n"


def _hand_over(making: Path, owner: tuple[int, int] | None) -> None:
    making.chmod(0o700)
    if owner is not None:
        for folder, folders, files in os.walk(making):
            for name in (".", *folders, *files):
                os.chown(Path(folder) / name, *owner, follow_symlinks=False)
