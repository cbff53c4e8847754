"""Journal records in, rows out, one shard at a time. Pure.

Guarantees: an entry becomes a row only when it is canonical, balanced (G1), follows the rules of posting and continues
the chain from the place before it; whatever else comes is Refused, and nothing of the call counts. Fed twice, a record
that was taken is a repeat: its hash is answered, for the caller to compare with what it keeps, since the journal of
another ledger is full of such repeats. How the records were batched changes nothing.
Does not: read, write, or halt anything: a journal that is wrong stops the read side, and the prover says so to all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ledger_core.books.entries import EntryFields, decode_entry
from ledger_core.books.entry_checks import read_sound
from ledger_core.books.entry_rules import entry_faults
from ledger_core.books.rule_versions import rules_of
from ledger_core.chain import link_all
from ledger_core.errors import Refused
from ledger_core.reading.known import KeptTime, known_times, needless
from ledger_core.reading.rows import ProjectedEntry, entry_row, time_us

BLOCK_ENTRIES_MAX: Final = 500  # checked together (ledger_core.proving.open_range)
REMEDY: Final = (
    "check that KAFKA_BROKERS and the topic prefix name this ledger; if they do, `finance verify ledger` judges the "
    "ledger, and `finance projection rebuild` makes the projection anew"
)


class JournalItem(NamedTuple):
    """A record of the journal."""

    offset: int  # its offset in the journal topic
    seq: int  # place in the shard's chain, from 1
    body: bytes  # canonical JSON of the entry
    entry_hash: bytes  # its link of the chain, 32 bytes


class ShardReach(NamedTuple):
    """How far a projection has come in one shard."""

    shard: int  # number of the shard, from 0
    seq: int = 0  # of the newest entry; 0 at genesis
    head: bytes | None = None  # its link of the chain; None at genesis
    known_us: int = 0  # no entry to come is known before; microseconds since 1970
    next_offset: int = 0  # of the journal topic, behind the newest record that was taken


@dataclass(slots=True)
class Folded:
    """What records of a shard came to."""

    reach: ShardReach  # behind them
    rows: list[ProjectedEntry] = field(default_factory=list)  # the new entries, in order
    repeats: list[tuple[int, bytes]] = field(default_factory=list)  # seq and hash of those that an earlier call took
    kept: list[KeptTime] = field(default_factory=list)  # exceptions that are new (ledger_core.reading.known)
    needless: list[KeptTime] = field(default_factory=list)  # exceptions that say nothing any more


def fold(
    place: ShardReach, items: Sequence[JournalItem], now_us: int, kept: Mapping[int, Sequence[KeptTime]] | None = None
) -> Folded:
    """Take records of the journal in their order. `now_us`: our clock, microseconds since 1970; `kept`: exceptions of
    entries behind the place, by sequence. Raises Refused.
    """
    folded = Folded(place)
    at = 0
    while at < len(items):
        item = items[at]
        if item.seq <= folded.reach.seq:
            _repeat(folded, item)
            at += 1
            continue
        block = _run(items[at : at + BLOCK_ENTRIES_MAX], folded.reach.seq + 1)
        if not block:
            raise _refused(place.shard, item.seq, f"comes where entry {folded.reach.seq + 1} is due")
        _take(folded, block, now_us, kept or {})
        at += len(block)
    return folded


def _run(items: Sequence[JournalItem], due: int) -> Sequence[JournalItem]:
    """The first of them, as long as each is the next of its chain."""
    for number, item in enumerate(items):
        if item.seq != due + number:
            return items[:number]
    return items


def _repeat(folded: Folded, item: JournalItem) -> None:
    """Note what was taken before; that of this very call, and the newest, is compared here."""
    place = folded.reach
    ours = folded.rows[item.seq - place.seq - 1].entry_hash if item.seq > place.seq - len(folded.rows) else None
    if item.seq == place.seq:
        ours = place.head
    if item.seq < 1 or (ours is not None and ours != item.entry_hash):
        raise _refused(place.shard, item.seq, "comes again with another hash")
    if ours is None:
        folded.repeats.append((item.seq, item.entry_hash))
    folded.reach = place._replace(next_offset=item.offset + 1)


def _take(folded: Folded, block: Sequence[JournalItem], now_us: int, kept: Mapping[int, Sequence[KeptTime]]) -> None:
    place = folded.reach
    first = place.seq + 1
    bodies, hashes = [item.body for item in block], [item.entry_hash for item in block]
    _check_chain(place, bodies, hashes)
    entries = _entries(place.shard, first, bodies)
    recorded = [time_us(entry.recorded_at) for entry in entries]
    exceptions = {seq: kept[seq] for seq in range(first, first + len(block)) if seq in kept} if kept else {}
    times, found = known_times(first, recorded, place.known_us, now_us, exceptions)
    folded.rows += map(entry_row, entries, hashes, recorded, times)
    folded.kept += found
    folded.needless += needless(first, recorded, now_us, exceptions)
    folded.reach = ShardReach(place.shard, place.seq + len(block), hashes[-1], times[-1], block[-1].offset + 1)


def _check_chain(place: ShardReach, bodies: Sequence[bytes], hashes: Sequence[bytes]) -> None:
    links = link_all(bodies, place.head)
    if links != hashes:
        wrong = next(number for number, (ours, theirs) in enumerate(zip(links, hashes, strict=True)) if ours != theirs)
        raise _refused(place.shard, place.seq + 1 + wrong, "does not continue the chain")


def _entries(shard: int, first: int, bodies: Sequence[bytes]) -> Sequence[EntryFields]:
    """The entries of chained bodies, once found sound: together, or one by one where they are not ordinary."""
    block = read_sound(bodies, shard, first, b"\n".join(bodies) + b"\n")
    if block is not None:
        return [entry for entry in block.entries if entry is not None]
    return [_checked(shard, seq, body) for seq, body in enumerate(bodies, first)]


def _checked(shard: int, seq: int, body: bytes) -> EntryFields:
    try:
        entry = decode_entry(body)
    except ValueError as error:
        raise _refused(shard, seq, f"is not a journal entry: {error}") from error
    rules_of(entry.rules)  # of a later version: this one waits for the release that knows them
    if (entry.shard, entry.source.partition, entry.seq) != (shard, shard, str(seq)):
        raise _refused(shard, seq, f"says it is shard {entry.shard}, seq {entry.seq:.40}")
    for fault in entry_faults(entry):
        raise _refused(shard, seq, f"breaks a rule of posting in {fault.field}: {fault.message}")
    return entry


def _refused(shard: int, seq: int, what: str) -> Refused:
    return Refused(f"journal of shard {shard}: entry {seq} {what}", remedy=REMEDY)
