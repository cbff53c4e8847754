"""Before a rebuild writes anything: is the database a prefix of the archive, and can the archive be read to its end?

Guarantees: an empty archive, one of another environment, a key that the registry lacks, a clock that cannot be right,
and a database with another history are Refused with the remedy, from manifests and heads alone.
Does not: verify the archive: the walk does, range by range, and stops at what is not sound. Pure but for the reader.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger_core.archive.listing import ArchiveReader, ShardListing
from ledger_core.archive.manifest import Manifest, parse_manifest
from ledger_core.archive.names import manifest_key
from ledger_core.errors import Corrupt, Refused
from ledger_core.posting.plans import ShardHead
from ledger_core.proving.range_proof import parse_proof
from ledger_core.recovery.archived_plan import not_a_prefix
from ledger_core.signing.registry import SignerRegistry
from ledger_core.times import format_time, parse_time
from ledger_core.tree import CompactRange
from ledger_core.verify.archived_range import ArchiveSource
from ledger_core.verify.range_tally import FIRST_OFFSET, Position

ENVIRONMENTS: Final = ("dev", "staging", "production")


@dataclass(frozen=True, slots=True)
class HeldManifest:
    """The newest manifest of a shard in the database, with its range: hash in hex, `tree` at `last_seq`."""

    number: int  # manifest number = range number, from 1
    hash: str  # lower-case hex
    last_seq: int
    next_offset: int  # settlements offset, exclusive
    tree: bytes
    verdict_tree: bytes  # of the verdict lines below next_offset
    proof: bytes  # bytes of the signed proof of its range


@dataclass(frozen=True, slots=True)
class HeldShard:
    """What the database holds of a shard. `ranges_beyond`: hash (hex) of each closed range without a manifest."""

    head: ShardHead  # the row of `shards`
    newest: HeldManifest | None  # None while no manifest is there
    ranges_beyond: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Planned:
    """One manifest of the archive, as far as a rebuild plans by it."""

    number: int  # manifest number = range number, from 1
    hash: str  # lower-case hex, of the manifest
    proof_hash: str  # lower-case hex, of the proof's payload
    last_seq: int  # of its range, inclusive
    next_offset: int  # settlements offset, exclusive
    key: str  # object key of the batch


@dataclass(slots=True)
class ShardSurvey:
    """What the archive promises of a shard, from the manifest after the database's newest one on."""

    shard: int
    start: int = 0  # the newest manifest that the database has
    start_hash: str | None = None
    manifests: list[Planned] = field(default_factory=list)
    kids: set[str] = field(default_factory=set)
    newest_ts: str = ""
    origin: str = ""  # of the newest checkpoint
    retained_until: str = ""  # of the object with the longest lock
    unread: int = 0  # manifests that could not be read: the walk will name them

    @property
    def last_seq(self) -> int:
        return self.manifests[-1].last_seq if self.manifests else 0


def survey(sources: Sequence[ArchiveSource], shard: int, held: HeldShard | None) -> ShardSurvey:
    """Read the manifests that the database lacks. Raises Refused when the archive ends before the database's newest."""
    found = ShardSurvey(shard)
    numbers = sorted({number for source in sources for number in source.listing.manifests})
    newest = held.newest if held is not None else None
    if newest is not None:
        manifest = _read(sources, newest.number)
        if manifest is None or manifest.hash != newest.hash:
            have = "none" if manifest is None else manifest.hash
            raise not_a_prefix(f"shard {shard} has manifest {newest.number} of hash {newest.hash}, the archive {have}")
        found.start, found.start_hash = newest.number, newest.hash
        _note(found, manifest)
    for number in numbers:
        if number <= found.start:
            continue
        manifest = _read(sources, number)
        if manifest is None:
            found.unread += 1
            continue
        _note(found, manifest)
        pinned = manifest.object
        found.manifests.append(
            Planned(
                number,
                manifest.hash,
                pinned.range.proof_hash,
                int(pinned.range.last_seq),
                int(pinned.range.next_offset),
                pinned.key,
            )
        )
    return found


def _note(found: ShardSurvey, manifest: Manifest) -> None:
    found.kids.add(manifest.signer_kid)
    found.origin = manifest.checkpoint.partition("\n")[0]
    found.newest_ts = max(found.newest_ts, manifest.ts)
    found.retained_until = max(found.retained_until, manifest.object.retain_until)


