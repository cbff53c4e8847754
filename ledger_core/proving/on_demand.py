"""A proof on demand: any stretch of sequences of any shards, stated from what is proved already and checked to be it.

The ranges of a shard are chained by their hashes, and the newest was signed; so the signature of one range
authenticates all before it. Ranges that lie whole inside the selection are taken by what they say; of those cut by its
ends the entries are read again and linked from the range's prev_hash to its head_hash. The cost is that of two ranges
of entries and one small statement for each range between.

Guarantees: nothing enters the statement that a verified signature does not cover; a contradiction is Corrupt and names
shard and sequence; what is not proved yet is refused, never stated. Selections that meet leave no offset between them.
Does not: read, sign or store: `OnDemandReader` reads, `consumers.proving.on_demand` signs and stores.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ledger_core.books.entries import JournalEntry, decode_entry
from ledger_core.chain import link_all
from ledger_core.errors import Corrupt, Refused
from ledger_core.posting.verdicts import decode_verdict, verdicts_hash
from ledger_core.proving.closed_range import ClosedRange
from ledger_core.proving.proof_signatures import first_proof_fault
from ledger_core.proving.range_proof import ProofPayload, ShardRange, SourceRange, parse_payload, parse_proof
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import statement_hash
from ledger_core.tree import CompactRange, leaf_hash


class OnDemandReader(Protocol):
    """See `ledger_core.postgres.proving.on_demand_store`. Every method may raise Unavailable("postgres")."""

    def shards(self) -> list[int]:
        """Every shard that has a proved range."""
        ...

    def newest_proved(self, shard: int) -> ClosedRange | None: ...

    def range_holding(self, shard: int, seq: int) -> ClosedRange | None:
        """The range with first_seq <= seq <= last_seq."""
        ...

    def range_numbered(self, shard: int, range_no: int) -> ClosedRange | None: ...

    def payloads(self, shard: int, first_no: int, last_no: int) -> Iterator[tuple[bytes, bytes]]:
        """(payload, hash) of ranges first_no..last_no, in order."""
        ...

    def proof(self, shard: int, range_no: int) -> bytes | None: ...

    def bodies(self, shard: int, first_seq: int, last_seq: int) -> list[bytes]: ...

    def verdict_lines(self, shard: int, first_offset: int, next_offset: int) -> list[bytes]: ...

    def first_seq_from(self, shard: int, moment: dt.datetime) -> int:
        """The first sequence with recorded_at at or after `moment`; one after the newest entry when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Entries first_seq..last_seq (inclusive, not empty) of one shard. Raises Refused when the sequences are not a
    range.
    """

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    first_seq: int  # inclusive
    last_seq: int  # inclusive

    def __post_init__(self) -> None:
        if not 1 <= self.first_seq <= self.last_seq:
            raise Refused(
                f"sequences {self.first_seq}..{self.last_seq} of shard {self.shard} are not a range",
                remedy="give a first sequence from 1 and a last one that is not before it",
            )


@dataclass(slots=True)
class Statement:
    """What one selection says, growing range by range."""

    selection: Selection
    totals: dict[str, int] = field(default_factory=dict)  # debits = credits, by currency, in minor units
    from_ts: str | None = None
    to_ts: str | None = None
    prev_hash: str | None = None
    head_hash: str | None = None
    root: str = ""
    topic: str = ""
    first_offset: int = -1
    next_offset: int = -1
    counts: dict[str, int] = field(default_factory=lambda: {"duplicate": 0, "rejected": 0})
    _verdicts: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add_times(self, first: str | None, last: str | None) -> None:
        if first is not None and last is not None:
            self.from_ts = first if self.from_ts is None else min(self.from_ts, first)
            self.to_ts = last if self.to_ts is None else max(self.to_ts, last)

    def add_total(self, currency: str, amount_minor: int) -> None:
        self.totals[currency] = self.totals.get(currency, 0) + amount_minor

    def add_verdict(self, line: bytes) -> None:
        verdict = decode_verdict(line)
        if self.first_offset <= int(verdict.offset) < self.next_offset:
            self.counts[verdict.verdict] += 1
            self._verdicts.update(line + b"\n")

    def shard_range(self) -> ShardRange:
        selection = self.selection
        return ShardRange(
            shard=selection.shard,
            first_seq=str(selection.first_seq),
            last_seq=str(selection.last_seq),
            prev_hash=self.prev_hash,
            head_hash=self.head_hash,
            tree_size=str(selection.last_seq),
            root=self.root,
            source=SourceRange(
                topic=self.topic,
                partition=selection.shard,
                first_offset=str(self.first_offset),
                next_offset=str(self.next_offset),
                posted=str(selection.last_seq - selection.first_seq + 1),
                duplicates=str(self.counts["duplicate"]),
                rejected=str(self.counts["rejected"]),
                verdicts_hash=self._verdicts.hexdigest(),
            ),
        )


def select_by_time(
    reader: OnDemandReader, from_ts: dt.datetime | None, to_ts: dt.datetime | None, shards: Sequence[int] = ()
) -> list[Selection]:
    """The proved entries with recorded_at in `[from_ts, to_ts)`, of all shards unless some are named.

    Where a broker's clock was once set back, a boundary lies where the time crosses it; the proof states the times
    that its entries really have. Raises Refused when entries before `to_ts` are not proved yet.
    """
    selections = []
    for shard in shards or reader.shards():
        newest = reader.newest_proved(shard)
        proved_seq = 0 if newest is None else newest.last_seq
        first = 1 if from_ts is None else reader.first_seq_from(shard, from_ts)
        last = proved_seq if to_ts is None else reader.first_seq_from(shard, to_ts) - 1
        if last > proved_seq and last >= first:
            raise _not_proved(shard, last, proved_seq)
        if first <= last:
            selections.append(Selection(shard, first, last))
    return selections


def state(reader: OnDemandReader, registry: SignerRegistry, selection: Selection) -> Statement:
    """What is true of one selection. Raises Refused (not proved yet), Corrupt (what is recorded contradicts itself)."""
    shard, first_seq, last_seq = selection.shard, selection.first_seq, selection.last_seq
    newest = reader.newest_proved(shard)
    if newest is None or newest.last_seq < last_seq:
        raise _not_proved(shard, last_seq, 0 if newest is None else newest.last_seq)
    holds_last = _held(reader.range_holding(shard, last_seq), shard, last_seq)
    top = newest if newest.last_seq == last_seq else holds_last
    start_no = 1
    if first_seq > 1:  # the silent offsets after the entry before belong to that entry's range
        before = _held(reader.range_holding(shard, first_seq - 1), shard, first_seq - 1)
        start_no = before.range_no + (1 if before.last_seq == first_seq - 1 else 0)
    statement = Statement(selection)
    head: bytes | None = None
    for number, (data, digest) in enumerate(reader.payloads(shard, start_no, top.range_no), start=start_no):
        payload = _chained(data, digest, shard, number)
        if head is not None and head.hex() != payload.prev_proof_hash:
            raise Corrupt(f"shard {shard}, range {number}: it is not chained to the range before")
        _add_range(reader, statement, payload, number)
        head = digest
    if head is None or head != top.hash:
        raise Corrupt(f"shard {shard}: range {top.range_no} is not the range that its chain of hashes leads to")
    check_signed(reader.proof(shard, top.range_no), head, registry, shard, top.range_no)
    return statement


def _add_range(reader: OnDemandReader, statement: Statement, payload: ProofPayload, range_no: int) -> None:
    selection, (part,) = statement.selection, payload.shards
    first, last = int(part.first_seq), int(part.last_seq)
    if statement.first_offset < 0:
        statement.topic = part.source.topic
        statement.prev_hash = part.prev_hash
        statement.first_offset = int(part.source.first_offset)
    statement.next_offset = int(part.source.next_offset)
    if selection.first_seq <= first and last <= selection.last_seq:
        for currency, sums in payload.totals.items():
            statement.add_total(currency, int(sums.debits))
        statement.add_times(payload.range.from_ts, payload.range.to_ts)
        statement.head_hash, statement.root = part.head_hash, part.root
    else:
        _add_cut_range(reader, statement, payload, range_no)
    if part.source.duplicates != "0" or part.source.rejected != "0":
        lines = reader.verdict_lines(part.shard, int(part.source.first_offset), int(part.source.next_offset))
        if verdicts_hash(lines).hex() != part.source.verdicts_hash:
            raise Corrupt(f"shard {part.shard}, range {range_no}: the verdict lines differ from the proved ones")
        for line in lines:
            statement.add_verdict(line)


def _add_cut_range(reader: OnDemandReader, statement: Statement, payload: ProofPayload, range_no: int) -> None:
    """A range that an end of the selection cuts: its entries are read again, all of them linked, those inside added."""
    selection, (part,) = statement.selection, payload.shards
    first, last = int(part.first_seq), int(part.last_seq)
    bodies = reader.bodies(part.shard, first, last)
    head = None if part.prev_hash is None else bytes.fromhex(part.prev_hash)
    heads = link_all(bodies, head)
    if len(bodies) != last - first + 1 or heads[-1].hex() != part.head_hash:
        raise Corrupt(f"shard {part.shard}, seq {first}..{last}: the entries differ from the proved ones")
    for seq, body in enumerate(bodies, start=first):
        if seq == selection.first_seq - 1:
            statement.prev_hash = heads[seq - first].hex()
            statement.first_offset = int(_entry(body, part.shard, seq).source.offset) + 1
        elif selection.first_seq <= seq <= selection.last_seq:
            entry = _entry(body, part.shard, seq)
            statement.add_times(entry.recorded_at, entry.recorded_at)
            for line in entry.lines:
                if line.side == "debit":  # credits are equal, or decoding the entry had failed
                    statement.add_total(line.currency, int(line.amount_minor))
            if seq == selection.last_seq:
                statement.head_hash = heads[seq - first].hex()
                if seq < last:
                    statement.next_offset = int(entry.source.offset) + 1
    if first <= selection.last_seq <= last:
        tree = _tree_before(reader, part, payload, range_no)
        statement.root = tree.extend(leaf_hash(body) for body in bodies[: selection.last_seq - first + 1]).root().hex()


def _tree_before(reader: OnDemandReader, part: ShardRange, payload: ProofPayload, range_no: int) -> CompactRange:
    """The shard's tree at the end of the range before, checked to be the one that was proved."""
    if range_no == 1:
        return CompactRange(0, ())
    before = reader.range_numbered(part.shard, range_no - 1)
    if before is None or before.hash.hex() != payload.prev_proof_hash:
        raise Corrupt(f"shard {part.shard}, range {range_no - 1}: the next range is chained to another range")
    (proved,) = _chained(before.payload, before.hash, part.shard, range_no - 1).shards
    tree = CompactRange.from_bytes(before.last_seq, before.tree)
    if tree.root().hex() != proved.root or str(tree.size) != proved.tree_size:
        raise Corrupt(f"shard {part.shard}, range {range_no - 1}: its tree does not have the proved root")
    return tree


