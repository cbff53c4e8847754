"""What was reported of a shard: the outcomes topic, asked by a poster whose database was put back to an earlier moment.

Guarantees: an offset counts as reported when its outcome stands on the topic; the relay reports a batch once it is
committed, so no database is behind what was reported unless it was put back. Offsets that were reported and whose
outcomes the topic no longer holds are Refused: nothing is guessed. Memory is a byte an offset that was lost, and the
rejections among them that may depend on another shard.
Does not: verify (the topic is the poster's own), or read further back than it must. The newest WINDOW_OFFSETS show how
far was reported: a relay that crashed while it repeated some hides no more than it had in one batch, and what is
reported again after a restore bears how far that went (REPORTED_TO), however often the database is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, cast

from confluent_kafka import Message

from ledger_core.errors import Refused, RejectReason
from ledger_core.posting.verdicts import activated_rules
from schemas.wire.outcomes import REPORTED_TO, decode_outcome
from schemas.wire.records import Outcome

WINDOW_OFFSETS: Final = 2_000  # read at once, backwards
# The only reasons that another shard can bring about; all others lie in the record itself.
OF_ANOTHER_SHARD: Final = (RejectReason.CONFLICT.value, RejectReason.UNKNOWN_REVERSAL.value)


Windows = Callable[[int], Iterator[list[Message]]]
"""A partition of the outcomes topic, backwards from its end: windows of records, each in order of offset."""


Newest = Callable[[Iterable[int]], Iterator[Message]]
"""Partitions of the outcomes topic, of each the newest window with a record: in order of offset within one."""


class ReportedOutcomes:
    """`windows` reads the topic back, a window at a time, as far as it is asked; `newest` many partitions at once."""

    def __init__(self, topic: str, windows: Windows, newest: Newest) -> None:
        self._topic = topic
        self._windows = windows
        self._newest = newest

    def ends(self, shards: Iterable[int]) -> dict[int, int]:
        """Of each shard the settlements offset after the furthest that was reported; 0 when nothing is known. Raises
        Unavailable."""
        ends = dict.fromkeys(shards, 0)
        for message in self._newest(ends):
            shard = cast("int", message.partition())
            ends[shard] = max(ends[shard], _told(message).offset + 1, _before_restore(message))
        return ends

    def rejected(self, shard: int, first: int, end: int) -> dict[int, tuple[str, str]]:
        """Offset -> (event id, reason) of what was reported in `[first, end)` and may depend on another shard; and
        of the control records that counted, without event id. Raises Unavailable, Refused."""
        missing, left = bytearray(b"\x01") * (end - first), end - first
        found: dict[int, tuple[str, str]] = {}
        for window in self._windows(shard):
            for told in map(_told, window):
                at = told.offset - first
                if not 0 <= at < end - first or not missing[at]:
                    continue
                missing[at], left = 0, left - 1
                if told.verdict == "rejected" and told.event_id is not None and told.reason in OF_ANOTHER_SHARD:
                    found[told.offset] = (told.event_id, told.reason)
                elif told.reason is not None and activated_rules(told.reason) is not None:
                    found[told.offset] = ("", told.reason)
            if not left:
                break
        if left:
            raise Refused(
                f"{self._topic} [{shard}] no longer says what became of {left} offsets of {first}..{end - 1}, reported "
                "before this database was put back",
                remedy="run `finance rebuild` into this database first: the archive says what became of them",
            )
        return found


def _told(message: Message) -> Outcome:
    return decode_outcome(message.value() or b"")


def _before_restore(message: Message) -> int:
    """How far the shard was reported when this was reported again; 0 for what is reported for the first time."""
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return max((int(value or b"0") for name, value in headers if name == REPORTED_TO), default=0)
