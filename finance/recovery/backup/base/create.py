"""Taking a base backup: pg_basebackup's tar, compressed, cut into parts, encrypted, stored; then the signed manifest.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. SWEEP: lock, remove the parts that a killed run left
  2. STORE: pg_basebackup | gzip | parts (age) -> place     a crash leaves parts without a manifest: no backup
  3. SIGN the manifest                                      a crash forgets it
  4. PUT the manifest                                       the commit point: before it there is no backup

Guarantees: the backup holds the WAL it needs to become consistent (`--wal-method=fetch`), so it restores without any
other file; memory stays at a few parts, whatever the size of the database; a killed run leaves no backup, and the next
one removes its parts.
Does not: prune.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Protocol, cast

from isal import isal_zlib
from pyrage import x25519

from finance.recovery.backup.base import pages
from finance.recovery.backup.place.catalogue import read_catalogue
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import manifest_key, part_key
from finance.recovery.backup.place.manifest import (
    BackupManifest,
    BackupPart,
    BackupPayload,
    digest_of,
    parse_backup_manifest,
)
from finance.recovery.backup.place.seal import COMPRESSION_LEVEL, seal
from finance.recovery.backup.place.statement import JUST_MADE, check_counts
from finance.recovery.backup.place.wal_list import join
from finance.recovery.backup.tools import Tools, failed
from ledger_core.postgres.recovery.replication import ServerIdentity, hold_backup_lock, identify
from ledger_core.postgres.session import session
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import assemble
from ledger_core.times import format_time

PART_BYTES = 16 * 2**20
READ_BYTES = 2**20


class Advance(Protocol):
    def __call__(self, count: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What a backup takes from outside. `new_id` gives 8 hex digits, `clock` UTC times."""

    dsn: str  # of the server, with the right to replicate
    env: str  # environment, such as prod
    tools: Tools
    copies: Copies
    recipients: Sequence[x25519.Recipient]  # age keys that can open the backup
    signer: PinnedSigner
    registry: SignerRegistry
    clock: Callable[[], dt.datetime]
    new_id: Callable[[], str]


def create(terms: Terms, advance: Advance) -> BackupManifest:
    """Take one backup; `advance` counts bytes of the plain tar. Raises Refused, Unavailable, Corrupt."""
    with session(terms.dsn, application_name="finance backup") as connection:
        # 1. SWEEP. The lock ends with the session, so what has no manifest was left by a run that is over.
        hold_backup_lock(connection)
        server = identify(connection)
        catalogue = read_catalogue(terms.copies, server.system_identifier, terms.registry)
        for key in catalogue.unfinished:
            terms.copies.delete(key)
        started_at = terms.clock()
        backup_id = f"{started_at:%Y%m%dT%H%M%SZ}-{terms.new_id()}"
        stored = _Stored(terms, server.system_identifier, backup_id)
        # 2. STORE. Each part under the digest of its bytes. A crash leaves them, and the next run removes them.
        needs = _copy(terms, stored, advance)
        payload = _payload(terms, server, backup_id, started_at, stored, needs)
        # 3. SIGN. A crash forgets it, and the parts are nobody's: the next backup is taken from its beginning.
        manifest = assemble(payload, BackupManifest, terms.signer.sign_digest(payload.digest()))
        # A backup takes hours: its key may have ended since, and then the manifest would never be read.
        made = check_counts(manifest, parse_backup_manifest, terms.registry, lambda _made: JUST_MADE)
        # 4. PUT. A crash before: there is no backup; after: it is whole, and every part is pinned by its digest.
        terms.copies.put(manifest_key(server.system_identifier, backup_id), manifest)
    return made