def _entry(body: bytes, shard: int, seq: int) -> JournalEntry:
    try:
        return decode_entry(body)
    except ValueError as error:
        raise Corrupt(f"shard {shard}, seq {seq}: not a journal entry: {error}") from error


def _chained(data: bytes, digest: bytes, shard: int, range_no: int) -> ProofPayload:
    try:
        payload = parse_payload(data)
    except ValueError as error:
        raise Corrupt(f"shard {shard}, range {range_no}: its payload is not that of a range proof: {error}") from error
    if (
        statement_hash(data, payload.prev_proof_hash) != digest
        or len(payload.shards) != 1
        or payload.shards[0].shard != shard
    ):
        raise Corrupt(f"shard {shard}, range {range_no}: hash is not that of its payload")
    return payload


def check_signed(proof: bytes | None, digest: bytes, registry: SignerRegistry, shard: int, range_no: int) -> None:
    """A proof to build on: by a key that counts, over this digest. Raises Corrupt."""
    try:
        parsed = parse_proof(proof or b"")
    except ValueError as error:
        raise Corrupt(f"shard {shard}, range {range_no}: its proof does not verify: {error}") from error
    fault = first_proof_fault(parsed, registry, signed=digest)
    if fault is not None:
        raise Corrupt(f"shard {shard}, range {range_no}: its proof does not verify: {fault.message}")


def _held(found: ClosedRange | None, shard: int, seq: int) -> ClosedRange:
    if found is None:
        raise Corrupt(f"shard {shard}, seq {seq}: no range contains it, although later ones are proved")
    return found


def _not_proved(shard: int, seq: int, proved_seq: int) -> Refused:
    return Refused(
        f"shard {shard} is proved to seq {proved_seq}, not to {seq}",
        remedy="wait until `finance status` shows it proved (a quiet shard is closed after range_idle_seconds), or ask "
        "for less",
    )
