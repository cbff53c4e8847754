"""A stream like a bad day's: mostly sales, with repeats, conflicts, reversals and things that cannot be posted."""

from __future__ import annotations

import random
from collections.abc import Iterator

from ledger_core.books.settlements import LineFields
from ledger_core.ports import Record
from tests.support.settlements import TOPIC, event_id, record, sale, settlement


def mixed(count: int, seed: int, *, first: int = 0, shards: int = 2) -> Iterator[Record]:
    """`count` records over the shards. Event numbers of different shards never meet. Offsets are left to the broker."""
    chance = random.Random(seed)
    used: dict[int, list[int]] = {shard: [] for shard in range(shards)}
    for index in range(first, first + count):
        shard = index % shards
        known, dice = used[shard], chance.random()
        if dice < 0.08 and known:  # a repeat, or a conflict
            n = chance.choice(known)
            yield record(0, settlement(n, lines=_lines(n + chance.choice((0, 0, 1)))), shard=shard)
        elif dice < 0.11 and known:
            reversed_n = chance.choice((chance.choice(known), 10**9 + index))
            yield record(0, settlement(index, lines=_lines(index), reverses=event_id(reversed_n)), shard=shard)
        elif dice < 0.14:
            yield record(0, settlement(index, lines=[*_lines(index), _lines(index)[0]]), shard=shard)
        elif dice < 0.17:
            value = chance.randbytes(chance.randint(0, 40))
            yield Record(TOPIC, shard, 0, 0, chance.choice((None, b"key")), value, (("trace", value), ("none", None)))
        else:
            known.append(index)
            yield record(0, settlement(index, lines=_lines(index)), shard=shard)


def _lines(n: int) -> list[LineFields]:
    return sale(1_000 + n % 5_000, f"seller-{n % 97}", ("USD", "EUR", "JPY")[n % 3])
