"""The demo's parts that need no server: its expectation, and what it calls a failure."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest

from finance.workshop.demo.expectation import expectation
from finance.workshop.demo.model import Cheat, Comparison, Demo, DemoCheck, ShardSummary, Stage, Summary, TypeTotal
from finance.workshop.sample_data import SampleCounts, sample


@pytest.mark.parametrize("month", ["2018-01", "2017-02"])
def test_sums_of_the_sales_data_are_the_sums_of_the_events_made_of_them(month: str) -> None:
    counts, sums = SampleCounts(), dict.fromkeys(("asset", "expense", "liability", "revenue"), 0)
    for event in sample(month, counts):
        for line in event.lines:
            sums[line.account.partition(":")[0]] += line.amount_minor if line.side == "debit" else -line.amount_minor
    expected = expectation(month)
    assert (expected.baskets, expected.unpaid_baskets) == (counts.events, counts.skipped)
    assert sums == {
        "asset": expected.paid,
        "expense": expected.discounts,
        "liability": -expected.owed,
        "revenue": -expected.fees,
    }
    assert sum(sums.values()) == 0


SOUND = Demo(
    month="2017-03",
    folder="demo",
    stack_seconds=9.0,
    summary=Summary(
        stages=(Stage("posted", "entries", 10, 1.0, 0.5),),
        comparisons=(Comparison("entries", 10, 10, False),),
        shards=(ShardSummary(0, 10, 0, 0, 1, 1, "ab" * 32, dt.datetime(2033, 1, 1, tzinfo=dt.UTC)),),
        trial_balance=(TypeTotal("asset", 1, 500, 0), TypeTotal("liability", 1, 0, 500)),
        modes=("COMPLIANCE",),
        audit_events=3,
    ),
    cheats=(Cheat("edits a row", "finance verify ledger", 1, "ledger.chain: shard 0", True),),
    checks=(DemoCheck("finance verify ledger", 0, "10 entries"),),
    lines=(),
    seconds=60.0,
)


def with_summary(**changes: Any) -> Demo:
    return dataclasses.replace(SOUND, summary=dataclasses.replace(SOUND.summary, **changes))


@pytest.mark.parametrize(
    ("demo", "named"),
    [
        (with_summary(comparisons=(Comparison("entries", 10, 9, False),)), "entries"),
        (with_summary(trial_balance=(TypeTotal("asset", 1, 500, 0),)), "trial balance"),
        (with_summary(modes=("COMPLIANCE", "GOVERNANCE")), "GOVERNANCE"),
        (with_summary(modes=()), "nothing"),
        (dataclasses.replace(SOUND, cheats=(dataclasses.replace(SOUND.cheats[0], caught=False),)), "edits a row"),
        (dataclasses.replace(SOUND, checks=(DemoCheck("finance verify audit", 1, "a gap"),)), "finance verify audit"),
    ],
)
def test_every_kind_of_failed_expectation_is_named(demo: Demo, named: str) -> None:
    assert SOUND.failures == []
    (failure,) = demo.failures
    assert named in failure
