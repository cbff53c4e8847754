"""A ledger in memory, as posters write it and as the oracle reads it: one for both.

Its tables are `ledger_core.verify.ledger_rows.LedgerReader`'s, and every row can be edited, as a superuser could in
Postgres. `checked` and `apply` are a transaction with the constraints of the migrations; tests.simulator.tiny_shards
puts whole shards in, closed and signed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import msgspec

from ledger_core.posting.plans import Known, Plan, Posted, ShardHead, Verdict
from ledger_core.posting.store_port import BatchFailed, EventIdTaken, HeavyLookUp, ShardHalt
from ledger_core.proving.tiles import ReadTile, TreeName
from ledger_core.verify.ledger_rows import BalanceRow, EntryRow, LineRow, RangeRow, ShardRow, VerdictRow

Leg = tuple[str, str, int, str]  # account, side, amount_minor, currency
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def genesis(shard: int, topic: str) -> ShardHead:
    """The head of a shard that nothing was posted to."""
    return ShardHead(
        shard=shard, topic=topic, first_offset=0, next_offset=0, seq=0, head_hash=None, accounts=0, posted=0,
        duplicates=0, rejected=0, relayed_offset=0,
    )  # fmt: skip


@dataclass
class MemoryLedger:
    """Each `..._rows` is one table, in its order. `commits` is the order in which batches took effect: (shard, first
    offset, next offset); `posted` and `unposted` are what they decided."""

    shard_rows: list[ShardRow] = field(default_factory=list)
    entry_rows: dict[int, list[EntryRow]] = field(default_factory=dict)
    line_rows: dict[int, list[LineRow]] = field(default_factory=dict)
    account_rows: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    balance_rows: dict[int, list[BalanceRow]] = field(default_factory=dict)
    verdict_rows: dict[int, list[VerdictRow]] = field(default_factory=dict)
    range_rows: dict[int, list[RangeRow]] = field(default_factory=dict)
    signed_notes: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    tile_rows: dict[tuple[int, TreeName, int, int], bytes] = field(default_factory=dict)  # full ones, and edges
    live: dict[int, bytes] = field(default_factory=dict)  # shard -> note of its newest live checkpoint
    asked_for: list[bytes] = field(default_factory=list)

    heads: dict[int, ShardHead] = field(default_factory=dict)
    posted: dict[int, list[Posted]] = field(default_factory=dict)
    unposted: dict[int, list[Verdict]] = field(default_factory=dict)
    first: dict[str, Known] = field(default_factory=dict)
    commits: list[tuple[int, int, int]] = field(default_factory=list)
    halted: bool = False
    halts: dict[int, ShardHalt] = field(default_factory=dict)
    poison: set[int] = field(default_factory=set)  # offsets that the database refuses to take
    taken: set[int] = field(default_factory=set)  # offsets in whose place a row stands, though no head says so
    look_up_bytes_max: int = 10**9

    # --- what posters do ---

    def write(self, plan: Plan, relayed_offset: int) -> Plan:
        """All or nothing: every constraint is looked at before anything changes."""
        plan = self.checked(plan, relayed_offset)
        self.apply(plan)
        return plan

    def first_of(self, compared: Sequence[str], named: Sequence[str]) -> dict[str, Known]:
        """The first verdicts that there are; of those only named without the body. Raises HeavyLookUp."""
        size = sum(len(self.first[i].body or b"") for i in set(compared) if i in self.first)
        if size > self.look_up_bytes_max and len(set(compared)) > 1:
            raise HeavyLookUp("too much")
        known = {i: msgspec.structs.replace(self.first[i], body=None) for i in named if i in self.first}
        return known | {i: self.first[i] for i in compared if i in self.first}

    def checked(self, plan: Plan, relayed_offset: int) -> Plan:
        if any(item.record.offset in self.poison for item in plan.posted):
            raise BatchFailed("poison\n\u00e9")
        if any(item.record.offset in self.taken for item in plan.posted):
            raise BatchFailed("a row stands there", taken=True)
        ids = [item.draft.event_id for item in plan.posted]
        ids += [v.event_id for v in plan.verdicts if v.first_verdict and v.event_id]
        if len(set(ids)) != len(ids) or any(event_id in self.first for event_id in ids):
            raise EventIdTaken("an event id has its verdict already")
        opened = dict.fromkeys(leg[0] for item in plan.posted for leg in item.draft.lines)
        new = opened.keys() - {account for _, account in self.account_rows.get(plan.before.shard, [])}
        accounts = plan.before.accounts + len(new)
        after = msgspec.structs.replace(plan.after, relayed_offset=relayed_offset, accounts=accounts)
        assert after.posted == after.seq
        assert after.posted + after.duplicates + after.rejected == after.next_offset - after.first_offset
        assert after.first_offset <= self.heads[after.shard].relayed_offset <= relayed_offset <= after.next_offset
        return Plan(plan.before, after, plan.posted, plan.verdicts)

    def apply(self, plan: Plan) -> None:
        shard = plan.before.shard
        for item in plan.posted:
            self.first[item.draft.event_id] = Known(shard, item.seq, item.body)
            recorded_at = EPOCH + dt.timedelta(milliseconds=item.record.timestamp_ms)
            self.entry_rows.setdefault(shard, []).append(
                EntryRow(item.seq, item.draft.event_id, item.record.offset, recorded_at, item.entry_hash, item.body)
            )
            self.add_lines(shard, item.seq, [line[:4] for line in item.draft.lines])
        for verdict in plan.verdicts:
            if verdict.first_verdict and verdict.event_id:
                self.first[verdict.event_id] = Known(shard, 0, None, verdict.content_hash, verdict.reason)
            self.verdict_rows.setdefault(shard, []).append(
                VerdictRow(
                    verdict.offset, verdict.kind, verdict.reason, verdict.event_id, verdict.content_hash, verdict.line
                )
            )
        self.posted.setdefault(shard, []).extend(plan.posted)
        self.unposted.setdefault(shard, []).extend(plan.verdicts)
        self.heads[shard] = plan.after
        self.commits.append((shard, plan.before.next_offset, plan.after.next_offset))

    def add_lines(self, shard: int, seq: int, legs: Iterable[Leg]) -> None:
        """The lines of one entry, the accounts they open, and the balances they move."""
        accounts = self.account_rows.setdefault(shard, [])
        balances = self.balance_rows.setdefault(shard, [])
        numbers = {account: number for number, account in accounts}
        places = {row[:2]: place for place, row in enumerate(balances)}
        for line_no, (account, side, amount, currency) in enumerate(legs, 1):
            if account not in numbers:
                numbers[account] = len(numbers) + 1
                accounts.append((numbers[account], account))
            number, credit = numbers[account], side == "credit"
            place = places.setdefault((number, currency), len(balances))
            if place == len(balances):
                balances.append(BalanceRow(number, currency, 0, 0))
            before = balances[place]
            debits, credits_ = before.debits + amount * (not credit), before.credits + amount * credit
            balances[place] = BalanceRow(number, currency, debits, credits_)
            self.line_rows.setdefault(shard, []).append(
                LineRow(seq, line_no, number, -1 if credit else 1, amount, currency)
            )

    # --- what the oracle reads ---

    def shards(self) -> Sequence[ShardRow]:
        return [*self.shard_rows, *(_row_of(head) for _, head in sorted(self.heads.items()))]

    def totals(self) -> dict[str, int]:
        tables: dict[str, Mapping[int, Sequence[object]]] = {
            "entries": self.entry_rows,
            "lines": self.line_rows,
            "accounts": self.account_rows,
            "balances": self.balance_rows,
            "verdicts": self.verdict_rows,
        }
        return {name: sum(map(len, rows.values())) for name, rows in tables.items()}

    def not_held(self) -> dict[str, int]:
        return {}

    def entries(self, shard: int, first_seq: int, last_seq: int, bytes_max: int | None = None) -> Sequence[EntryRow]:
        rows = [row for row in self.entry_rows.get(shard, []) if first_seq <= row.seq <= last_seq]
        before = accumulate((len(row.body) for row in rows), initial=0)
        return [row for row, size in zip(rows, before, strict=False) if bytes_max is None or size < bytes_max]

    def lines(self, shard: int, first_seq: int, last_seq: int) -> Sequence[LineRow]:
        return sorted(row for row in self.line_rows.get(shard, []) if first_seq <= row.seq <= last_seq)

    def verdicts(self, shard: int, first_offset: int, next_offset: int) -> Sequence[VerdictRow]:
        return [row for row in self.verdict_rows.get(shard, []) if first_offset <= row.source_offset < next_offset]

    def accounts(self, shard: int) -> Iterator[tuple[int, str]]:
        yield from self.account_rows.get(shard, [])

    def balances(self, shard: int) -> Iterator[BalanceRow]:
        yield from self.balance_rows.get(shard, [])

    def ranges(self, shard: int) -> Iterator[RangeRow]:
        yield from self.range_rows.get(shard, [])

    def checkpoints(self, shard: int) -> Iterator[tuple[int, bytes]]:
        yield from self.signed_notes.get(shard, [])

    def live_notes(self) -> Iterator[tuple[int, bytes]]:
        yield from sorted(self.live.items())

    def leaves_kept(self, shard: int, tree: TreeName) -> int:
        lowest = [(place[3], held) for place, held in self.tile_rows.items() if place[:3] == (shard, tree, 0)]
        return max((number * 256 + len(held) // 32 for number, held in lowest), default=0)

    def tiles_kept(self, shard: int, tree: TreeName) -> int:
        return sum(place[:2] == (shard, tree) and len(held) == 8192 for place, held in self.tile_rows.items())

    def tiles(self, shard: int, tree: TreeName) -> ReadTile:
        def read(level: int, number: int, width: int) -> bytes:
            held = self.tile_rows.get((shard, tree, level, number), b"")
            if len(held) < width * 32:
                raise ValueError("not kept")
            return held[: width * 32]

        return read

    def operator_proofs(self) -> Iterator[bytes]:
        yield from self.asked_for


def _row_of(head: ShardHead) -> ShardRow:
    """As the table has it: without `relayed_offset`, of which the oracle asks nothing."""
    return ShardRow(*(getattr(head, name) for name in ShardRow._fields))
