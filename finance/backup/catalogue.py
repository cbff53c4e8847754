"""What a place holds of one cluster: its backups, its WAL, its timelines; and whether all of it is sound.

    <system identifier>/base/<backup id>/manifest.json       signed; a backup without it does not exist
    <system identifier>/base/<backup id>/part-00001-<sha256>.age
    <system identifier>/wal/<segment or history>-<time>-<sha256>.age
    <system identifier>/wal/<segment>.partial-<time>-<sha256>.age      the newest segment, not complete yet
    <system identifier>/stream.json                          how far the stream has come

Guarantees: every file but the two JSON ones has its own digest in its name, so a listing and the bytes are enough to
find what was altered; a gap in the numbers of segments is what is missing.
Does not: decrypt anything: `verify` needs no private identity.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from finance.backup import wal
from finance.backup.copies import Copies
from finance.backup.manifest import MANIFEST, BackupManifest, parse_backup_manifest
from ledger_core.errors import Refused
from ledger_core.signatures import BadSignature, decode_signature, verify_digest
from ledger_core.signers import SignerRegistry

Histories = Mapping[int, tuple[tuple[int, int], ...]]
"""timeline -> (parent, position in bytes at which it was left), oldest first."""

WAL_KEY: Final = re.compile(
    r"(.+?/wal/)([0-9A-F]{24}|[0-9A-F]{24}\.partial|[0-9A-F]{8}\.history)-(\d{13})-([0-9a-f]{64})\.age"
)


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the stream has come: everything from `first` on and before `lsn` (bytes; in `segment`, or at its end) is
    stored, as of `at` (Unix ms)."""

    first: str
    segment: str
    lsn: int
    at: int


@dataclass(frozen=True, slots=True)
class WalFile:
    """One stored file of WAL. `stored_at` is the receiver's clock when the file was complete."""

    key: str
    name: str
    stored_at: dt.datetime
    sha256: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One listing of a place. Backups in order of time; WAL by file name, the newest stored one of each."""

    system_identifier: str
    backups: tuple[BackupManifest, ...]
    broken: tuple[str, ...]  # manifests that cannot be read or do not verify, with the reason
    unfinished: tuple[str, ...]  # keys below base/ that belong to no manifest
    segments: Mapping[str, WalFile]
    partials: Mapping[str, WalFile]
    histories: Mapping[str, WalFile]
    stream: StreamState | None
    sizes: Mapping[str, int] = field(repr=False)


def wal_key(system_identifier: str, name: str, stored_at: dt.datetime, sha256: str) -> str:
    return f"{system_identifier}/wal/{name}-{int(stored_at.timestamp() * 1000):013d}-{sha256}.age"


def base_prefix(system_identifier: str, backup_id: str) -> str:
    return f"{system_identifier}/base/{backup_id}/"


def stream_key(system_identifier: str) -> str:
    return f"{system_identifier}/stream.json"


def systems(copies: Copies) -> list[str]:
    """The clusters that have anything here."""
    return sorted({key.partition("/")[0] for key in copies.sizes("")})


def only_system(copies: Copies, wanted: str | None = None) -> str:
    """The cluster that is meant. Raises Refused when there is none, or several and none was named."""
    found = systems(copies)
    if wanted is not None and wanted in found:
        return wanted
    if not found:
        raise Refused(f"{copies.name} holds no backup", remedy="name the place with BACKUP_PLACE")
    if wanted is not None or len(found) > 1:
        raise Refused(f"{copies.name} holds clusters {', '.join(found)}", remedy="name one of them with --system")
    return found[0]


def read_catalogue(copies: Copies, system_identifier: str, registry: SignerRegistry) -> Catalogue:
    """List the place; every manifest is read and its signature verified. Raises Unavailable."""
    sizes = copies.sizes(f"{system_identifier}/")
    backups, broken = [], []
    for key in sorted(key for key in sizes if key.endswith(f"/{MANIFEST}")):
        try:
            data = copies.read_if(key, lambda data: manifest_fault(data, registry))
            backups.append(parse_backup_manifest(data))
        except Refused as error:
            broken.append(error.message)
    files = [found for key in sorted(sizes) if (found := wal_file(key)) is not None]
    kept = {part.key for backup in backups for part in backup.parts}
    manifests = {key.rpartition("/")[0] for key in sizes if key.endswith(f"/{MANIFEST}")}
    return Catalogue(
        system_identifier,
        tuple(sorted(backups, key=lambda backup: int(backup.stop_lsn))),
        tuple(broken),
        tuple(
            key
            for key in sorted(sizes)
            if "/base/" in key and key not in kept and key.rpartition("/")[0] not in manifests
        ),
        {file.name: file for file in files if wal.SEGMENT_NAME.fullmatch(file.name)},
        {file.name.removesuffix(wal.PARTIAL): file for file in files if file.name.endswith(wal.PARTIAL)},
        {file.name: file for file in files if wal.HISTORY_NAME.fullmatch(file.name)},
        stream_state(copies, system_identifier, sizes),
        sizes,
    )


def manifest_fault(data: bytes, registry: SignerRegistry) -> str | None:
    """Why these bytes are no manifest of ours; None when they are."""
    try:
        manifest = parse_backup_manifest(data)
        registered = registry.get(manifest.signer_kid)
        verify_digest(registered.public_key, manifest.digest(), decode_signature(manifest.signature))
    except (ValueError, KeyError, BadSignature) as error:
        return f"is no signed manifest ({error.args[0] if error.args else error})"
    return None


def check_files(copies: Copies, files: Iterable[tuple[str, str]], advance: Callable[[int], None]) -> list[str]:
    """Read every (key, digest), healing what can be; what stays missing or altered, in words."""
    faults = []
    for key, sha256 in files:
        try:
            advance(len(copies.read(key, sha256)))
        except Refused as error:
            faults.append(error.message)
    return faults


def wal_file(key: str) -> WalFile | None:
    """What a key below wal/ says; None when it is no file of WAL."""
    found = WAL_KEY.fullmatch(key)
    if found is None:
        return None
    _, name, stored_ms, sha256 = found.groups()
    return WalFile(key, name, dt.datetime.fromtimestamp(int(stored_ms) / 1000, dt.UTC), sha256)


def stream_state(copies: Copies, system_identifier: str, sizes: Mapping[str, int]) -> StreamState | None:
    """What the stream noted last; None when there was none. Raises Refused when it cannot be read."""
    key = stream_key(system_identifier)
    if key not in sizes:
        return None
    decoder = msgspec.json.Decoder(StreamState)

    def fault(data: bytes) -> str | None:
        try:
            decoder.decode(data)
        except msgspec.MsgspecError as error:
            return f"cannot be read ({error})"
        return None

    return decoder.decode(copies.read_if(key, fault))
