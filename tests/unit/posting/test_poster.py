"""The poster's shell in memory: poison, limits, halts, lag, what is told of shards; and the relay's own rules."""

from __future__ import annotations

import msgspec
import pytest

from consumers.kafka.bounded_read import HEADERS_UNREADABLE, headers_of
from consumers.posting import relay_backlog
from consumers.posting.batch_pieces import ROWS_MAX
from consumers.posting.batch_transaction import HOLE_OFFSETS_MAX
from consumers.posting.relay import DEAD_LETTER_BYTES_MAX
from ledger_core.books.event_rules import LINES_MAX
from ledger_core.books.settlements import LineFields
from ledger_core.errors import Corrupt, Unavailable
from ledger_core.ports import Record
from schemas.wire.outcomes import decode_outcome
from tests.support.poster_world import World
from tests.support.settlements import APPENDED_AT_MS, TOPIC, record, settlement


def test_record_the_database_refuses_is_found_by_halves_and_halts_its_shard_alone() -> None:
    """Everything before it is posted, and so is what other shards have; a version that mends it goes on."""
    world = World(*(record(offset, settlement(offset)) for offset in range(9)))
    world.topic[1] = [record(offset, settlement(100 + offset), shard=1) for offset in (0, 1, 2)]
    world.ledger.poison.add(5)
    world.run()
    halt = world.ledger.halts[0]
    assert (halt.kind, halt.at_offset, world.ledger.heads[0].next_offset) == ("refused", 5, 5)
    assert halt.detail == "shard 0: offset 5 cannot be posted: poison ?"
    assert (world.ledger.heads[1].posted, world.ledger.halted) == (3, False)
    world.decide()
    world.run()
    assert (world.ledger.halts[0].halt_id, world.ledger.halts[0].resumed) == (2, False)
    world.ledger.poison.clear()
    world.decide()
    world.run()
    assert world.ledger.heads[0].posted == 9
    world.poster.close()
    world.check()


def test_row_that_stands_where_the_head_says_nothing_does_is_found_by_halves_and_named() -> None:
    world = World(*(record(offset, settlement(offset)) for offset in range(9)))
    world.ledger.taken.add(5)
    with pytest.raises(Corrupt, match="offset 5 cannot be posted"):
        world.run()
    assert world.ledger.heads[0].next_offset == 5
    world.poster.close()
    world.check()


def test_offsets_without_a_record_are_no_dead_letters() -> None:
    world = World(*[None] * 8, record(8, settlement(1)), dead_letters_max=4)
    world.run()
    assert (world.ledger.halts, world.ledger.heads[0].rejected) == ({}, 8)
    assert world.told.reasons == []


def test_records_that_write_many_rows_are_posted_in_several_transactions() -> None:
    """One long transaction would be ended by the server, and so would the same one after it, for ever."""
    legs: list[LineFields] = [
        ("asset:psp:stripe" if leg % 2 else "revenue:fees", "debit" if leg % 2 else "credit", 1, "USD", None)
        for leg in range(LINES_MAX)
    ]
    world = World(*(record(offset, settlement(offset, lines=legs)) for offset in range(250)))
    world.run()
    assert [(first, upto) for _, first, upto in world.ledger.commits] == [(0, 99), (99, 198), (198, 250)]
    assert world.ledger.heads[0].posted == 250
    world.check()


def test_offsets_without_a_record_weigh_as_the_rows_they_write() -> None:
    hole = [None] * (HOLE_OFFSETS_MAX - 10)
    rows = 6 * [*hole, 1]
    world = World(*(record(at, settlement(at)) if it else None for at, it in enumerate(rows)))
    world.run()
    every = [upto for _, _, upto in world.ledger.commits]
    assert len(every) == 2, "as many as fit"
    assert ROWS_MAX - HOLE_OFFSETS_MAX < every[0] <= ROWS_MAX
    world.check()


def test_a_hole_of_any_size_is_posted_in_steps_each_of_which_is_progress() -> None:
    hole = [None] * (5 * HOLE_OFFSETS_MAX + 10)
    world = World(*hole, record(len(hole), settlement(1)), dead_letters_max=4)
    world.run()
    steps = [(first, upto) for _, first, upto in world.ledger.commits]
    assert steps[:2] == [(0, HOLE_OFFSETS_MAX), (HOLE_OFFSETS_MAX, 2 * HOLE_OFFSETS_MAX)]
    assert (len(steps), steps[-1]) == (6, (5 * HOLE_OFFSETS_MAX, len(hole) + 1))
    assert (world.told.steps, world.ledger.halts) == (6, {})
    world.check()


