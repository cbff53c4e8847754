"""Comparing two ledgers that should be one: heads, counts, entries, verdicts, balances; the first difference is named.

Guarantees: a chain that differs is searched for its first differing entry in log2(n) reads (every later hash differs
too), which is then named by the field of its body; verdicts are compared line by line, balances account by account.
What cannot be compared, because one of the two has come further, is counted as not compared, never passed silently.
Does not: judge either of them alone (`ledger_core.verify.ledger` does).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

import msgspec

from ledger_core.findings import Collector, Report
from ledger_core.verify.ledger_rows import BalanceRow, LedgerReader, ShardRow, VerdictRow

VERDICT_OFFSETS = 50_000  # verdicts are fetched by so many offsets


def compare_ledgers(ours: LedgerReader, other: LedgerReader, *, name: str, shards: set[int] | None = None) -> Report:
    """Compare `ours` with `other`, as far as both have come. Raises what the readers raise."""
    found = Collector()
    have = {row.shard: row for row in ours.shards()}
    want = {row.shard: row for row in other.shards()}
    for shard in sorted(have.keys() | want.keys()):
        if shards is not None and shard not in shards:
            continue
        found.shard = shard
        if shard not in have or shard not in want:
            if (have.get(shard) or want[shard]).next_offset:
                missing = "here" if shard not in have else f"in {name}"
                found.add("replay.shard", f"this shard is not {missing}", field="shard")
            continue
        _compare_shard(ours, other, have[shard], want[shard], name, found)
    found.shard = None
    return found.report()


def _compare_shard(
    ours: LedgerReader, other: LedgerReader, have: ShardRow, want: ShardRow, name: str, found: Collector
) -> None:
    found.count("shards_compared")
    seq = min(have.seq, want.seq)
    next_offset = min(have.next_offset, want.next_offset)
    first = first_differing_seq(ours, other, have.shard, seq)
    found.count("entries_compared", seq if first is None else first - 1)
    if first is not None:
        _name_entry(ours, other, have.shard, first, name, found)
    _compare_verdicts(ours, other, have.shard, max(have.first_offset, want.first_offset), next_offset, name, found)
    if have.next_offset != want.next_offset:
        found.count("shards_apart")  # counts and balances speak of different moments
        return
    for field in ("topic", "first_offset", "seq", "head_hash", "accounts", "posted", "duplicates", "rejected", "rules"):
        said, wanted = getattr(have, field), getattr(want, field)
        if said != wanted:
            told = [value.hex() if isinstance(value, bytes) else value for value in (said, wanted)]
            found.add("replay.shard", f"{field} is {told[0]}, {name} has {told[1]}", seq=have.seq, field=field)
    _compare_balances(ours, other, have.shard, name, found)


def first_differing_seq(ours: LedgerReader, other: LedgerReader, shard: int, last_seq: int) -> int | None:
    """The first position at which two chains differ, up to `last_seq`; None when they do not."""

    def same(seq: int) -> bool:
        one, two = ours.entries(shard, seq, seq), other.entries(shard, seq, seq)
        return bool(one and two) and (one[0].entry_hash, one[0].body) == (two[0].entry_hash, two[0].body)

    if last_seq == 0 or same(last_seq):
        return None
    sound, broken = 0, last_seq
    while broken - sound > 1:
        middle = (sound + broken) // 2
        sound, broken = (middle, broken) if same(middle) else (sound, middle)
    return broken


def _name_entry(ours: LedgerReader, other: LedgerReader, shard: int, seq: int, name: str, found: Collector) -> None:
    one, two = ours.entries(shard, seq, seq), other.entries(shard, seq, seq)
    if not one or not two:
        found.add("replay.entry", f"the entry is missing {'here' if not one else f'in {name}'}", seq=seq, field="seq")
        return
    field, said, wanted = differing_field(one[0].body, two[0].body)
    found.add("replay.entry", f"the first difference: {field} is {said}, {name} has {wanted}", seq=seq, field=field)


def differing_field(one: bytes, two: bytes) -> tuple[str, object, object]:
    """The first field, in key order, in which two bodies differ; `entry_hash` when the bodies are the same bytes."""
    try:
        have, want = msgspec.json.decode(one), msgspec.json.decode(two)
    except msgspec.DecodeError:
        return "body", len(one), len(two)
    for key in sorted(have.keys() | want.keys()):
        if have.get(key) != want.get(key):
            return key, have.get(key), want.get(key)
    return ("entry_hash" if one == two else "body"), "another", "another"


def _compare_verdicts(
    ours: LedgerReader, other: LedgerReader, shard: int, first: int, end: int, name: str, found: Collector
) -> None:
    """All offsets that posted nothing, in order; only the first difference is reported."""
    for low in range(first, end, VERDICT_OFFSETS):
        high = min(low + VERDICT_OFFSETS, end)
        have, want = ours.verdicts(shard, low, high), other.verdicts(shard, low, high)
        found.count("verdicts_compared", len(have))
        for one, two in zip_longest(have, want):
            if one is None or two is None or one != two:
                _name_verdict(one, two, name, found)
                return


def _name_verdict(one: VerdictRow | None, two: VerdictRow | None, name: str, found: Collector) -> None:
    offset = min(row.source_offset for row in (one, two) if row is not None)
    silent = [row if row is not None and row.source_offset == offset else None for row in (one, two)]
    texts = ["posted" if row is None else f"{row.verdict} ({row.reason})" for row in silent]
    field = "verdict" if texts[0] != texts[1] else "line"
    message = f"the first difference: offset {offset} is {texts[0]}, {name} has {texts[1]}"
    found.add("replay.verdict", message, field=field, place=f"offset {offset}")


def _compare_balances(ours: LedgerReader, other: LedgerReader, shard: int, name: str, found: Collector) -> None:
    names = dict(ours.accounts(shard))
    for one, two in zip_longest(_sorted(ours, shard), _sorted(other, shard)):
        found.count("balances_compared")
        if one == two:
            continue
        row = one or two
        assert row is not None  # noqa: S101  # zip_longest gives at least one
        account = names.get(row.account_no, str(row.account_no))
        message = f"the first difference: {account} {row.currency} is {_sums(one)}, {name} has {_sums(two)}"
        found.add("replay.balance", message, field="balance", place=account)
        return


def _sorted(reader: LedgerReader, shard: int) -> Iterator[BalanceRow]:
    return iter(sorted(reader.balances(shard)))


def _sums(row: BalanceRow | None) -> str:
    return "missing" if row is None else f"{row.debits} debits, {row.credits} credits"
