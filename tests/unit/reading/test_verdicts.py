"""Verdicts out of the outcomes topic: one row an offset, however often they are said."""

from __future__ import annotations

import pytest

from ledger_core.reading.verdicts import HeardOutcome, OutcomeReach, ProjectedVerdict, read_outcomes

EVENT = "0198a8a8-0000-8000-8000-000000000000"


def said(*source_offsets: int, verdict: str = "rejected", at: int = 0) -> list[HeardOutcome]:
    """Outcomes of these records, from an offset of their own topic on."""
    return [
        HeardOutcome(own, source, EVENT, f"st-{source}", verdict, "conflict")
        for own, source in enumerate(source_offsets, at)
    ]


def test_what_posted_nothing_is_a_row_and_what_was_posted_is_not() -> None:
    outcomes = [*said(0, 1), *said(2, verdict="posted"), *said(3, verdict="duplicate")]
    found = read_outcomes(OutcomeReach(1), outcomes)
    assert [row.source_offset for row in found.rows] == [0, 1, 3]
    assert found.rows[2] == ProjectedVerdict(1, 3, EVENT, "st-3", "duplicate", "conflict")
    assert found.reach.decided == 4


def test_what_is_said_again_after_a_restore_is_one_row() -> None:
    found = read_outcomes(OutcomeReach(0), said(0, 1, 2, 0, 1, 2, 3))
    assert [row.source_offset for row in found.rows] == [0, 1, 2, 3]
    assert found.reach == OutcomeReach(0, decided=4, complete_from=0, next_offset=7)


@pytest.mark.parametrize("cut", range(8))
def test_how_outcomes_were_batched_changes_nothing(cut: int) -> None:
    outcomes = said(5, 6, 7, 6, 7, 8, 9)
    whole = read_outcomes(OutcomeReach(0), outcomes)
    first = read_outcomes(OutcomeReach(0), outcomes[:cut])
    second = read_outcomes(first.reach, outcomes[cut:])
    assert (first.rows + second.rows, second.reach) == (whole.rows, whole.reach)


HEARD = OutcomeReach(0, decided=10, complete_from=0, next_offset=10)


@pytest.mark.parametrize(
    ("before", "outcomes", "complete_from"),
    [
        (OutcomeReach(0), said(0, 1), 0),
        (OutcomeReach(0), said(40, 41), 0),  # the shard began there: the topic has all of its outcomes
        (OutcomeReach(0), said(40, 41, at=7), 40),  # the topic forgot seven
        (HEARD, said(10, 11, at=10), 0),
        (HEARD, said(12, 15, at=10), 0),  # ends of transactions have no outcome
        (HEARD, said(40, 41, at=30), 40),
        (HEARD, said(10, 11, at=30), 0),  # what was forgotten was said again before
        (HEARD, said(8, 9, 10, at=30), 0),
        (HEARD, said(8, 9, 12, at=30), 0),
        (OutcomeReach(0, 50, 40, 30), said(60, at=30), 40),
    ],
)
def test_what_the_topic_forgot_is_named(before: OutcomeReach, outcomes: list[HeardOutcome], complete_from: int) -> None:
    assert read_outcomes(before, outcomes).reach.complete_from == complete_from


def test_the_free_text_of_a_verdict_is_not_kept() -> None:
    assert not {"detail", "memo", "metadata"} & {*ProjectedVerdict._fields, *HeardOutcome._fields}


@pytest.mark.parametrize("key", ["a\0b", "Ada of Elm Street", "", "ü", "x" * 129])
def test_a_key_that_is_not_an_id_is_not_kept(key: str) -> None:
    """A rejected record's key is whatever its publisher sent: Postgres takes no NUL, and a person may stand there."""
    (row,) = read_outcomes(OutcomeReach(0), [HeardOutcome(0, 0, "no-uuid", key, "rejected", "key_mismatch")]).rows
    assert (row.event_id, row.settlement_id, row.reason) == (None, None, "key_mismatch")
