"""How far an answer reaches, and which part of the ledger a question is about. Pure.

Guarantees: a question about a position that the projection has not read yet is Refused, never answered in part.
Does not: read the projection: `ledger_core.postgres.reading.asking` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ledger_core.errors import Refused
from ledger_core.reading.tokens import position_of, position_token


class Reach(NamedTuple):
    """How far a projection has come, in one snapshot of it."""

    position: Mapping[int, int]  # of each shard, the newest sequence
    known_us: Mapping[int, int]  # of each shard: no entry to come is known before; microseconds since 1970

    @property
    def token(self) -> str:
        """The position, to ask the same again later."""
        return position_token(self.position)

    @property
    def known_until_us(self) -> int:
        """What was known before this moment is all there; microseconds since 1970. 0 without a shard."""
        return min(self.known_us.values(), default=0)


def asked_position(reach: Reach, token: str) -> dict[int, int]:
    """The position that a token names. Raises Refused for one that was not read yet or cannot be read."""
    found = position_of(token)
    for shard, seq in sorted(found.items()):
        if seq > reach.position.get(shard, 0):
            raise Refused(
                f"the position names entry {seq} of shard {shard}, and {reach.position.get(shard, 0)} are read",
                remedy="wait until `finance run projector` has read it (`finance projection status`), or ask for an "
                "earlier position",
            )
    return found