def test_a_shard_that_must_be_published_again_is_so_in_pieces_and_posts_only_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All at once, inside the assignment, would cost a large backlog its place in the group, and wake the watchdog."""
    monkeypatch.setattr(relay_backlog, "PIECE_OFFSETS_MAX", 10)
    world = World(*(record(offset, settlement(offset)) for offset in range(35)))
    world.run()
    world.ledger.heads[0] = msgspec.structs.replace(world.ledger.heads[0], relayed_offset=0)
    assert world.source.start_offset(0) == 35
    world.topic[0].append(record(35, settlement(35)))
    told = []
    while world.ledger.heads[0].next_offset == 35:
        told.append(world.ledger.heads[0].relayed_offset)
        assert world.poster.step()
    assert told == [10, 20, 30]
    assert world.source.paused == set()
    world.run()
    world.check()


def test_partition_assigned_during_a_halt_is_paused_and_read_whole_on_resume() -> None:
    world = World(*(record(offset, settlement(offset)) for offset in range(3)))
    world.ledger.halted = True
    for _ in range(3):
        assert not world.poster.step()
    assert world.source.paused == {0}
    world.ledger.halted = False
    world.run()
    assert world.ledger.heads[0].posted == 3


def test_lag_in_seconds_is_the_age_of_what_waits_and_zero_when_nothing_does() -> None:
    world = World(*(record(offset, settlement(offset)) for offset in range(4)), batch_records_max=2)
    world.poster.step()
    assert world.told.lags[0][0] == 2
    assert world.told.lags[0][1] == pytest.approx(10, abs=0.01)
    world.run()
    assert world.told.lags[0] == (0, 0.0)
    world.now += 3600
    world.poster.step()
    world.topic[0].append(record(4, settlement(4)))
    world.ledger.halted = True
    world.poster.step()
    assert world.told.lags[0] == (1, 0.0), "an hour without events is no lag"


def test_every_record_is_told_as_relayed_once_and_a_lost_shard_as_released() -> None:
    world = World(*(record(offset, settlement(offset)) for offset in range(7)), batch_records_max=2)
    world.run()
    world.poster.step()
    assert world.told.relayed_records == 7
    world.poster.close()
    assert world.told.gone == [0]
    world.check()


def test_clean_stop_notes_what_is_published_and_a_failed_step_notes_nothing_new() -> None:
    clean = World(record(0, settlement(0)))
    clean.poster.step()
    clean.poster.close()
    assert clean.ledger.heads[0].relayed_offset == 1
    failed = World(record(0, settlement(0)))
    failed.faults.arm("queue", "not applied")
    with pytest.raises(Unavailable):
        failed.poster.step()
    failed.poster.close()
    assert failed.ledger.heads[0].relayed_offset == 0
    failed.check()


@pytest.mark.parametrize("part", ["key", "value", "headers"])
def test_dead_letter_that_fits_no_topic_is_told_without_its_bytes(part: str) -> None:
    huge = bytes(DEAD_LETTER_BYTES_MAX)
    made = Record(
        TOPIC, 0, 0, APPENDED_AT_MS, huge if part == "key" else b"k", huge if part == "value" else b"bad",
        (("h", huge if part == "headers" else b""),),
    )  # fmt: skip
    world = World(made, record(1, settlement(1)))
    world.run()
    ((key, value, headers),) = world.broker.logs["dead_letters", 0]
    assert (key, value) == (None, None)
    assert dict(headers)["finance.omitted"] == (
        b"%d bytes of key, value and headers: `finance dlq show 0 0` has them" % world_size(made)
    )
    outcomes = [decode_outcome(value) for value in world.broker.values("outcomes", 0)]
    assert {outcome.verdict for outcome in outcomes} == {"posted", "rejected"}


def world_size(made: Record) -> int:
    return len(made.key or b"") + len(made.value or b"") + len(made.headers[0][1] or b"") + 11


def test_header_names_that_are_not_utf_8_do_not_stop_the_poster() -> None:
    """The client raises this SystemError for ever on such a record; any publisher can send one."""

    class Message:
        def headers(self) -> None:
            raise SystemError("<method 'headers'> returned a result with an exception set")

    assert headers_of(Message()) == HEADERS_UNREADABLE  # type: ignore[arg-type]
