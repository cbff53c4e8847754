"""What stands beside the rows of an answer."""

from __future__ import annotations

import pytest

from finance.cli.reading.shown import Column, Shown, show
from ledger_core.reading.tokens import position_token

COLUMNS = (Column("account"), Column("balance", "amount"), Column("currency"), Column("hash", in_tables=False))
ROWS = [("revenue:fees", -1999, "USD", "ab"), ("asset:bank:main", 5, "JPY", "cd")]


def told(shards: int, cursor: str | None) -> Shown:
    position = position_token(dict.fromkeys(range(shards), 10**9))
    return Shown("balances", COLUMNS, ROWS, position, 0, cursor)


def test_a_position_of_few_shards_is_shown_to_be_copied_and_a_long_one_is_not() -> None:
    few, many = told(2, "c1.x"), told(1000, "c1.x")
    assert few.reach()[1] == f"there is more: add --as-known-at {few.position} --cursor c1.x"
    assert all(len(line) < 200 and many.position not in line for line in many.reach())
    assert "--json" in many.reach()[1]
    assert len(told(2, None).reach()) == 1


def test_amounts_are_exact_in_their_currency_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    show(told(1, None), "table", None, as_json=False)
    table = capsys.readouterr().out.splitlines()
    assert [line.split() for line in table[:3]] == [
        ["account", "balance", "currency"],
        ["revenue:fees", "-19.99", "USD"],
        ["asset:bank:main", "5", "JPY"],
    ]
