"""The read side's commands on a real projection: the same rows in every form, and refusals that say what to do."""

from __future__ import annotations

import csv
import datetime as dt
import io
from pathlib import Path

import pytest
from pyarrow import parquet

from tests.support.command_line import Finance
from tests.support.projections import Ledger, ask_there, begun, feed, make_schemas, opened

pytestmark = pytest.mark.services

ENTRIES = 120
OWED = "liability:payable:seller-9"


@pytest.fixture
def ledger(environ: dict[str, str]) -> Ledger:
    url, ledger = environ["DATABASE_URL"], Ledger.of(ENTRIES)
    make_schemas(url)
    place = begun(url)
    with opened(url, place) as store:
        feed(store, ledger.items, 50)
    ask_there(url, place)
    return ledger


@pytest.fixture
def finance(environ: dict[str, str], ledger: Ledger) -> Finance:
    assert ledger.items
    return Finance({**environ, "DATABASE_URL_READING": environ["DATABASE_URL"]})


def test_a_settlement_and_an_order_are_shown_with_their_lines_and_what_they_come_to(finance: Finance) -> None:
    told = finance.json("settlement", "show", "st-0-42")
    assert [(line["account"], line["debit_minor"], line["credit_minor"]) for line in told["lines"]] == [
        ("asset:psp:shop-0", "142", None),
        (OWED, None, "139"),
        ("revenue:fees", None, "3"),
    ]
    assert [it["amount_minor"] for it in told["net"]] == ["142", "-139", "-3"]
    assert (told["attempts"], told["links"], told["more"]) == ([], [], False)
    assert finance.json("settlement", "show", "pi_41", "--reference")["lines"] == told["lines"]
    assert finance.json("order", "show", "order-42")["lines"] == told["lines"]
    said = finance("settlement", "show", "st-0-42")
    assert "1.42" in said
    assert "settlement st-0-42, order order-42, stripe pi_41" in said
    assert "the projection knows everything before 2025-11-01T00:01:59" in said


def test_what_nobody_knows_exits_1_and_what_cannot_be_a_name_exits_2(finance: Finance) -> None:
    assert finance.json("settlement", "show", "st_nobody", code=1)["ok"] is False
    assert "nothing is known of it" in finance("order", "show", "nobody", code=1)
    assert "cannot be the name" in finance("settlement", "show", "no name", code=2)


def test_a_statement_goes_on_page_by_page_from_and_to_a_time(finance: Finance) -> None:
    whole = finance.json("account", "statement", OWED)
    assert whole["cursor"] is None
    assert (whole["lines"][0]["debit_minor"], whole["lines"][0]["seq"]) == (None, "9")
    page = finance.json("account", "statement", OWED, "--limit", "4")
    rest = finance.json("account", "statement", OWED, "--as-known-at", page["position"], "--cursor", page["cursor"])
    assert page["lines"] + rest["lines"] == whole["lines"]
    assert rest["opening_minor"] == page["lines"][-1]["balance_minor"]
    some = finance.json("account", "statement", OWED, "--from", "2025-11-01T00:00:20Z", "--to", "2025-11-01T00:00:52Z")
    assert [line["seq"] for line in some["lines"]] == ["31", "42", "53"]
    assert some["opening_minor"] == whole["lines"][1]["balance_minor"]
    assert "another question" in finance("account", "statement", "revenue:fees", "--cursor", page["cursor"], code=3)


def test_balances_of_the_past_are_those_of_plain_python(finance: Finance, ledger: Ledger) -> None:
    then = ("--as-of", "2025-10-20", "--as-known-at", "2025-11-01T00:00:59.5Z")
    told = finance.json("balances", "--account", OWED, *then)
    (sides,) = ledger.sides(OWED, 60, dt.date(2025, 10, 20))
    assert told["balances"] == [
        {"account": OWED, "currency": "USD", "debits_minor": "0", "credits_minor": str(sides.credits),
         "balance_minor": str(sides.credits)}
    ]  # fmt: skip
    trial = finance.json("balances", "--trial", *then)
    assert trial["off_minor"] == {}
    assert {it["type"] for it in trial["trial_balance"]} == {"asset", "liability", "revenue"}
    assert "debits equal credits in every currency" in finance("balances", "--trial", *then)
    assert [it["account"] for it in finance.json("balances", "--type", "revenue", *then)["balances"]] == [
        "revenue:fees"
    ]


def test_the_same_rows_come_as_csv_and_parquet_and_no_file_is_replaced(finance: Finance, tmp_path: Path) -> None:
    asked = ("payables", "ageing", "--as-of", "2025-11-30")
    told = finance.json(*asked)["payables"]
    assert len(told) == 11
    rows = list(csv.DictReader(io.StringIO(finance(*asked, "--format", "csv"))))
    assert [{name: row[name] for name in told[0]} for row in rows] == told
    assert {row["balance"] for row in rows} == {f"{int(row['balance_minor']) / 100:.2f}" for row in rows}
    file = tmp_path / "payables.parquet"
    finance(*asked, "--format", "parquet", "--out", str(file))
    table = parquet.read_table(file)
    assert [str(it) for it in table.column("balance_minor").to_pylist()] == [row["balance_minor"] for row in told]
    assert b"finance.position" in table.schema.metadata
    assert "cannot be written" in finance(*asked, "--format", "csv", "--out", str(file), code=3)
    assert "--out goes with" in finance(*asked, "--out", str(tmp_path / "x"), code=2)


def test_revenue_and_fees_by_month_add_up(finance: Finance) -> None:
    months = ("--by", "month", "--from", "2025-09-01", "--to", "2025-11-30")
    told = finance.json("report", "revenue", *months)["amounts"]
    assert [row["month"] for row in told] == ["2025-09", "2025-10", "2025-11"]
    assert sum(int(row["amount_minor"]) for row in told) == 3 * ENTRIES
    assert finance.json("report", "fees", *months)["amounts"] == told
    assert "in order" in finance("report", "fees", "--from", "2026-01-01", "--to", "2025-01-01", code=2)


def test_what_cannot_be_answered_yet_is_refused_with_a_remedy(finance: Finance) -> None:
    assert "ask for an earlier time" in finance("balances", "--as-known-at", "2026-01-01", code=3)
    assert "has no line in the ledger" in finance("account", "statement", "asset:nobody", code=3)
    assert "is not an account" in finance("account", "statement", "nobody", code=2)
    assert "nor the position" in finance("balances", "--as-known-at", "yesterday", code=2)
    assert "go with --as-of" in finance("balances", "--format", "csv", code=2)


def test_a_ledger_without_a_projection_names_the_process_that_makes_one(environ: dict[str, str]) -> None:
    alone = Finance({**environ, "DATABASE_URL_READING": environ["DATABASE_URL"]})
    assert "finance run projector" in alone("order", "show", "order-1", code=3)


def test_a_read_side_that_is_away_exits_4_and_the_ledger_answers_on(finance: Finance) -> None:
    away = "postgresql://nobody@127.0.0.1:1/none"
    told = finance.json("settlement", "show", "st-0-42", code=4, DATABASE_URL_READING=away)
    assert told["error"]["kind"] == "unavailable"
    assert finance.json("balances", "--trial", DATABASE_URL_READING=away)["ok"] is True
