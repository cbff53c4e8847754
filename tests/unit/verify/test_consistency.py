"""One old checkpoint against somebody who has database and key: whatever he does to what it commits to is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from ledger_core.proving.tiles import TreeName
from ledger_core.tree import consistency_proof, leaf_hashes
from ledger_core.verify.receipts import check_consistency
from tests.support.archive_factory import Key
from tests.support.journal_factory import TinyShard
from tests.support.receipt_factory import leaves, note_of

KEY = Key("ed25519", "consistency-v1")


@dataclass
class ProofsOf:
    """As an honest ledger, or a forger's best effort, gives them."""

    shard: TinyShard

    def consistency(self, tree: TreeName, old_size: int, size: int) -> Sequence[bytes]:
        return consistency_proof(leaf_hashes(leaves(self.shard, tree)), old_size, size)


def base() -> TinyShard:
    return TinyShard(first_offset=5).post(6).silence(2).post(4).silence(1, reason="bad_field").post(2)


def grown(shard: TinyShard) -> TinyShard:
    return shard.post(7).silence(3)


def codes(old: bytes, new: TinyShard | None, key: Key = KEY) -> set[tuple[str, str | None]]:
    note = None if new is None else note_of(new, KEY)
    report = check_consistency(old, note, ProofsOf(new or base()), key.registry).report
    assert report.findings or report.counts["entries_kept"] == 12
    return {(finding.code, finding.field) for finding in report.findings}


def test_a_ledger_that_only_went_on_is_sound() -> None:
    old = note_of(base(), KEY)
    assert codes(old, base()) == set()
    assert codes(old, grown(base())) == set()


def rewritten(shard: TinyShard) -> TinyShard:
    other = TinyShard(first_offset=5).post(6, currency="EUR").silence(2).post(4).silence(1, reason="bad_field").post(2)
    return grown(other)


def dropped(shard: TinyShard) -> TinyShard:
    del shard.entries[3]
    return grown(shard)


def swapped(shard: TinyShard) -> TinyShard:
    shard.entries[2], shard.entries[7] = shard.entries[7], shard.entries[2]
    return grown(shard)


def backdated(shard: TinyShard) -> TinyShard:
    other = TinyShard(first_offset=5).post(6, seconds=-60).silence(2).post(4).silence(1, reason="bad_field").post(2)
    return grown(other)


def judged_otherwise(shard: TinyShard) -> TinyShard:
    offset = max(shard.verdicts)
    shard.verdicts[offset] = shard.verdicts[offset].replace(b"bad_field", b"unbalanced")
    return grown(shard)


def verdict_dropped(shard: TinyShard) -> TinyShard:
    del shard.verdicts[min(shard.verdicts)]
    return grown(shard)


ATTACKS: dict[str, tuple[Callable[[TinyShard], TinyShard | None], tuple[str, str]]] = {
    "rewrites": (rewritten, ("consistency.forked", "entries")),
    "drops": (dropped, ("consistency.forked", "entries")),
    "reorders": (swapped, ("consistency.forked", "entries")),
    "backdates": (backdated, ("consistency.forked", "entries")),
    "judges otherwise": (judged_otherwise, ("consistency.forked", "verdicts")),
    "drops a verdict": (verdict_dropped, ("consistency.forked", "verdicts")),
    "puts back": (lambda _: TinyShard(first_offset=5).post(6), ("consistency.shrunk", "record")),
    "forks": (lambda _: TinyShard(first_offset=5).post(40), ("consistency.shrunk", "verdicts")),
    "begins elsewhere": (lambda _: grown(TinyShard(first_offset=4).post(40)), ("consistency.origin", "origin")),
    "names another shard": (
        lambda _: grown(TinyShard(shard=1, first_offset=5).post(40)),
        ("consistency.origin", "origin"),
    ),
    "takes all away": (lambda _: None, ("consistency.shrunk", "note")),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_whoever_has_database_and_key_is_found_by_one_old_checkpoint(attack: str) -> None:
    act, wanted = ATTACKS[attack]
    assert wanted in codes(note_of(base(), KEY), act(base()))


def test_a_checkpoint_that_nobody_signed_compares_nothing() -> None:
    old = note_of(base(), KEY)
    foreign = Key("ed25519", "consistency-v2")
    assert codes(old, grown(base()), foreign) == {("checkpoint.signature", "note")}
    assert codes(b"", grown(base())) == {("checkpoint.signature", "note")}
    assert codes(old.replace(b"\n12\n", b"\n11\n"), grown(base())) == {("checkpoint.signature", "note")}
