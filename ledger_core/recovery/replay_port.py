"""What a replay asks beside the topic: who came first where two shards saw one event id, and where it may stop.

Guarantees: plain values and protocols, nothing decided. A verdict can depend on another shard in one way only: an event
id that was taken there first. The order of two shards' commits is written in no topic, so that one fact comes from the
verdict log (of a database, or of the archive); the verdict itself is computed again from the record all the same. And
what no reader can read was set aside by an operator: the log says so, and is asked only where nothing can be read. Of a
control record of the posting rules it says whether it counted when it came, whatever became of its key since.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Protocol

from ledger_core.posting.plans import Known


@dataclass(frozen=True, slots=True)
class StopAt:
    """Where a replay ends before the topic does. All None: at the topic's end, and then it is the ledger.

    `seq`: the last entry. `offset`: the first offset not taken. `time`: what was appended from then on is not taken.
    """

    seq: int | None = None
    offset: int | None = None
    time: dt.datetime | None = None

    def __bool__(self) -> bool:
        return self.seq is not None or self.offset is not None or self.time is not None

    def __str__(self) -> str:
        told = (
            ("seq", self.seq),
            ("offset", self.offset),
            ("time", None if self.time is None else self.time.isoformat()),
        )
        return ", ".join(f"{name} {value}" for name, value in told if value is not None) or "the end of the topic"


class VerdictLog(Protocol):
    """The verdicts that were given before. May raise Unavailable, and Refused for what does not verify."""

    @property
    def knows_first(self) -> bool:
        """Whether `taken_elsewhere` holds only event ids whose first verdict is another shard's (a database knows), or
        every rejection that could be one (the archive's lines do not say)."""
        ...

    def covers(self, shard: int) -> int:
        """The first offset of the shard that this log knows nothing of."""
        ...

    def set_aside_end(self, shard: int, offset: int) -> int:
        """The offset behind those that an operator set aside, one after the other from `offset` on: none when it is
        `offset`."""
        ...

    def activated(self, shard: int, offset: int) -> bool | None:
        """Whether the control record there counted, and put other posting rules in force; None where the log does not
        reach so far."""
        ...

    def taken_elsewhere(self, shard: int, first_offset: int, next_offset: int) -> dict[int, tuple[str, Known]]:
        """Offset -> (event id, its first verdict) for the rejected offsets in `[first_offset, next_offset)`. Raises
        HeavyLookUp when that is too much to be read at once."""
        ...
