"""bundle.json: the signed statement of what is in an auditor's bundle (docs/formats/bundle.md). Pure.

Guarantees: it names every other member with digest and size, the window that was asked for, and of each shard what the
batches hold and where the window's neighbours stand; a statement that contradicts itself cannot be built. `hash` is
recomputed when it is parsed. `ts` is the newest of the manifests, so that the same record gives the same bytes.
Does not: verify signatures or read a member: `ledger_core.verify.bundles.whole` does.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

import msgspec

from ledger_core.signing.counting import ShardPlace
from ledger_core.signing.purposes import Purpose
from ledger_core.signing.statements import (
    Decimal,
    Hash,
    Name,
    Payload,
    ShardNo,
    StatementPart,
    Timestamp,
    assemble,
    check_signed,
    decode_statement,
)
from ledger_core.times import parse_time

SHARDS_MAX: Final = 100_000
BUNDLE_SAYS: Final = "finance.bundle.v1"


class BundleFilter(StatementPart, frozen=True, kw_only=True):
    """What was asked for beside the window; empty lists ask for everything (see matching)."""

    accounts: tuple[Name, ...]  # in order, each once
    settlements: tuple[Name, ...]  # in order, each once
    shards: tuple[ShardNo, ...]  # in order, each once; none: all of the ledger's


class BundleFile(StatementPart, frozen=True, kw_only=True):
    """One member."""

    path: Name  # name in the ZIP file
    sha256: Hash  # of its bytes
    size_bytes: Decimal  # of its bytes


class Neighbours(StatementPart, frozen=True, kw_only=True):
    """The entries right outside of the window. They stand in the batches, with their times."""

    before: Decimal | None  # sequence of the last entry before the window; None: the window holds the shard's first
    after: Decimal | None  # sequence of the first entry behind it; None: the archive ended before the window did


class BundleShard(StatementPart, frozen=True, kw_only=True):
    """What the batches of one shard hold. Raises ValueError when its numbers contradict each other."""

    shard: ShardNo  # number of the shard, from 0
    first_range_no: Decimal  # number of the first batch's range, and of its manifest
    last_range_no: Decimal  # number of the last one, inclusive
    first_seq: Decimal  # first entry in the batches, inclusive
    last_seq: Decimal  # last entry in the batches, inclusive; first_seq - 1 without one
    first_offset: Decimal  # first settlements offset, inclusive
    next_offset: Decimal  # one after the last settlements offset: exclusive
    num_entries: Decimal  # entries in the batches
    num_verdicts: Decimal  # verdict lines in the batches
    num_in_window: Decimal  # entries of the batches that were recorded within the window
    num_matching: Decimal  # those of them that match the filter
    checkpoint: Name  # the member with the signed checkpoint behind the last batch
    complete: Neighbours  # what stands outside of the window on either side

    def __post_init__(self) -> None:
        if int(self.num_entries) != int(self.last_seq) - int(self.first_seq) + 1:
            raise ValueError("num_entries differs from the sequences first_seq..last_seq")
        if int(self.num_entries) + int(self.num_verdicts) != int(self.next_offset) - int(self.first_offset):
            raise ValueError("entries and verdicts are not the offsets first_offset to next_offset")
        if not int(self.num_matching) <= int(self.num_in_window) <= int(self.num_entries):
            raise ValueError("more entries match than are in the window, or more are in it than in the batches")
        if int(self.last_range_no) < int(self.first_range_no) or self.first_range_no == "0":
            raise ValueError("ranges count from 1, first to last")


class BundlePayload(Payload, frozen=True, kw_only=True):
    """Everything that is signed. Raises ValueError when files or shards are out of order, or the window is empty."""

    said_as: ClassVar[Purpose] = "bundle"

    says: Literal["finance.bundle.v1"]  # the kind of statement, and the version of its format
    service: Literal["finance"]  # always ours
    env: Name  # environment, such as prod
    from_ts: Timestamp  # first moment of the window, by recorded_at, inclusive
    to_ts: Timestamp  # end of the window, exclusive
    filter: BundleFilter  # what was asked for beside the window
    pii_included: bool  # whether openings of personal data are in it
    pii_policy_version: Decimal  # the rules by which that was decided; from the topology
    shards: Annotated[tuple[BundleShard, ...], msgspec.Meta(min_length=1)]  # in order of number, each once
    empty_shards: tuple[ShardNo, ...]  # shards that were asked for, and of which nothing is archived; in order
    ledger_shards: Annotated[int, msgspec.Meta(ge=1, le=SHARDS_MAX)]  # how many the ledger has: numbers from 0
    files: tuple[BundleFile, ...]  # every other member, in order of path, each once
    prev: None  # a bundle follows nothing
    ts: Timestamp  # the newest time of the manifests in it

    def __post_init__(self) -> None:
        parse_time(self.ts)
        if parse_time(self.from_ts) >= parse_time(self.to_ts):
            raise ValueError("the window ends before it begins")
        numbers = [part.shard for part in self.shards]
        paths = [file.path for file in self.files]
        asked = self.filter
        for names in (numbers, paths, asked.accounts, asked.settlements, asked.shards, self.empty_shards):
            if list(names) != sorted(set(names)):  # type: ignore[type-var]
                raise ValueError("shards, files, accounts and settlements stand in order, each once")
        wanted = list(asked.shards or range(self.ledger_shards))
        if sorted([*numbers, *self.empty_shards]) != wanted or wanted[-1] >= self.ledger_shards:
            raise ValueError("the shards that were asked for are not those that it has, or has nothing of")

    @property
    def places(self) -> tuple[ShardPlace, ...]:
        """The last entry of each shard. A bundle stands in no chain: it may speak of any history by a key of today."""
        return tuple(ShardPlace(part.shard, int(part.last_seq), None, False) for part in self.shards)


class Bundle(BundlePayload, frozen=True, kw_only=True):
    """A payload with its hash and the signature over it. Whether the signature counts is not decided here."""

    hash: Hash  # of the payload; recomputed when parsed
    signature: str  # base64, by signer_kid over the 32 bytes of hash

    def __post_init__(self) -> None:
        BundlePayload.__post_init__(self)
        check_signed(self)


_decoder = msgspec.json.Decoder(Bundle)


def parse_bundle(data: bytes) -> Bundle:
    """Canonical signed statement (one LF at the end is allowed) -> struct. Raises ValueError on another spelling, a
    contradiction or a wrong hash."""
    return decode_statement(data.removesuffix(b"\n"), _decoder)


def assemble_bundle(payload: BundlePayload, signature: bytes) -> bytes:
    """The signed statement, canonical JSON and LF. The caller has verified the signature over `digest()`."""
    return assemble(payload, Bundle, signature) + b"\n"
