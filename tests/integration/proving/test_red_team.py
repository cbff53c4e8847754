"""Somebody with Postgres's superuser *and* the signing key makes another ledger, whole and signed; an auditor with one
old checkpoint finds every one.

Each attack leaves a ledger without a contradiction in it: entries chained anew, verdicts, tiles, and a newest
checkpoint that the true key signed. The auditor asks as his own role, and has nothing but the note that he kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psycopg
import pytest

from ledger_core.postgres.connection import connect
from ledger_core.postgres.proving.receipt_reader import ReceiptReader
from ledger_core.postgres.proving.tile_store import PostgresTileStore
from ledger_core.proving.tiles import TREES, GrowingTiles, Growth, LiveCheckpoint, TreeName
from ledger_core.tree import leaf_hashes
from ledger_core.verify.oracle import ConsistencyCheck, verify_consistency_of
from tests.support.archive_factory import Key
from tests.support.journal_factory import TinyShard
from tests.support.journal_writer import write
from tests.support.receipt_factory import leaves, note_of

KEY = Key("ed25519", "red-team-v1")  # the true one: the attacker has it
HELD = ("entries", "verdicts", "shards", "tiles", "tile_edges", "live_checkpoints")
IDS = [f"0199f2c4-1b7a-8e2d-9f00-{number:012x}" for number in range(900)]


def history(
    shard: TinyShard | None = None, *, ids: Sequence[str] = IDS, currency: str = "USD", at: float = 0.0
) -> TinyShard:
    """The true ledger up to the checkpoint that was kept, or another one of the same shape."""
    made = shard or TinyShard()
    for event_id in ids[:300]:
        made.post(event_id=event_id, currency=currency, seconds=at)
    made.silence(2).silence(1, reason="bad_field")
    for event_id in ids[300:400]:
        made.post(event_id=event_id)
    return made


def grown(made: TinyShard) -> TinyShard:
    """Longer than what was kept, so that nothing is missing at the end."""
    return made.post(40).silence(3)


def without(*numbers: int) -> list[str]:
    return [event_id for number, event_id in enumerate(IDS) if number not in numbers]


def swapped(one: int, other: int) -> list[str]:
    ids = list(IDS)
    ids[one], ids[other] = ids[other], ids[one]
    return ids


def with_other_verdicts(change: Callable[[TinyShard], object]) -> TinyShard:
    made = TinyShard()
    for event_id in IDS[:300]:
        made.post(event_id=event_id)
    change(made)
    for event_id in IDS[300:400]:
        made.post(event_id=event_id)
    return made


@dataclass(frozen=True)
class Attack:
    """What the attacker puts in the place of the ledger (None: nothing), and what must be found."""

    make: Callable[[], TinyShard | None]
    code: str
    field: str


ATTACKS: dict[str, Attack] = {
    "rewrites amounts": Attack(lambda: grown(history(currency="EUR")), "consistency.forked", "entries"),
    "drops the first entry": Attack(lambda: grown(history(ids=without(0))), "consistency.forked", "entries"),
    "drops one in the middle": Attack(lambda: grown(history(ids=without(256))), "consistency.forked", "entries"),
    "drops the newest that was kept": Attack(lambda: grown(history(ids=without(399))), "consistency.forked", "entries"),
    "invents an entry": Attack(lambda: grown(history(ids=[IDS[-1], *IDS])), "consistency.forked", "entries"),
    "reorders two neighbours": Attack(lambda: grown(history(ids=swapped(7, 8))), "consistency.forked", "entries"),
    "reorders far apart": Attack(lambda: grown(history(ids=swapped(3, 390))), "consistency.forked", "entries"),
    "backdates": Attack(lambda: grown(history(at=-86_400)), "consistency.forked", "entries"),
    "judges a record otherwise": Attack(
        lambda: grown(with_other_verdicts(lambda it: it.silence(2).silence(1, reason="unbalanced"))),
        "consistency.forked",
        "verdicts",
    ),
    "swaps two verdicts": Attack(
        lambda: grown(with_other_verdicts(lambda it: it.silence(1, reason="bad_field").silence(2))),
        "consistency.forked",
        "verdicts",
    ),
    "drops a rejected record": Attack(
        lambda: grown(with_other_verdicts(lambda it: it.silence(2))), "consistency.forked", "verdicts"
    ),
    "posts what was rejected": Attack(
        lambda: grown(with_other_verdicts(lambda it: it.silence(2).post())), "consistency.forked", "verdicts"
    ),
    "cuts off the end": Attack(lambda: history(ids=IDS[:399]), "consistency.shrunk", "record"),
    "puts back the past": Attack(lambda: TinyShard().post(250), "consistency.shrunk", "record"),
    "puts it back and goes another way": Attack(
        lambda: grown(grown(history(ids=IDS[:350] + IDS[500:600]))), "consistency.forked", "entries"
    ),
    "begins later": Attack(lambda: grown(history(TinyShard(first_offset=4))), "consistency.origin", "origin"),
    "takes all away": Attack(lambda: None, "consistency.shrunk", "note"),
}


@pytest.fixture(scope="module")
def kept() -> bytes:
    """The auditor's one old checkpoint."""
    return note_of(history(), KEY)


def replace_all(url: str, shard: TinyShard | None) -> None:
    """As a superuser, past every trigger, then signed with the key as if the prover had."""
    with psycopg.connect(url, autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("TRUNCATE " + ", ".join(HELD) + " CASCADE")
    if shard is None:
        return
    write(url, shard)
    with contextlib.closing(connect(url, application_name="red team")) as superuser:
        held = {tree: leaf_hashes(leaves(shard, tree)) for tree in TREES}
        live = LiveCheckpoint(len(held["entries"]), len(held["verdicts"]), shard.next_offset, note_of(shard, KEY))
        assert PostgresTileStore(superuser).keep(shard.shard, [growth(tree, held[tree]) for tree in TREES], live, None)


def growth(tree: TreeName, hashes: Sequence[bytes]) -> Growth:
    growing = GrowingTiles()
    return Growth(tree, growing.extend(hashes), growing.edge_tiles())


@pytest.fixture
def auditor(environ: dict[str, str], kept: bytes) -> Iterator[Callable[[], ConsistencyCheck]]:
    with contextlib.closing(connect(environ["DATABASE_URL_AUDITOR"], application_name="auditor")) as connection:
        reader = ReceiptReader(connection)

        class Proofs:
            def consistency(self, tree: TreeName, old_size: int, size: int) -> Sequence[bytes]:
                return reader.tree(0, tree, size).consistency_proof(old_size)

        yield lambda: verify_consistency_of(kept, reader.newest(0), Proofs(), KEY.registry)


def test_one_old_checkpoint_finds_whatever_a_superuser_with_the_key_makes_of_it(
    auditor: Callable[[], ConsistencyCheck], database_url: str
) -> None:
    found: dict[str, list[tuple[str, str | None]]] = {}
    for honest in (history(), grown(history()), grown(grown(history()))):
        replace_all(database_url, honest)
        check = auditor()
        assert check.report.sound, check.report.findings
        assert check.report.counts["entries_kept"] == 400
    for name, attack in ATTACKS.items():
        replace_all(database_url, attack.make())
        found[name] = [(it.code, it.field) for it in auditor().report.findings]
    missed = [name for name, attack in ATTACKS.items() if (attack.code, attack.field) not in found[name]]
    assert missed == [], found