def _read(sources: Sequence[ArchiveSource], number: int) -> Manifest | None:
    for source in sources:
        for stored in source.listing.manifests.get(number, []):
            try:
                return parse_manifest(source.reader.get(stored.key, stored.version_id))
            except (KeyError, ValueError, Corrupt):
                continue
    return None


def kids_in(listings: Iterable[ShardListing]) -> set[str]:
    """The keys that signed what is listed, as the objects' metadata say."""
    return {
        stored.metadata["signer-kid"]
        for listing in listings
        for versions in (*listing.batches.values(), *listing.manifests.values())
        for stored in versions
        if "signer-kid" in stored.metadata
    }


def check_kids(kids: Iterable[str], registry: SignerRegistry, *, signed: str = "this archive") -> None:
    """Refuse a registry without a key that signed something: a retired key stays in it, or history stops verifying.
    Raises Refused.
    """
    unknown = sorted({kid for kid in kids if registry.find(kid) is None})
    if unknown:
        raise Refused(
            f"the registry lacks {', '.join(unknown)}, which signed parts of {signed}",
            remedy="name a signers.json that contains every key that ever signed, retired ones too (--signers)",
        )


def check_clock(surveys: Sequence[ShardSurvey], now: dt.datetime, *, locks_may_have_ended: bool) -> None:
    """Refuse a clock that cannot be right: before the newest signed statement, or after every lock has ended. Raises
    Refused.
    """
    newest = max((found.newest_ts for found in surveys), default="")
    retained = max((found.retained_until for found in surveys), default="")
    if newest and format_time(now) < newest:
        raise Refused(
            f"this clock says {format_time(now)}, but the archive has a manifest of {newest}",
            remedy="set the clock (NTP), then run it again; nothing was written",
        )
    if retained and now > parse_time(retained) and not locks_may_have_ended:
        raise Refused(
            f"this clock says {format_time(now)}, and every lock of the archive ended by {retained}",
            remedy="set the clock; if retention has really ended, say so with --locks-ended",
        )


def check_empty(reader: ArchiveReader, env: str, shards: Collection[int]) -> None:
    """Refuse an archive without anything of this environment, naming one that it has. Raises Refused."""
    if shards:
        return
    others = [name for name in ENVIRONMENTS if name != env and reader.versions(manifest_key(name, 0, 1))]
    remedy = "check the address, and the name of the environment (--env)"
    if others:
        remedy = f"it contains {', '.join(others)}: name that with --env if it is what you want"
    raise Refused(f"the archive has nothing of environment {env}", remedy=remedy)


def start_position(found: ShardSurvey, held: HeldShard | None) -> Position:
    """Where the walk begins: at genesis, or behind the database's newest manifest, anchored in its signed proof."""
    newest = held.newest if held is not None else None
    if newest is None:
        return Position.genesis(found.shard)
    place = f"shard {found.shard}, range {newest.number}"
    try:
        proof = parse_proof(newest.proof)
        tree = CompactRange.from_bytes(newest.last_seq, newest.tree)
        verdicts = CompactRange.from_bytes(newest.next_offset - FIRST_OFFSET - newest.last_seq, newest.verdict_tree)
    except ValueError as error:
        raise not_a_prefix(f"{place} is not a proved range: {error}") from error
    part = proof.shards[0]
    if tree.root().hex() != part.root or int(part.last_seq) != newest.last_seq:
        raise not_a_prefix(f"{place}: its tree is not that of its proof")
    position = Position(found.shard, newest.last_seq, bytes.fromhex(part.head_hash or ""), tree, verdicts=verdicts)
    position.follow(proof.hash, part)
    if held is not None and held.head.next_offset == position.next_offset:
        position.rules = held.head.rules
    return position


def check_ranges(found: ShardSurvey, held: HeldShard | None) -> None:
    """Refuse closed ranges, beyond the newest manifest, of which the archive has others."""
    if held is None:
        return
    archived = {planned.number: planned.proof_hash for planned in found.manifests}
    for number, digest in held.ranges_beyond.items():
        if archived.get(number, digest) != digest:
            raise not_a_prefix(f"shard {found.shard} closed range {number} with hash {digest}, the archive has another")


def not_empty(missing: Sequence[str]) -> Refused:
    """A database that a rebuild will not touch."""
    what = f"lacks {', '.join(missing)}" if missing else "has rows without their shard"
    return Refused(
        f"this database is not empty, and {what}",
        remedy="name an empty database with --into, or bring this one to this version with `finance migrate`",
    )
