"""Taking what is right of a batch in which something is wrong.

Guarantees: everything before the first record that is refused is committed, however the records were batched: how
far a projection comes says where its topic is wrong, and a later reading does not find another place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ledger_core.errors import Corrupt, Refused
from ledger_core.ports import Record

Place = TypeVar("Place")


def take_sound_part(
    take: Callable[[Place, Sequence[Record]], Place], place: Place, records: Sequence[Record]
) -> tuple[Place, Corrupt | Refused | None]:
    """Commit records by `take`, up to the first that it refuses; the place behind them, and why that one was refused.

    A refused batch is halved until one record is left: as many transactions as its length has binary digits, at
    most twice. Raises what else `take` raises: Fenced, Unavailable.
    """
    try:
        return take(place, records), None
    except (Corrupt, Refused) as wrong:
        if len(records) == 1:
            return place, wrong
    middle = len(records) // 2
    place, refused = take_sound_part(take, place, records[:middle])
    return (place, refused) if refused else take_sound_part(take, place, records[middle:])


def explained(wrong: Corrupt | Refused, remedy: str) -> tuple[str, str]:
    """The message and the remedy; `remedy` where the error has none."""
    return (wrong.message, wrong.remedy) if isinstance(wrong, Refused) else (str(wrong), remedy)
