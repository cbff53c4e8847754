"""When a topic that is read is compared again with what its shards need of it: after the start, too, things change.

A connection that broke may lead back to another topic under the same name: brokers that were put back to an earlier
state, a leader that had not everything. Settings are changed at any time. Neither is an error to the client.

Guarantees: after a broken connection a partition is checked before anything more of it is handed out; settings and
partitions are checked every WATCH_SECONDS. What a check raises as Refused comes through.
Does not: end a reader because the periodic question was not answered: it is asked again; nor work in a thread of its
own, so a check costs the reader a few requests a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from ledger_core.errors import Unavailable

WATCH_SECONDS: Final = 60.0

log = structlog.get_logger("kafka")


class TopicWatch:
    """Of one reader. `check_settings` and `check_partitions` raise Refused, and Unavailable when nobody answers."""

    def __init__(
        self,
        check_settings: Callable[[], None],
        check_partitions: Callable[[Sequence[int]], None] = lambda _partitions: None,
        *,
        seconds: float = WATCH_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check_settings = check_settings
        self._check_partitions = check_partitions
        self._seconds = seconds
        self._monotonic = monotonic
        self._checked_at = monotonic()  # whoever opens the reader has checked
        self._unsure: set[int] = set()

    def assigned(self, partitions: Iterable[int]) -> None:
        """They become ours: before anything is read of them. Raises Refused, Unavailable."""
        self._check_partitions(list(partitions))

    def broken(self, owned: Iterable[int]) -> None:
        """A connection broke: what comes next of these partitions is not to be believed unchecked."""
        self._unsure.update(owned)

    def forget(self, partition: int) -> None:
        """The partition is not ours any more; at its next assignment it is checked anyhow."""
        self._unsure.discard(partition)

    def handing_out(self, partitions: Iterable[int]) -> None:
        """Records of these are about to be handed out. Raises Refused, Unavailable."""
        asked = sorted(self._unsure.intersection(partitions))
        if asked:
            self._check_partitions(asked)
            self._unsure.difference_update(asked)

    def passing(self, owned: Iterable[int]) -> None:
        """Called at every turn: asks when it is time. Raises Refused."""
        if self._monotonic() - self._checked_at < self._seconds:
            return
        try:
            self._check_settings()
            self._check_partitions(sorted(owned))
        except Unavailable as error:
            log.warning("kafka.not_checked", detail=error.detail, retry_seconds=self._seconds)
        self._checked_at = self._monotonic()
