"""What was published binds: which shards may go on, which must wait, and which ranges are to be closed as they were."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from consumers.metrics import NullMetrics
from consumers.proving.published_guard import (
    ANOTHER,
    ASK_AGAIN_SECONDS,
    REBUILD,
    REGISTER,
    PublishedGuard,
    PublishedRange,
)
from ledger_core.proving.announced_range import AnnouncedRange
from ledger_core.proving.closed_range import ClosedRange


def proof_hash(range_no: int, fork: str = "a") -> str:
    return fork * 32 + f"{range_no:032x}"


def announced(range_no: int, fork: str = "a", shard: int = 0) -> AnnouncedRange:
    """Ranges of ten offsets, all entries."""
    first = (range_no - 1) * 10
    return AnnouncedRange(
        shard=shard, range_no=str(range_no), first_seq=str(first + 1), last_seq=str(first + 10),
        first_offset=str(first), next_offset=str(first + 10), posted="10", duplicates="0", rejected="0",
        head_hash="c" * 64, proof_hash=proof_hash(range_no, fork),
        prev_proof_hash=None if range_no == 1 else proof_hash(range_no - 1), origin="example.com/finance/test/ledger/0",
        signer_kid="k", alg="ed25519", ts="2025-11-02T00:00:00.000000Z", trace_id="ab" * 16,
    )  # fmt: skip


def told(range_no: int, fork: str = "a", *, adoptable: bool = True, unknown_kid: str | None = None) -> PublishedRange:
    terms = announced(range_no, fork) if adoptable else None
    return PublishedRange(range_no, proof_hash(range_no, fork), f"audit (offset {range_no})", terms, unknown_kid)


@dataclass
class Database:
    """The HeldRanges of one shard with ranges 1..newest_no."""

    newest_no: int = 0
    epoch: int = 1
    asked: int = 0
    announced: set[str] = field(default_factory=set)

    def newest(self, _shard: int) -> int:
        return self.newest_no

    def newest_proved(self, _shard: int) -> int:
        return self.newest_no

    def is_announced(self, proof_hash: str) -> bool:
        return proof_hash in self.announced

    def proof_hash(self, _shard: int, range_no: int) -> str | None:
        return proof_hash(range_no) if 1 <= range_no <= self.newest_no else None

    def epoch_no(self) -> int:
        self.asked += 1
        return self.epoch


@dataclass
class Told(NullMetrics):
    refused: int = 0

    def unavailable(self, what: str) -> None:
        assert what == "published"
        self.refused += 1


@dataclass
class Scene:
    world: list[PublishedRange] = field(default_factory=list)
    database: Database = field(default_factory=Database)
    metrics: Told = field(default_factory=Told)
    now: float = 100.0

    def guard(self) -> PublishedGuard:
        return PublishedGuard(
            lambda _shard, _held_no: self.world, self.database, monotonic=lambda: self.now, metrics=self.metrics
        )


def test_a_shard_that_nobody_looked_at_is_not_allowed() -> None:
    assert not Scene().guard().allows(0)


@pytest.mark.parametrize("world", [[], [told(3)], [told(2)]])
def test_a_database_that_holds_what_is_published_goes_on(world: list[PublishedRange]) -> None:
    scene = Scene(world, Database(3))
    guard = scene.guard()
    guard.look(0)
    assert guard.allows(0)
    assert guard.announced(0) == ()
    assert scene.metrics.refused == 0


@pytest.mark.parametrize("held_no", [0, 2])
def test_what_the_database_lost_is_handed_out_to_be_closed_as_it_was(held_no: int) -> None:
    lost = range(held_no + 1, 6)
    scene = Scene([*([told(held_no)] if held_no else []), *map(told, lost)], Database(held_no))
    guard = scene.guard()
    guard.look(0)
    assert guard.allows(0)
    assert guard.announced(0) == tuple(map(announced, lost))
    scene.database.newest_no = 5  # adopted, or put back by a rebuild
    guard.look(0)
    assert guard.allows(0)
    assert guard.announced(0) == ()


@pytest.mark.parametrize(
    ("world", "said", "remedy"),
    [
        ([told(2, "b")], "another one", ANOTHER),
        ([told(3, adoptable=False)], "behind it", REBUILD),
        ([told(3), told(4, adoptable=False)], "behind it", REBUILD),
        ([told(4)], "does not follow range 2", REBUILD),
        ([told(3), told(5)], "does not follow that of audit", REBUILD),
        ([told(3), told(3, "b")], "has another one", ANOTHER),
        ([told(3, "b"), told(4)], "does not follow", REBUILD),
        ([told(3, unknown_kid="stranger")], "signed by an unregistered key: stranger", REGISTER),
    ],
)
def test_a_shard_against_what_is_published_waits_and_says_why(
    world: list[PublishedRange], said: str, remedy: str
) -> None:
    scene = Scene(world, Database(2))
    guard = scene.guard()
    with capture_logs() as logs:
        guard.look(0)
    assert not guard.allows(0)
    assert guard.announced(0) == ()
    assert scene.metrics.refused == 1
    (line,) = logs
    assert said in line["message"]
    assert line["remedy"] == remedy


def test_who_waits_is_looked_at_now_and_then_and_goes_on_by_itself() -> None:
    scene = Scene([told(1, adoptable=False)])
    guard = scene.guard()
    guard.look(0)
    assert guard.due() == []
    scene.now += ASK_AGAIN_SECONDS
    assert guard.due() == [0]
    scene.database.newest_no = 1
    guard.look(0)
    assert guard.allows(0)
    assert guard.due() == []
    guard.forget(0)
    assert not guard.allows(0)


def test_a_refusal_from_outside_takes_back_what_was_handed_out() -> None:
    scene = Scene([told(1)])
    guard = scene.guard()
    guard.look(0)
    guard.refuse(0, "its entries give another hash")
    assert not guard.allows(0)
    assert guard.announced(0) == ()
    assert scene.metrics.refused == 1
    scene.now += ASK_AGAIN_SECONDS
    assert guard.due() == [0]


def test_a_new_epoch_makes_every_shard_due_and_is_asked_for_once_a_second() -> None:
    scene = Scene()
    guard = scene.guard()
    for shard in (0, 1):
        guard.look(shard)
    assert guard.due() == []
    assert guard.epoch_no == 1
    asked = scene.database.asked
    scene.database.epoch = 2
    for _ in range(100):
        assert guard.due() == []
    assert scene.database.asked == asked
    scene.now += 1
    assert guard.due() == [0, 1]
    assert guard.epoch_no == 2
    assert scene.database.asked == asked + 1
    assert guard.due() == []


def test_whoever_was_refused_by_a_new_epoch_learns_of_it_in_the_next_step() -> None:
    scene = Scene()
    guard = scene.guard()
    guard.look(0)
    assert guard.due() == []
    scene.database.epoch = 2
    guard.look(0)
    assert guard.due() == [0]


def test_a_range_binds_once_its_announcement_is_published_or_was_found_outside() -> None:
    scene = Scene([told(4)], Database(3))
    guard = scene.guard()
    guard.look(0)
    here, lost = closed_range(3), closed_range(4)
    assert not guard.binds(here)
    assert guard.binds(lost)  # the topic or the archive holds it: it cannot bind more
    scene.database.announced.add(proof_hash(3))
    assert guard.binds(here)
    guard.forget(0)
    assert not guard.binds(lost)


def closed_range(range_no: int) -> ClosedRange:
    first = (range_no - 1) * 10
    return ClosedRange(
        0, range_no, first + 1, first + 10, first, first + 10, b"{}", bytes.fromhex(proof_hash(range_no)),
        b"", b"", b"", b"c" * 32, range_no,
    )  # fmt: skip
