"""Checking the ledger's rows against the bodies that are chained: columns, lines, accounts, balances, verdicts.

Guarantees: every row that repeats something of a body is compared with the body, and balances and account numbers are
built again from the bodies alone; a row that somebody edited is named by shard, sequence and field. It does not
decide whether a body is genuine: the chain and the proofs do (`verify_range`, `verify_ledger`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ledger_core.books.entries import EntryFields
from ledger_core.chain import link
from ledger_core.findings import Collector
from ledger_core.posting.verdicts import VerdictLine
from ledger_core.times import format_time
from ledger_core.verify.ledger_rows import BalanceRow, EntryRow, LineRow, VerdictRow


@dataclass(slots=True)
class RowFold:
    """What the bodies of one shard add up to, entry by entry from the first."""

    shard: int
    found: Collector
    numbers: dict[str, int] = field(default_factory=dict)  # account -> account_no, in order of first use
    sums: dict[tuple[int, str], list[int]] = field(default_factory=dict)  # [debits, credits]
    lines: int = 0
    whole: bool = True  # False once a body could not be read: then sums are not comparable any more

    def take(self, rows: Sequence[EntryRow], entries: Sequence[EntryFields | None], lines: Sequence[LineRow]) -> None:
        """Compare rows and lines of the next entries with the bodies, and add the bodies up."""
        wanted: list[tuple[int, int, int, int, int, str]] = []
        for row, entry in zip(rows, entries, strict=True):
            if entry is None:
                self.whole = False
                continue
            if row.event_id != entry.event_id:
                self._differs(row.seq, "event_id", row.event_id, entry.event_id)
            if str(row.source_offset) != entry.source.offset:
                self._differs(row.seq, "source_offset", str(row.source_offset), entry.source.offset)
            if format_time(row.recorded_at) != entry.recorded_at:
                self._differs(row.seq, "recorded_at", format_time(row.recorded_at), entry.recorded_at)
            self._add_up(row.seq, entry, wanted)
        self.lines += len(lines)
        if list(map(tuple, lines)) != wanted:
            self._compare_lines(lines, wanted)

    def _add_up(self, seq: int, entry: EntryFields, wanted: list[tuple[int, int, int, int, int, str]]) -> None:
        numbers, sums = self.numbers, self.sums
        for line_no, leg in enumerate(entry.lines, 1):
            number = numbers.get(leg.account)
            if number is None:
                number = numbers[leg.account] = len(numbers) + 1
            try:
                amount = int(leg.amount_minor)
            except ValueError:  # reported with the entry's form
                self.whole = False
                continue
            side = leg.side == "credit"
            pair = sums.get((number, leg.currency))
            if pair is None:
                pair = sums[number, leg.currency] = [0, 0]
            pair[side] += amount
            wanted.append((seq, line_no, number, -1 if side else 1, amount, leg.currency))

    def _compare_lines(self, lines: Iterable[LineRow], wanted: Iterable[tuple[int, int, int, int, int, str]]) -> None:
        have: dict[tuple[int, int], LineRow] = {}
        for row in lines:
            if (row.seq, row.line_no) in have:
                message = f"line {row.line_no} stands twice"
                self.found.add("ledger.line", message, seq=row.seq, field=f"lines[{row.line_no}]")
            have[row.seq, row.line_no] = row
        want = {row[:2]: LineRow(*row) for row in wanted}
        for place in sorted(have.keys() | want.keys()):
            stored, said = have.get(place), want.get(place)
            seq, line_no = place
            if stored is None or said is None:
                what = "is missing" if stored is None else "is not in the entry"
                self.found.add("ledger.line", f"line {line_no} {what}", seq=seq, field=f"lines[{line_no}]")
                continue
            for name in LineRow._fields[2:]:
                have_value, said_value = getattr(stored, name), getattr(said, name)
                if have_value != said_value:
                    self._differs(seq, f"lines[{line_no}].{name}", have_value, said_value, "ledger.line")

    def compare_accounts(self, rows: Iterable[tuple[int, str]]) -> int:
        """Compare the accounts table; its number of rows comes back."""
        have = dict(rows)
        if not self.whole:
            return len(have)
        want = {number: account for account, number in self.numbers.items()}
        for number in sorted(have.keys() | want.keys()):
            if have.get(number) != want.get(number):
                message = f"account_no {number} is {have.get(number)}, by first use it is {want.get(number)}"
                self.found.add("ledger.account", message, field="account")
        return len(have)

    def compare_balances(self, rows: Iterable[BalanceRow]) -> int:
        """Compare the balances table; its number of rows comes back."""
        have = {(row.account_no, row.currency): (row.debits, row.credits) for row in rows}
        if not self.whole:
            return len(have)
        names = {number: account for account, number in self.numbers.items()}
        for key in sorted(have.keys() | self.sums.keys()):
            wanted = self.sums.get(key)
            for at, name in enumerate(("debits", "credits")):
                said = have[key][at] if key in have else None
                recomputed = wanted[at] if wanted is not None else None
                if said != recomputed:
                    message = (
                        f"{name} of {names.get(key[0], key[0])} are {said} {key[1]}, the entries give {recomputed}"
                    )
                    self.found.add("ledger.balance", message, field=name, place=f"account_no {key[0]}")
        return len(have)

    def _differs(self, seq: int, name: str, row: object, body: object, code: str = "ledger.column") -> None:
        self.found.add(code, f"the row says {row}, the body {body}", seq=seq, field=name)


def locate_break(rows: Sequence[EntryRow], prev_hash: bytes | None, shard: int, found: Collector) -> None:
    """Find the entries whose stored hash is not that of their body after the stored hash before it.

    Each link is judged with its own neighbours, so an edited body is named alone and not with all that follow it.
    """
    for row in rows:
        try:
            lost = prev_hash is None and row.seq > 1  # the entry before is missing, and was reported
            sound = lost or link(row.body, prev_hash or None) == row.entry_hash
        except ValueError:
            sound = False
        if not sound:
            message = "entry_hash is not that of the body after the hash before it: one of them was edited"
            found.add("ledger.chain", message, shard=shard, seq=row.seq, field="body or entry_hash")
        prev_hash = row.entry_hash


def compare_verdicts(rows: Sequence[VerdictRow], verdicts: Sequence[VerdictLine], found: Collector) -> None:
    """Compare the columns of verdict rows with their lines, where all lines could be read."""
    if len(rows) != len(verdicts):
        return
    for row, line in zip(rows, verdicts, strict=True):
        content = None if row.content_hash is None else row.content_hash.hex()
        for name, said, wanted in (
            ("source_offset", str(row.source_offset), line.offset),
            ("verdict", row.verdict, line.verdict),
            ("reason", row.reason, line.reason),
            ("event_id", row.event_id, line.event_id),
            ("content_hash", content, line.content_hash),
        ):
            if said != wanted:
                message = f"the row says {said}, the verdict line {wanted}"
                found.add("ledger.verdict", message, field=name, place=f"offset {row.source_offset}")
