"""What a place holds of one cluster: its backups, its WAL, its timelines (names: `finance.recovery.backup.place.keys`).

Guarantees: a manifest counts where it lies in its own folder, of its own cluster, and its signature verifies. Where a
list signs for a file of WAL, that file counts, whether it is there or not, and no other of its name.
Does not: decrypt anything: `verify` needs no private identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, TypeVar

import msgspec

from finance.recovery.backup import wal
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import (
    WalFile,
    backups_folder,
    is_manifest,
    manifest_key,
    newest_list_key,
    stream_key,
    wal_file,
)
from finance.recovery.backup.place.manifest import BackupManifest, parse_backup_manifest
from finance.recovery.backup.place.statement import PlaceOf, ReadSigned, statement_fault
from finance.recovery.backup.place.wal_list import Listed, join, read_listed
from ledger_core.errors import Refused
from ledger_core.signing.counting import BackupPlace
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import Signed

Histories = Mapping[int, tuple[tuple[int, int], ...]]
"""timeline -> (parent, position in bytes at which it was left), oldest first."""

SegmentName = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-F]{24}\Z")]
Natural = Annotated[int, msgspec.Meta(ge=0)]
S = TypeVar("S", bound=Signed)


class StreamState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far the stream has come: everything from `first` on and before `lsn` (bytes; in `segment`, or at its end) is
    stored, as of `at` (Unix ms); `listed` files were signed for."""

    first: SegmentName
    segment: SegmentName
    lsn: Natural
    at: Natural
    listed: Natural


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One listing of a place. Backups in order of time; WAL by file name."""

    system_identifier: str  # of the Postgres cluster, set by initdb
    backups: tuple[BackupManifest, ...]  # verified, by time of their end
    broken: tuple[str, ...]  # what is signed and cannot be read or does not verify, with the reason
    unfinished: tuple[str, ...]  # keys below base/ that belong to no manifest
    segments: Mapping[str, WalFile]  # complete ones, by name
    partials: Mapping[str, WalFile]  # unfinished ones, by name of the segment
    histories: Mapping[str, WalFile]  # of timelines, by name
    listed: Listed  # what the lists of WAL sign for
    list_faults: tuple[str, ...]  # among `broken`: what the lists of WAL and the stream's note lack
    stream: StreamState | None  # what the stream noted last; None when it never did
    sizes: Mapping[str, int] = field(repr=False)  # stored bytes by key

    @property
    def unsigned(self) -> list[WalFile]:
        """Segments and histories that no list signs for, in order of name."""
        files = {**self.segments, **self.histories}
        return [file for name, file in sorted(files.items()) if self.listed.keys.get(name) != file.key]

    def timelines(self) -> set[int]:
        """Every timeline that left anything here."""
        names = {*self.segments, *self.partials, *self.histories}
        if self.stream is not None:
            names.add(self.stream.segment)
        return {int(name[:8], 16) for name in names} | {int(backup.timeline) for backup in self.backups}


def systems(copies: Copies) -> list[str]:
    """The clusters that have anything here."""
    return sorted({system for key in copies.sizes("") if (system := key.partition("/")[0]).isdecimal()})


def only_system(copies: Copies, wanted: str | None = None) -> str:
    """The cluster that is meant. Raises Refused when there is none, or several and none was named."""
    found = systems(copies)
    if wanted is not None and wanted in found:
        return wanted
    if not found:
        raise Refused(f"{copies.name} has no backup", remedy="name the place with BACKUP_PLACE")
    if wanted is not None or len(found) > 1:
        raise Refused(f"{copies.name} has clusters {', '.join(found)}", remedy="name one of them with --system")
    return found[0]


def read_catalogue(
    copies: Copies, system_identifier: str, registry: SignerRegistry, *, everywhere: bool = False
) -> Catalogue:
    """List the place; every manifest and list is read (`everywhere`: in each of the copies) and its signature
    verified. Raises Unavailable."""
    read = partial(_signed, copies, registry, everywhere)
    sizes, stream, listed, faults = _look(copies, system_identifier, read)
    if faults:  # a stream that is at work moves them between our listing and our reading: once is not a fault
        sizes, stream, listed, faults = _look(copies, system_identifier, read)
    backups, broken = _backups(sizes, read, listed)
    files = [found for key in sorted(sizes) if (found := wal_file(key)) is not None]
    known = {part.key for backup in backups for part in backup.parts}
    manifests = {key.rpartition("/")[0] for key in sizes if is_manifest(key)}
    return Catalogue(
        system_identifier,
        backups,
        (*broken, *faults),
        tuple(
            key
            for key in sorted(sizes)
            if key.startswith(backups_folder(system_identifier))
            and key not in known
            and key.rpartition("/")[0] not in manifests
        ),
        _files(files, listed, _needed_segments(backups)),
        {file.name.removesuffix(wal.PARTIAL): file for file in files if file.name.endswith(wal.PARTIAL)},
        _files(files, listed, lambda name: wal.HISTORY_NAME.fullmatch(name) is not None),
        listed,
        tuple(faults),
        stream,
        sizes,
    )


def read_backups(copies: Copies, system_identifier: str, registry: SignerRegistry) -> tuple[BackupManifest, ...]:
    """The backups alone, in order of time; without those whose manifest is broken; their place in the lists of WAL is
    not checked. Raises Unavailable."""
    sizes = copies.sizes(backups_folder(system_identifier))
    return _backups(sizes, partial(_signed, copies, registry, False), join([], ()))[0]


def _backups(
    keys: Iterable[str], read: ReadSigned, listed: Listed
) -> tuple[tuple[BackupManifest, ...], tuple[str, ...]]:
    """The backups whose manifests are among the keys, in order of time; and which manifests are broken, in words."""
    backups: list[BackupManifest] = []
    doubtful, broken = [], []
    named: set[str] = set()

    def place(backup: BackupManifest) -> BackupPlace:
        return BackupPlace(listed.latest(int(backup.wal_files)), is_held=backup.hash in named)

    for key in sorted(key for key in keys if is_manifest(key)):
        try:
            backups.append(read(key, partial(_parse_manifest, key), place))
        except Refused:
            doubtful.append(key)
        else:
            named.update(backups[-1].backups_before or ())
    for key in doubtful:  # of a key that was revoked, perhaps: now that is known which ones later backups name
        try:
            backups.append(read(key, partial(_parse_manifest, key), place))
        except Refused as error:
            broken.append(error.message)
    return tuple(sorted(backups, key=lambda backup: (backup.finished, backup.backup_id))), tuple(broken)


def read_stream_state(copies: Copies, system_identifier: str, sizes: Iterable[str]) -> StreamState | None:
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


def _look(
    copies: Copies, system_identifier: str, read: ReadSigned
) -> tuple[dict[str, int], StreamState | None, Listed, list[str]]:
    """Sizes, the stream's note, the lists, and what is wrong with note and lists, in words."""
    sizes = copies.sizes(f"{system_identifier}/")
    stream, faults = None, []
    try:
        stream = read_stream_state(copies, system_identifier, sizes)
    except Refused as error:
        faults.append(error.message)
    listed = read_listed(system_identifier, sizes, read)
    key, newest = stream_key(system_identifier), newest_list_key(system_identifier)
    if key not in sizes and any(wal_file(found) is not None for found in sizes):
        faults.append(f"backup file {key} is missing in {copies.name}")
    if stream is not None and stream.listed > listed.count and not listed.faults:
        told = "was put back to an older one" if newest in sizes else "is missing"
        faults.append(
            f"backup file {newest} {told} in {copies.name}: {stream.listed} files of WAL were signed for, "
            f"not {listed.count}"
        )
    return sizes, stream, listed, [*faults, *listed.faults]


