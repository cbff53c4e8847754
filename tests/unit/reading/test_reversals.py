"""What takes an entry back stays within it, or the check names what went beyond."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ledger_core.reading.reversals import ReversalEntry, check_reversals
from tests.support.plain_ledger import lines_of

SALE = ("dr asset:psp:s 100.00 USD", "cr liability:payable:a 97.00 USD", "cr revenue:fees 3.00 USD")
REFUND_60 = ("cr asset:psp:s 60.00 USD", "dr liability:payable:a 58.20 USD", "dr revenue:fees 1.80 USD")
FAILED_60 = ("dr asset:psp:s 60.00 USD", "cr liability:payable:a 58.20 USD", "cr revenue:fees 1.80 USD")
SELLER_PAYS = ("cr asset:psp:s 100.00 USD", "dr liability:payable:a 100.00 USD")
BY_BANK = ("cr asset:bank:x 100.01 USD", "dr liability:payable:a 100.01 USD")
FEE_TWICE = ("dr liability:payable:a 1.00 USD", "dr revenue:fees 4.00 USD", "cr asset:psp:s 5.00 USD")
OPENED = ("dr asset:dispute:s 60.00 USD", "cr asset:psp:s 60.00 USD")
LOST = ("cr asset:dispute:s 60.00 USD", "dr liability:payable:a 60.00 USD")
WON = ("dr asset:psp:s 60.00 USD", "cr asset:dispute:s 60.00 USD")
SENT = ("dr asset:clearing:s 50.00 USD", "cr asset:psp:s 50.00 USD")
BACK_50 = ("dr asset:psp:s 50.00 USD", "cr asset:clearing:s 50.00 USD")
YEN = ("cr asset:psp:s 60 JPY", "dr liability:payable:a 60 JPY")

# name -> entries as (id, what it reverses, lines), and the findings: code and number of the entry they stand at
CASES: dict[str, tuple[list[tuple[str, str | None, Sequence[str]]], list[tuple[str, int]]]] = {
    "a sale": ([("sale", None, SALE)], []),
    "a part": ([("sale", None, SALE), ("r", "sale", REFUND_60)], []),
    "two parts of sixty": (
        [("sale", None, SALE), ("r", "sale", REFUND_60), ("r2", "sale", REFUND_60)],
        [("reversal.exceeds", 1), ("reversal.exceeds", 1)],  # of the money, and of the fees
    ),
    "the second after the first failed": (
        [("sale", None, SALE), ("r", "sale", REFUND_60), ("f", "r", FAILED_60), ("r2", "sale", REFUND_60)],
        [],
    ),
    "failed twice": (
        [("sale", None, SALE), ("r", "sale", REFUND_60), ("f", "r", FAILED_60), ("g", "r", FAILED_60)],
        [("reversal.exceeds", 2)] * 2 + [("reversal.adds", 1)] * 2,
    ),
    "the seller bears the fee": ([("sale", None, SALE), ("r", "sale", SELLER_PAYS)], []),
    "a cent too much, by a bank": ([("sale", None, SALE), ("r", "sale", BY_BANK)], [("reversal.exceeds", 1)]),
    "more fees than there were": ([("sale", None, SALE), ("r", "sale", FEE_TWICE)], [("reversal.exceeds", 1)]),
    "the wrong way": (
        [("sale", None, SALE), ("r", "sale", FAILED_60)],
        [("reversal.adds", 1), ("reversal.adds", 1)],
    ),
    "of another settlement": ([("r", "sale", REFUND_60)], [("reversal.elsewhere", 1)]),
    "of itself": ([("r", "r", REFUND_60)], [("reversal.elsewhere", 1)]),
    "another currency": ([("sale", None, SALE), ("r", "sale", YEN)], [("reversal.exceeds", 1)]),
    "a dispute lost after a refund": (
        [("sale", None, SALE), ("r", "sale", REFUND_60), ("d", None, OPENED), ("l", "sale", LOST)],
        [("reversal.exceeds", 1)],
    ),
    "a dispute lost": ([("sale", None, SALE), ("d", None, OPENED), ("l", "sale", LOST)], []),
    "a dispute won and lost": (
        [("sale", None, SALE), ("d", None, OPENED), ("w", "d", WON), ("l", "sale", LOST)],
        [("reversal.dispute", 4)],
    ),
    "a payout that came back": ([("p", None, SENT), ("b", "p", BACK_50)], []),
    "a payout that came back twice": (
        [("p", None, SENT), ("b", "p", BACK_50), ("c", "p", BACK_50)],
        [("reversal.exceeds", 1), ("reversal.exceeds", 1)],
    ),
}


def entry(seq: int, event_id: str, reverses: str | None, lines: Sequence[str]) -> ReversalEntry:
    legs = [
        (account, currency, amount if side == "debit" else -amount)
        for account, side, amount, currency, _ in lines_of("\n".join(lines))
    ]
    return ReversalEntry(0, seq, event_id, reverses, legs)


@pytest.mark.parametrize("name", CASES)
def test_what_goes_beyond_is_named_where_it_is(name: str) -> None:
    rows, expected = CASES[name]
    entries = [entry(seq, *row) for seq, row in enumerate(rows, 1)]
    report = check_reversals(entries, "settlement st_1")
    assert sorted((it.code, it.seq) for it in report.findings) == sorted(expected)
    assert report.counts["entries"] == len(rows)
    assert check_reversals(reversed(entries), "x").counts == report.counts, "the order does not count"


def test_a_finding_says_how_much_of_what() -> None:
    entries = [entry(1, "sale", None, SALE), entry(2, "r", "sale", BY_BANK)]
    (finding,) = check_reversals(entries, "settlement st_1").findings
    assert str(finding) == (
        "reversal.exceeds: event sale moved 100.00 USD on asset:*, and 100.01 USD of it was taken back"
        " (shard 0, seq 1, field lines, in settlement st_1)"
    )
