"""What a place holds of one cluster: its backups, its WAL, its timelines (names: `finance.backup.keys`).

Guarantees: a manifest counts where it lies in its own folder, of its own cluster, and its signature verifies.
Does not: decrypt anything: `verify` needs no private identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import msgspec

from finance.backup import wal
from finance.backup.copies import Copies
from finance.backup.keys import MANIFEST, WalFile, manifest_key, stream_key, wal_file
from finance.backup.manifest import BackupManifest, parse_backup_manifest
from ledger_core.errors import Refused
from ledger_core.signatures import BadSignature, decode_signature, verify_digest
from ledger_core.signers import SignerRegistry

Histories = Mapping[int, tuple[tuple[int, int], ...]]
"""timeline -> (parent, position in bytes at which it was left), oldest first."""


SegmentName = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-F]{24}\Z")]
Natural = Annotated[int, msgspec.Meta(ge=0)]


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the stream has come: everything from `first` on and before `lsn` (bytes; in `segment`, or at its end) is
    stored, as of `at` (Unix ms)."""

    first: SegmentName
    segment: SegmentName
    lsn: Natural
    at: Natural


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


def systems(copies: Copies) -> list[str]:
    """The clusters that have anything here."""
    return sorted({system for key in copies.sizes("") if (system := key.partition("/")[0]).isdecimal()})


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
            data = copies.read_if(key, partial(manifest_fault, key, registry))
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


def manifest_fault(key: str, registry: SignerRegistry, data: bytes) -> str | None:
    """Why these bytes are no manifest of ours; None when they are."""
    try:
        manifest = parse_backup_manifest(data)
        if key != manifest_key(manifest.system_identifier, manifest.backup_id):
            raise ValueError(f"it is of backup {manifest.backup_id} of cluster {manifest.system_identifier}")
        registered = registry.get(manifest.signer_kid)
        verify_digest(registered.public_key, manifest.digest(), decode_signature(manifest.signature))
    except (ValueError, KeyError, BadSignature) as error:
        return f"is no signed manifest ({error.args[0] if error.args else error})"
    return None


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
