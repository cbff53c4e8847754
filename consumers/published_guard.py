"""What was published binds: of a shard whose database is behind or against it, nothing is closed, signed or archived.

Databases can be put back to an earlier moment; the audit topic and the archive cannot. Range N of a shard stands there
once and for ever, by the hash of its proof: a database that holds no range N, or another one, would sign a second one.

Guarantees: asked at each assignment and whenever the database begins another epoch, before anything is done for the
shard; while the answer is no, only that shard waits, it says so again and again (log, metric), and it goes on by itself
once the database holds what is published. The other way round (a range in the database that is not published yet) is
the ordinary lag.
Does not: put anything back, or stop posting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from consumers.metrics import Metrics

ASK_AGAIN_SECONDS: Final = 10.0
REMEDY: Final = (
    "run `finance rebuild` into this database: it continues a true prefix of the archive, and says where another one "
    "differs (RUNBOOK section 9); posting goes on meanwhile"
)

log = structlog.get_logger("published")


@dataclass(frozen=True, slots=True)
class PublishedRange:
    """The newest closed range of a shard that is known outside the database. `proof_hash` is lower-case hex."""

    range_no: int
    proof_hash: str
    place: str


class HeldRanges(Protocol):
    """See `ledger_core.postgres.held_ranges`. Every method may raise Unavailable("postgres")."""

    def proof_hash(self, shard: int, range_no: int) -> str | None: ...

    def epoch_no(self) -> int: ...


class Guard(Protocol):
    """What a service asks; see PublishedGuard."""

    def allows(self, shard: int) -> bool: ...

    def look(self, shard: int) -> None: ...

    def due(self) -> list[int]: ...

    def forget(self, shard: int) -> None: ...


class _NothingPublished:
    """The guard of a world without outside: simulations."""

    def allows(self, _shard: int) -> bool:
        return True

    def look(self, _shard: int) -> None: ...

    def due(self) -> list[int]:
        return []

    def forget(self, _shard: int) -> None: ...


NOTHING_PUBLISHED: Final = _NothingPublished()


class PublishedGuard:
    """`newest` asks the world outside for a shard; it may raise Unavailable and Refused. `monotonic` gives seconds."""

    def __init__(
        self,
        newest: Callable[[int], PublishedRange | None],
        held: HeldRanges,
        *,
        monotonic: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._newest = newest
        self._held = held
        self._monotonic = monotonic
        self._metrics = metrics
        self._allowed: dict[int, bool] = {}  # of every shard that was looked at
        self._again_at = 0.0
        self._epoch_no: int | None = None

    def allows(self, shard: int) -> bool:
        """What the newest look at the shard said."""
        return self._allowed.get(shard, False)

    def look(self, shard: int) -> None:
        """Compare the shard with what is published. Raises Unavailable, Refused."""
        self._allowed.pop(shard, None)
        if self._epoch_no is None:
            self._epoch_no = self._held.epoch_no()
        fault = self._fault(shard)
        self._allowed[shard] = fault is None
        if fault is not None:
            self._again_at = self._monotonic() + ASK_AGAIN_SECONDS
            self._metrics.unavailable("published")
            log.error("published.refused", shard=shard, message=fault, remedy=REMEDY)

    def due(self) -> list[int]:
        """The shards to look at again: all of them in a new epoch, else those that wait, now and then."""
        epoch_no = self._held.epoch_no()
        if epoch_no != self._epoch_no:
            log.warning("published.epoch_began", epoch_no=epoch_no)
            self._epoch_no = epoch_no
            return sorted(self._allowed)
        if self._monotonic() < self._again_at:
            return []
        return sorted(shard for shard, allowed in self._allowed.items() if not allowed)

    def forget(self, shard: int) -> None:
        self._allowed.pop(shard, None)

    def _fault(self, shard: int) -> str | None:
        published = self._newest(shard)
        if published is None:
            return None
        held = self._held.proof_hash(shard, published.range_no)
        if held == published.proof_hash:
            return None
        told = f"{published.place} holds range {published.range_no} of shard {shard}, proof {published.proof_hash}"
        if held is None:
            return f"{told}; this database is behind it"
        return f"{told}; this database holds another one, proof {held}"
