"""Checking entries by the thousand: canonical form, place, balance, the rules of posting, chain and leaves, as fast as
plain Python goes.

Guarantees: a block passes exactly when every line of it would pass alone; the whole block is decoded, encoded back and
compared at once, and amounts are summed in C. When anything in a block is wrong, `check_each` reads it line by line
and names the sequence and the field.
It does not know where a chain should begin or end: see `verify_range`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import orjson

from ledger_core import canonical
from ledger_core.books.entries import EntryFields, decode_entry
from ledger_core.books.entry_pattern import read_ordinary
from ledger_core.books.entry_rules import all_follow, entry_faults
from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.decimals import is_decimal
from ledger_core.findings import Collector
from ledger_core.normal_form import is_nfc

_decoder = msgspec.json.Decoder(EntryFields)
_encoder = msgspec.json.Encoder(order="deterministic")


class RulesRun(NamedTuple):
    """Entries that follow each other and name the same version of the posting rules."""

    first_offset: int  # source offset of the first
    last_offset: int  # source offset of the last, inclusive
    rules: int  # the version


@dataclass(frozen=True, slots=True)
class Block:
    """What a block of lines says. A line that is not an entry has None in `entries`; totals are debits by currency.

    `entries` is empty when the caller did not ask for them.
    """

    entries: Sequence[EntryFields | None]
    offsets: list[int]  # source offsets of the entries that could be read
    totals: dict[str, int]  # currency -> debits in minor units (= credits)
    topics: set[str]  # the source topics that the entries name
    from_ts: str | None  # least recorded_at; None without an entry
    to_ts: str | None  # greatest recorded_at, inclusive; None without an entry
    rules: Sequence[RulesRun] = ()  # in order


def check_block(
    lines: Sequence[bytes], shard: int, first_seq: int, found: Collector, data: bytes | None = None
) -> Block:
    """Check `lines` as the canonical entries first_seq, first_seq + 1, ... of `shard`; findings go to `found`.

    `data` are the same lines, each ended by LF, when the caller has them in one piece.
    """
    found.count("entries", len(lines))
    block = read_sound(lines, shard, first_seq, b"\n".join(lines) + b"\n" if data is None else data)
    return block if block is not None else check_each(lines, shard, first_seq, found)


def check_lines(lines: Sequence[bytes], data: bytes, shard: int, topic: str, first_seq: int, found: Collector) -> Block:
    """The same judgement as `check_block`, without the entries: most blocks pass without making an object of a line."""
    ordinary = read_ordinary(data, len(lines), shard, topic, first_seq)
    if ordinary is None:
        return check_block(lines, shard, first_seq, found, data)
    found.count("entries", len(lines))
    run = RulesRun(ordinary.offsets[0], ordinary.offsets[-1], ordinary.rules)
    return Block((), ordinary.offsets, ordinary.totals, {topic}, ordinary.from_ts, ordinary.to_ts, [run])


def check_each(lines: Sequence[bytes], shard: int, first_seq: int, found: Collector) -> Block:
    """The same line by line, with a finding for each thing that is wrong."""
    entries: list[EntryFields | None] = []
    totals: dict[str, int] = {}
    for seq, line in enumerate(lines, first_seq):
        entry = _check_one(line, shard, seq, found)
        entries.append(entry)
        for leg in entry.lines if entry is not None else ():
            if leg.side == "debit" and leg.amount_minor.isascii() and leg.amount_minor.isdigit():
                totals[leg.currency] = totals.get(leg.currency, 0) + int(leg.amount_minor)
    good = [entry for entry in entries if entry is not None]
    times = [entry.recorded_at for entry in good]
    offsets = [int(entry.source.offset) for entry in good if is_decimal(entry.source.offset)]
    topics = {entry.source.topic for entry in good}
    runs = [
        RulesRun(int(it.source.offset), int(it.source.offset), it.rules) for it in good if is_decimal(it.source.offset)
    ]
    return Block(entries, offsets, totals, topics, min(times, default=None), max(times, default=None), runs)


def read_sound(lines: Sequence[bytes], shard: int, first_seq: int, data: bytes) -> Block | None:
    """The block when all of it is sound, None otherwise."""
    if not lines:
        return Block((), [], {}, set(), None, None)
    try:
        entries = _decoder.decode_lines(data)
        if len(entries) != len(lines) or _encoder.encode_lines(entries) != data or not _is_plain_text(data):
            return None
    except ValueError:  # msgspec.DecodeError among them
        return None
    if [entry.seq for entry in entries] != list(map(str, range(first_seq, first_seq + len(entries)))):
        return None
    sources = [entry.source for entry in entries]
    if {entry.shard for entry in entries} != {shard} or {source.partition for source in sources} != {shard}:
        return None
    offsets = _integers([source.offset for source in sources])
    totals = _balanced_totals(entries)
    if offsets is None or totals is None or not all_follow(entries):
        return None
    if not all(key.isascii() and not key.isdigit() for key in {key for entry in entries for key in entry.metadata}):
        return None
    times = [entry.recorded_at for entry in entries]
    runs = [RulesRun(offsets[0], offsets[-1], entries[0].rules)]  # of one version, or they had not all followed it
    return Block(entries, offsets, totals, {source.topic for source in sources}, min(times), max(times), runs)


def _balanced_totals(entries: Sequence[EntryFields]) -> dict[str, int] | None:
    """Debits by currency when every entry balances in every currency and every amount has its form; None otherwise."""
    amounts = _integers([leg.amount_minor for entry in entries for leg in entry.lines])
    if not amounts or min(amounts) < 1 or max(amounts) > AMOUNT_MINOR_MAX:
        return None
    amount_of = iter(amounts)
    totals: dict[str, int] = {}
    for entry in entries:
        legs = entry.lines
        if not legs:
            return None
        currency = legs[0].currency
        balance = debits = 0
        for leg, amount in zip(legs, amount_of, strict=False):  # the legs run out first: no amount is lost
            if leg.side == "debit":
                balance += amount
                debits += amount
            else:
                balance -= amount
            if leg.currency != currency:
                return None  # several currencies in one entry are rare: `check_each` adds them up
        if balance:
            return None
        totals[currency] = totals.get(currency, 0) + debits
    return totals


def _integers(texts: Sequence[str]) -> list[int] | None:
    """The integers of canonical decimal texts (no sign, blank or leading zero), or None when one is something else."""
    joined = ",".join(texts)
    if not (joined.isascii() and joined.replace(",", "0").isdigit()):
        return None
    try:
        numbers: list[int] = orjson.loads(f"[{joined}]")  # refuses leading zeros and empty texts
    except ValueError:
        return None
    return numbers if len(numbers) == len(texts) else None  # a text with a comma in it gave more


def _is_plain_text(data: bytes) -> bool:
    """Canonical text (ledger_core.canonical): NFC and no NUL. A false alarm only costs the way through `check_each`."""
    if b"\\" in data and b"\\u0000" in data:  # the first check is many times faster, and mostly enough
        return False
    return data.isascii() or is_nfc(data.decode("utf-8"))


def _check_one(line: bytes, shard: int, seq: int, found: Collector) -> EntryFields | None:
    try:
        entry = decode_entry(line)
        canonical.decode(line)
    except ValueError as error:
        found.add("entry.form", f"not a canonical, balanced entry: {error}", shard=shard, seq=seq, field="body")
        return _read_loosely(line)
    for name, said, wanted in (
        ("seq", entry.seq, str(seq)),
        ("shard", str(entry.shard), str(shard)),
        ("source.partition", str(entry.source.partition), str(shard)),
    ):
        if said != wanted:
            found.add("entry.place", f"says {name} {said}, stands at {wanted}", shard=shard, seq=seq, field=name)
    if not is_decimal(entry.source.offset):
        message = f"offset {entry.source.offset[:40]!r} is not a decimal integer"
        found.add("entry.form", message, shard=shard, seq=seq, field="source.offset")
    for fault in entry_faults(entry):
        found.add("entry.rule", fault.message, shard=shard, seq=seq, field=fault.field)
    return entry


def _read_loosely(line: bytes) -> EntryFields | None:
    """What can be read of an entry that broke a rule, so that its totals and offset still count."""
    try:
        return _decoder.decode(line)
    except ValueError:
        return None