def _signed(
    copies: Copies,
    registry: SignerRegistry,
    everywhere: bool,
    key: str,
    parse: Callable[[bytes], S],
    place_of: PlaceOf[S],
) -> S:
    return parse(copies.read_if(key, partial(statement_fault, parse, registry, place_of), everywhere=everywhere))


def _parse_manifest(key: str, data: bytes) -> BackupManifest:
    manifest = parse_backup_manifest(data)
    if key != manifest_key(manifest.system_identifier, manifest.backup_id):
        raise ValueError(f"it is of backup {manifest.backup_id} of cluster {manifest.system_identifier}")
    return manifest


def _files(files: Iterable[WalFile], listed: Listed, wanted: Callable[[str], bool]) -> dict[str, WalFile]:
    """By name the file that was signed for, or else the newest."""
    found = {file.name: file for file in files if wanted(file.name)}
    signed = (file for name, key in listed.keys.items() if wanted(name) and (file := wal_file(key)) is not None)
    return found | {file.name: file for file in signed}


def _needed_segments(backups: Sequence[BackupManifest]) -> Callable[[str], bool]:
    """Whether a name is that of a segment which a backup needs: what is older was pruned, or is about to be."""
    segment_bytes = int(backups[0].segment_bytes) if backups else 1
    first = min((backup.first_segment for backup in backups), default=0)

    def is_needed(name: str) -> bool:
        if not wal.SEGMENT_NAME.fullmatch(name):
            return False
        return not backups or wal.parse_segment(name, segment_bytes).number >= first

    return is_needed