class _Stored:
    """The compressed stream, cut into parts that are encrypted and stored as they fill."""

    def __init__(self, terms: Terms, system_identifier: str, backup_id: str) -> None:
        self._terms = terms
        self._system = system_identifier
        self._backup_id = backup_id
        self._compress = isal_zlib.compressobj(COMPRESSION_LEVEL, isal_zlib.DEFLATED, 31)
        self._waiting = bytearray()
        self._plain = hashlib.sha256()
        self.size_bytes = 0
        self.parts: list[BackupPart] = []

    def write(self, data: bytes) -> None:
        self._plain.update(data)
        self.size_bytes += len(data)
        self._waiting += self._compress.compress(data)
        while len(self._waiting) >= PART_BYTES:
            self._store(bytes(self._waiting[:PART_BYTES]))
            del self._waiting[:PART_BYTES]

    def finish(self) -> str:
        """Store the rest; the digest of the plain stream."""
        self._waiting += self._compress.flush()
        if self._waiting:
            self._store(bytes(self._waiting))
        return self._plain.hexdigest()

    def _store(self, piece: bytes) -> None:
        data = seal(piece, self._terms.recipients)
        sha256 = digest_of(data)
        key = part_key(self._system, self._backup_id, len(self.parts) + 1, sha256)
        self._terms.copies.put(key, data)
        self.parts.append(BackupPart(key=key, size_bytes=str(len(data)), sha256=sha256))


def _copy(terms: Terms, stored: _Stored, advance: Advance) -> pages.WalRange:
    """Run pg_basebackup and store what it gives; the WAL that its backup needs."""
    arguments = ["--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast"]
    arguments += ["--manifest-checksums=SHA256", "--label=finance", "--no-sync"]
    with tempfile.TemporaryFile() as stderr:
        tool = terms.tools.start("pg_basebackup", arguments, terms.dsn, stderr)
        try:
            assert tool.stdout is not None  # noqa: S101  # it was asked for
            tee = _Tee(tool.stdout, stored, advance)
            try:
                listed = _file_list(tee)
            except (tarfile.TarError, EOFError):
                listed = None
            tee.drain()
            code = tool.wait()
        finally:
            tool.kill()
            tool.wait()
        if code or listed is None:
            raise failed("pg_basebackup", code, stderr)
    return pages.wal_range(listed)


def _file_list(tee: _Tee) -> bytes | None:
    """Read the whole tar (so it is well-formed) and return its backup_manifest."""
    listed: bytes | None = None
    with tarfile.open(fileobj=cast(IO[bytes], tee), mode="r|", bufsize=READ_BYTES) as tar:
        for member in tar:
            if member.name == pages.NAME:
                handle = tar.extractfile(member)
                listed = handle.read() if handle else None
            tar.members.clear()  # type: ignore[attr-defined]  # a stream keeps none of them: a large cluster has hundreds of thousands of files
    return listed


class _Tee:
    """What is read from the tool is stored as it passes by."""

    def __init__(self, source: IO[bytes], stored: _Stored, advance: Advance) -> None:
        self._source = source
        self._stored = stored
        self._advance = advance

    def read(self, size: int = READ_BYTES) -> bytes:
        data = self._source.read(size)
        if data:
            self._stored.write(data)
            self._advance(len(data))
        return data

    def drain(self) -> None:
        while self.read():
            continue


def _payload(
    terms: Terms,
    server: ServerIdentity,
    backup_id: str,
    started_at: dt.datetime,
    stored: _Stored,
    needs: pages.WalRange,
) -> BackupPayload:
    sha256 = stored.finish()
    before = read_catalogue(terms.copies, server.system_identifier, terms.registry)
    listed = before.listed
    if listed.faults:  # a backup is worth more than what it would say of them
        listed = join([], ())
    return BackupPayload(
        version=1,
        service="finance",
        statement="backup",
        env=terms.env,
        backup_id=backup_id,
        system_identifier=server.system_identifier,
        server_version=str(server.version),
        timeline=str(needs.timeline),
        segment_bytes=str(server.segment_bytes),
        start_lsn=str(needs.start_lsn),
        stop_lsn=str(needs.stop_lsn),
        started_at=format_time(started_at),
        finished_at=format_time(terms.clock()),
        size_bytes=str(stored.size_bytes),
        sha256=sha256,
        parts=tuple(stored.parts),
        wal_files=str(listed.count),
        wal_link=listed.link,
        backups_before=tuple(backup.hash for backup in before.backups),
        signer_kid=terms.signer.kid,
        alg=terms.signer.algorithm,
    )
