"""Buyers' data beside the settlements: before them or behind, guessed at by strangers, erased by operators; and what
must be kept of them at the end.

Guarantees: the account takes what was published from the side topic itself, and an erasure for decided where the audit
chain says so. One that was decided shortly before the database was put back may be lost with it: it counts neither way.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Collection, Mapping
from typing import Final

from tests.support import personal
from tests.support.settlements import event_id

EVERY: Final = 5  # each fifth event number has a buyer
BuyerMessage = tuple[bytes, bytes | None]  # key and value


def digest_of(n: int) -> str | None:
    """What the event of that number says of its buyer's data."""
    return personal.digest(n).hex() if n % EVERY == 0 else None


class Buyers:
    """Whose data were published, and whose were asked to be forgotten. Load and strikes share it."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"{seed}:buyers")
        self._numbers: list[int] = []
        self._lock = threading.Lock()
        self.asked_to_erase: set[str] = set()

    def messages(self, n: int) -> list[BuyerMessage]:
        """What is published of an event's buyer: the truth, mostly, among guesses and empty records of strangers."""
        if n % EVERY != 0:
            return []
        with self._lock:
            self._numbers.append(n)
        told = [personal.record(n)] * self._chance.choice((0, 1, 1, 1, 1, 1, 1, 2))
        if self._chance.random() < 0.2:
            told.append(personal.record(n, "Mallory"))
        if self._chance.random() < 0.1:
            told.append(personal.erasure(n))
        self._chance.shuffle(told)
        return told

    def to_erase(self, chance: random.Random) -> str | None:
        """One of those known so far; None while there are none."""
        with self._lock:
            if not self._numbers:
                return None
            found = event_id(chance.choice(self._numbers))
            self.asked_to_erase.add(found)
            return found

    def account(
        self,
        published: Collection[BuyerMessage],
        audited: Collection[bytes],
        posted: Collection[str],
        found: Mapping[str, bytes],
    ) -> dict[str, int]:
        """Raise AssertionError unless the truth is kept of each posted event that nobody erased, and nothing else.
        `audited`: values of the audit topic; `found`: event id -> data."""
        erased = {_erased(value) for value in audited} - {""}
        unsure = self.asked_to_erase - erased
        wanted = {}
        for n in set(self._numbers):
            name = event_id(n)
            if name in posted and name not in erased and personal.record(n) in published:
                wanted[name] = json.dumps(personal.data(n), separators=(",", ":")).encode()
        wrong = {name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)} - unsure
        assert not wrong, f"personal data of {len(wrong)} events, (wanted, found): " + str(
            [(name, wanted.get(name), found.get(name)) for name in sorted(wrong)[:5]]
        )
        return {"buyers kept": len(found), "buyers erased": len(erased), "erasures lost": len(unsure)}


def _erased(value: bytes) -> str:
    told = json.loads(value)
    return str(told["payload"]["event_id"]) if told["event_type"] == "personal.erased" else ""
