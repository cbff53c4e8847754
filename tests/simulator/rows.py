"""A ledger's rows in memory, built from tiny shards: every row can be edited, as a superuser could in Postgres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ledger_core.posting.verdicts import decode_verdict
from ledger_core.proving import range_proof
from ledger_core.signing import notes
from ledger_core.times import parse_time
from ledger_core.verify.ledger_rows import BalanceRow, EntryRow, LineRow, RangeRow, ShardRow, VerdictRow
from tests.support.archive_factory import Key, closed_of, cut_of
from tests.support.journal_factory import TinyShard


@dataclass
class MemoryLedger:
    """`ledger_core.verify.ledger_rows.LedgerReader`; each list is one table, in its order."""

    shard_rows: list[ShardRow] = field(default_factory=list)
    entry_rows: dict[int, list[EntryRow]] = field(default_factory=dict)
    line_rows: dict[int, list[LineRow]] = field(default_factory=dict)
    account_rows: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    balance_rows: dict[int, list[BalanceRow]] = field(default_factory=dict)
    verdict_rows: dict[int, list[VerdictRow]] = field(default_factory=dict)
    range_rows: dict[int, list[RangeRow]] = field(default_factory=dict)
    signed_notes: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    asked_for: list[bytes] = field(default_factory=list)

    def shards(self) -> Sequence[ShardRow]:
        return self.shard_rows

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

    def entries(self, shard: int, first_seq: int, last_seq: int) -> Sequence[EntryRow]:
        return [row for row in self.entry_rows.get(shard, []) if first_seq <= row.seq <= last_seq]

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

    def operator_proofs(self) -> Iterator[bytes]:
        yield from self.asked_for

    def add(self, shard: TinyShard, cuts: Sequence[tuple[int, int]], key: Key, *, signed: bool = True) -> None:
        """Add a shard, closed and signed at each (last_seq, next_offset)."""
        number = shard.shard
        self.entry_rows[number] = [
            EntryRow(
                item.seq,
                item.entry.event_id,
                item.offset,
                parse_time(item.entry.recorded_at),
                item.entry_hash,
                item.body,
            )
            for item in shard.entries
        ]
        self._add_lines(shard)
        verdicts = {offset: (decode_verdict(line), line) for offset, line in sorted(shard.verdicts.items())}
        self.verdict_rows[number] = [
            VerdictRow(
                offset,
                verdict.verdict,
                verdict.reason,
                verdict.event_id,
                bytes.fromhex(verdict.content_hash) if verdict.content_hash else None,
                line,
            )
            for offset, (verdict, line) in verdicts.items()
        ]
        kinds = [verdict.verdict for verdict, _ in verdicts.values()]
        self.shard_rows.append(
            ShardRow(
                number,
                shard.topic,
                shard.first_offset,
                shard.next_offset,
                len(shard.entries),
                shard.head,
                len(self.account_rows[number]),
                len(shard.entries),
                kinds.count("duplicate"),
                kinds.count("rejected"),
            )
        )
        self._add_ranges(shard, cuts, key, signed)

    def _add_lines(self, shard: TinyShard) -> None:
        numbers: dict[str, int] = {}
        sums: dict[tuple[int, str], list[int]] = {}
        rows = self.line_rows[shard.shard] = []
        for item in shard.entries:
            for line_no, leg in enumerate(item.entry.lines, 1):
                number = numbers.setdefault(leg.account, len(numbers) + 1)
                credit, amount = leg.side == "credit", int(leg.amount_minor)
                sums.setdefault((number, leg.currency), [0, 0])[credit] += amount
                rows.append(LineRow(item.seq, line_no, number, -1 if credit else 1, amount, leg.currency))
        self.account_rows[shard.shard] = [(number, account) for account, number in numbers.items()]
        self.balance_rows[shard.shard] = [
            BalanceRow(number, currency, debits, credits_) for (number, currency), (debits, credits_) in sums.items()
        ]

    def _add_ranges(self, shard: TinyShard, cuts: Sequence[tuple[int, int]], key: Key, signed: bool) -> None:
        ranges = self.range_rows[shard.shard] = []
        signed_notes = self.signed_notes[shard.shard] = []
        prev, prev_proof_hash = None, None
        for number, (last_seq, next_offset) in enumerate(cuts, 1):
            prev = cut_of(shard, prev, last_seq, next_offset)
            closed = closed_of(prev, shard, key, number, prev_proof_hash)
            prev_proof_hash = closed.hash.hex()
            proof = range_proof.assemble_proof(closed.payload, key.sign_digest(closed.hash)) if signed else None
            ranges.append(
                RangeRow(
                    number,
                    closed.first_seq,
                    closed.last_seq,
                    closed.first_offset,
                    closed.next_offset,
                    closed.payload,
                    closed.hash,
                    closed.checkpoint_text,
                    closed.tree,
                    closed.head_hash,
                    proof,
                )
            )
            if signed and closed.last_seq not in {size for size, _ in signed_notes}:
                text = closed.checkpoint_text
                signed_notes.append((last_seq, notes.assemble(text, key.kid, key.public, key.sign_text(text))))
