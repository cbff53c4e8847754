"""What was published binds: of a shard whose database is behind or against it, nothing new is closed or archived.

Databases can be put back to an earlier moment; the audit topic and the archive cannot. Range N of a shard stands there
once and for ever, by the hash of its proof: a database that holds no range N, or another one, would sign a second one.

Guarantees: asked at each assignment and whenever the database begins another epoch, before anything is done for the
shard. Ranges that were announced with all it takes to close them again are handed out to be adopted, in order; in all
other cases only that shard waits, it says so again and again (log, metric), and it goes on by itself once the database
holds what is published. The other way round (a range in the database that is not published yet) is the ordinary lag.
Does not: put anything back, or stop posting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import structlog

from consumers.metrics import Metrics
from ledger_core.proving.announced_range import AnnouncedRange
from ledger_core.proving.closed_range import ClosedRange

ASK_AGAIN_SECONDS: Final = 10.0
EPOCH_SECONDS: Final = 1.0  # between two questions for the epoch
REBUILD: Final = (
    "run `finance rebuild` into this database: it continues a true prefix of the archive, and says where another one "
    "differs (RUNBOOK section 9); posting goes on"
)
ANOTHER: Final = (
    "this database is not the ledger that was published: `finance verify ledger`, `finance replay --from topic` "
    "and `finance rebuild` say where it differs; nothing was signed, posting goes on"
)
REGISTER: Final = "put that key back into signers.json (retired keys stay there), or find out who else writes there"
ENDED: Final = (
    "if that key signed it, move its retiredAt in signers.json to after it; else find out who else writes there"
)

log = structlog.get_logger("published")


@dataclass(frozen=True, slots=True)
class PublishedRange:
    """A closed range that is known outside the database. `proof_hash` is lower-case hex.

    `announced`: what it takes to close it again, where that was published. `unknown_kid`: the key that signed it, when
    the registry does not hold it, `ended_kid` when that key had ended before; then nothing else of it counts.
    """

    range_no: int  # in its shard, from 1
    proof_hash: str
    place: str  # where it was read, for people
    announced: AnnouncedRange | None = None
    unknown_kid: str | None = None
    ended_kid: str | None = None


class HeldRanges(Protocol):
    """See `ledger_core.postgres.proving.held_ranges`. Every method may raise Unavailable("postgres")."""

    def newest(self, shard: int) -> int: ...

    def newest_proved(self, shard: int) -> int: ...

    def proof_hash(self, shard: int, range_no: int) -> str | None: ...

    def epoch_no(self) -> int: ...

    def is_announced(self, proof_hash: str) -> bool: ...


class Guard(Protocol):
    """What a service asks; see PublishedGuard."""

    def allows(self, shard: int) -> bool: ...

    def look(self, shard: int) -> None: ...

    def due(self) -> list[int]: ...

    def forget(self, shard: int) -> None: ...


class ClosingGuard(Guard, Protocol):
    """What a service asks that closes ranges."""

    @property
    def epoch_no(self) -> int | None: ...

    def announced(self, shard: int) -> tuple[AnnouncedRange, ...]: ...

    def binds(self, closed: ClosedRange) -> bool: ...

    def refuse(self, shard: int, message: str) -> None: ...


class _NothingPublished:
    """The guard of a world without outside: simulations."""

    epoch_no: int | None = None

    def allows(self, _shard: int) -> bool:
        return True

    def look(self, _shard: int) -> None: ...

    def due(self) -> list[int]:
        return []

    def forget(self, _shard: int) -> None: ...

    def announced(self, _shard: int) -> tuple[AnnouncedRange, ...]:
        return ()

    def binds(self, _closed: ClosedRange) -> bool:
        return True

    def refuse(self, _shard: int, _message: str) -> None: ...


NOTHING_PUBLISHED: Final = _NothingPublished()


class WaitReason(NamedTuple):
    """Why a shard waits."""

    message: str  # what is wrong, one line
    remedy: str  # what to do about it


class PublishedGuard:
    """`published(shard, proved_no)` asks the world outside for the ranges beyond `proved_no`, the newest one that the
    database holds a proof of, and for the newest one up to it, ascending; it may raise Unavailable and Refused.
    `monotonic` gives seconds.
    """

    def __init__(
        self,
        published: Callable[[int, int], Sequence[PublishedRange]],
        held: HeldRanges,
        *,
        monotonic: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._published = published
        self._held = held
        self._monotonic = monotonic
        self._metrics = metrics
        self._allowed: dict[int, bool] = {}  # of every shard that was checked
        self._announced: dict[int, tuple[AnnouncedRange, ...]] = {}
        self._binding: dict[int, frozenset[str]] = {}  # shard -> proof hashes found published when last compared
        self._again_at = 0.0
        self._epoch_no: int | None = None
        self._epoch_at = 0.0

    @property
    def epoch_no(self) -> int | None:
        """The epoch in which the shards were checked: whoever writes asks whether it is still that one."""
        return self._epoch_no

    def allows(self, shard: int) -> bool:
        """What the newest check of the shard said."""
        return self._allowed.get(shard, False)

    def announced(self, shard: int) -> tuple[AnnouncedRange, ...]:
        """The ranges that the database lost, to be closed as they were, in order, and before any other. There may be
        more: check again afterwards.
        """
        return self._announced.get(shard, ())

    def binds(self, closed: ClosedRange) -> bool:
        """Whether the announcement of a closed range is published: only then may it be signed, since from then on no
        database that was put back can close another range in its place. Raises Unavailable."""
        return closed.hash.hex() in self._binding.get(closed.shard, ()) or self._held.is_announced(closed.hash.hex())

    def look(self, shard: int) -> None:
        """Compare the shard with what is published. Raises Unavailable, Refused."""
        self.forget(shard)
        self._epoch_at = 0.0  # whoever checks again was perhaps refused by a new epoch: then all shards are due
        if self._epoch_no is None:
            self._epoch_no = self._held.epoch_no()
        held_no = self._held.newest(shard)
        told = self._published(shard, self._held.newest_proved(shard))
        fault = self._fault(shard, held_no, told)
        if fault is not None:
            self._refuse(shard, fault)
            return
        self._allowed[shard] = True
        self._binding[shard] = frozenset(item.proof_hash for item in told)
        self._announced[shard] = tuple(item.announced for item in told if item.range_no > held_no and item.announced)
        if self._announced[shard]:
            first, last = self._announced[shard][0].range_no, self._announced[shard][-1].range_no
            log.warning("published.adopting", shard=shard, first_range_no=first, last_range_no=last)

    def refuse(self, shard: int, message: str) -> None:
        """The shard contradicts what is published, as its ranges show when they are closed again."""
        self._refuse(shard, WaitReason(message, ANOTHER))

    def due(self) -> list[int]:
        """The shards to check again: all of them in a new epoch, else those that wait, now and then."""
        now = self._monotonic()
        if now >= self._epoch_at:
            self._epoch_at = now + EPOCH_SECONDS
            epoch_no = self._held.epoch_no()
            if epoch_no != self._epoch_no:
                log.warning("published.epoch_began", epoch_no=epoch_no)
                self._epoch_no = epoch_no
                return sorted(self._allowed)
        if now < self._again_at:
            return []
        return sorted(shard for shard, allowed in self._allowed.items() if not allowed)

    def forget(self, shard: int) -> None:
        self._allowed.pop(shard, None)
        self._announced.pop(shard, None)
        self._binding.pop(shard, None)

    def _refuse(self, shard: int, fault: WaitReason) -> None:
        self._allowed[shard] = False
        self._announced.pop(shard, None)
        self._again_at = self._monotonic() + ASK_AGAIN_SECONDS
        self._metrics.unavailable("published")
        log.error("published.refused", shard=shard, message=fault.message, remedy=fault.remedy)

    def _fault(self, shard: int, held_no: int, told: Sequence[PublishedRange]) -> WaitReason | None:
        """What keeps the shard from going on; None: nothing, or ranges to adopt."""
        before: PublishedRange | None = None
        for item in told:
            says = f"{item.place} has range {item.range_no} of shard {shard}, proof {item.proof_hash}"
            if item.unknown_kid is not None:
                return WaitReason(
                    f"{item.place} has a range of shard {shard} signed by an unregistered key: {item.unknown_kid}",
                    REGISTER,
                )
            if item.ended_kid is not None:
                return WaitReason(
                    f"{item.place} has a range of shard {shard} signed by {item.ended_kid}, which had ended", ENDED
                )
            if item.range_no <= held_no:
                held = self._held.proof_hash(shard, item.range_no)
                if held != item.proof_hash:
                    return WaitReason(f"{says}; this database has another one, proof {held}", ANOTHER)
                continue
            if item.announced is None:
                return WaitReason(f"{says}; this database is behind it", REBUILD)
            if before is None:
                held = self._held.proof_hash(shard, held_no)
                follows = (item.range_no, item.announced.prev_proof_hash) == (held_no + 1, held)
            else:
                follows = before.announced is not None and item.announced.follows(before.announced)
            if before is not None and before.range_no == item.range_no:
                return WaitReason(f"{says}; {before.place} has another one, proof {before.proof_hash}", ANOTHER)
            if not follows:
                last = f"range {held_no} of this database" if before is None else f"that of {before.place}"
                return WaitReason(f"{says}; it does not follow {last}", REBUILD)
            before = item
        return None
