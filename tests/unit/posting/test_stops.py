"""One shard stands still alone: beyond its dead-letter limit, or before what nobody can read; and goes on again."""

from __future__ import annotations

from tests.support.poster_world import World
from tests.support.settlements import record, settlement


def test_beyond_the_dead_letter_limit_the_shard_is_halted_and_no_other_one() -> None:
    world = World(*(record(offset, value=b"bad") for offset in range(50)), dead_letters_max=40)
    world.topic[1] = [record(offset, settlement(offset), shard=1) for offset in range(9)]
    world.run()
    halt = world.ledger.halts[0]
    assert (halt.kind, halt.at_offset, halt.resumed) == ("dead_letters", 40, False)
    assert halt.detail == "dead-letter limit: 42 of the last 42 records were rejected, more than 40"
    assert (world.ledger.heads[0].rejected, world.ledger.heads[1].posted, world.ledger.halted) == (40, 9, False)
    assert world.told.stops[0] == (True, True)
    assert world.source.paused == {0}
    world.decide(allowed=50)
    world.run()
    assert world.ledger.heads[0].next_offset == 50, "what the operator allowed passes, whoever reads it"
    assert world.told.stops[0] == (False, False)
    world.topic[0] += [record(offset, value=b"bad") for offset in range(50, 100)]
    world.run()
    assert world.ledger.halts[0].at_offset == 90, "and what came later counts"


def test_a_shard_goes_slowly_before_it_is_halted_and_says_so() -> None:
    world = World(*(record(offset, value=b"bad") for offset in range(50)), dead_letters_max=40)
    while 0 not in world.source.paused:
        assert world.poster.step()
    assert world.told.stops[0] == (False, True)
    assert 20 < world.ledger.heads[0].next_offset <= 22, "up to half of the limit at once, then in small parts"
    world.run()
    assert [upto - first for _, first, upto in world.ledger.commits[-9:]] == [2] * 9


def test_rejections_that_only_a_plan_shows_are_taken_in_small_parts_too() -> None:
    conflicts = [record(offset, settlement(0, order_id=f"or_{offset}")) for offset in range(60)]
    world = World(*conflicts, dead_letters_max=40)
    world.run()
    assert (world.ledger.halts[0].at_offset, world.ledger.heads[0].rejected) == (40, 39)


def test_what_nobody_can_read_halts_its_shard_until_it_is_set_aside() -> None:
    records = [record(offset, settlement(offset)) for offset in range(9)]
    world = World(*records)
    world.topic[1] = [record(offset, settlement(100 + offset), shard=1) for offset in range(9)]
    world.poster.step()
    world.source.unreadable[0] = (9, 12)
    world.topic[0] += [None, None, None, record(12, settlement(12))]
    world.run()
    halt = world.ledger.halts[0]
    assert (halt.kind, halt.at_offset, halt.resumed) == ("unreadable", 9, False)
    assert (world.ledger.heads[0].next_offset, world.ledger.heads[1].posted) == (9, 9)
    world.decide()  # read again: it still cannot be read
    world.run()
    assert (world.ledger.halts[0].halt_id, world.ledger.halts[0].resumed) == (2, False)
    world.decide(aside=12)
    world.run()
    head = world.ledger.heads[0]
    assert (head.next_offset, head.posted, head.rejected) == (13, 10, 3)
    assert [line.line for line in world.ledger.unposted[0]] == [
        b'{"offset":"%d","reason":"unreadable","verdict":"rejected"}' % offset for offset in (9, 10, 11)
    ]
    assert world.told.reasons == ["unreadable"] * 3
    assert not world.broker.logs.get(("dead_letters", 0)), "there are no bytes to keep"
    world.poster.close()
    world.check()
