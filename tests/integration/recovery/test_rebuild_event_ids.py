"""Event ids that stand twice in an archive: what a rebuild refuses to write, and what it cannot know."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from consumers.posting.decision import decide
from finance.workshop.devstack import Stack
from ledger_core.errors import Corrupt
from ledger_core.postgres.posting.plan_writer import look_up
from ledger_core.postgres.recovery.recorded_verdicts import unfounded
from ledger_core.postgres.recovery.verdict_log import PostgresVerdictLog
from ledger_core.posting.plans import Decided, Draft
from ledger_core.posting.rules import content_hash, content_of
from ledger_core.posting.sequencing import sequence
from ledger_core.posting.verdicts import VerdictLine, encode_verdict
from tests.support import databases
from tests.support.archive_factory import Key, MemoryStore, archive_of
from tests.support.journal_factory import TinyShard
from tests.support.rebuilds import check, rows, run, write_folder
from tests.support.replay_runs import empty_database
from tests.support.settlements import event_id, record, settlement

pytestmark = pytest.mark.services

KEY = Key("ed25519")


@pytest.fixture
def empty(stack: Stack) -> Iterator[str]:
    """A database without a table."""
    url = empty_database(stack.env["DATABASE_URL"], f"test_{uuid.uuid4().hex[:16]}")
    yield url
    databases.drop_database(stack.env["DATABASE_URL"], url)


def test_one_event_id_in_two_entries_is_named_and_not_written(empty: str, tmp_path: Path) -> None:
    store = MemoryStore()
    archive_of(TinyShard().post(15), [(15, 15)], KEY, store)
    twin = TinyShard(3)
    twin.shard = 0  # the same ids as shard 0 gives, in the chain of another shard
    twin.post(2)
    ids = [item.entry.event_id for item in twin.entries]
    made = TinyShard(3)
    for taken in ids:
        made.post(1, event_id=taken)
    archive_of(made, [(2, 2)], KEY, store)
    with pytest.raises(Corrupt, match=ids[0]):
        run(empty, KEY.registry, write_folder(store, tmp_path / "archive"))
    assert {row[0] for row in rows(empty)["entries"]} == {0}


def silent(shard: TinyShard, taken: str, reason: str, digest: bytes) -> TinyShard:
    """One more offset: a rejection of the event id."""
    line = VerdictLine(
        offset=str(shard.next_offset), reason=reason, verdict="rejected", event_id=taken, content_hash=digest.hex()
    )
    shard.verdicts[shard.next_offset] = encode_verdict(line)
    shard.next_offset += 1
    return shard


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_event_id_that_two_shards_met_stays_taken_whichever_is_put_back_first(
    empty: str, tmp_path: Path, order: tuple[int, int]
) -> None:
    """Which of two rejections came first stands in no archive: the id is answered as rejected either way. An entry
    outranks a rejection that was written before it."""
    posted, refused = event_id(1), event_id(2)
    draft = decide(record(0, settlement(2, reverses=event_id(3)))).outcome
    assert isinstance(draft, Draft)
    store = MemoryStore()
    one = silent(silent(TinyShard(), posted, "bad_field", b"\1" * 32), refused, "bad_amount", b"\2" * 32)
    two = silent(TinyShard(1).post(1, event_id=posted), refused, "unknown_reversal", content_hash(content_of(draft)))
    archive_of(one, [(0, 2)], KEY, store)
    archive_of(two, [(1, 2)], KEY, store)
    archived = write_folder(store, tmp_path / "archive")
    for shard in order:
        assert run(empty, KEY.registry, archived, shards=(shard,)).sound
    check(empty, KEY.registry)
    with psycopg.connect(empty) as connection:
        known = look_up(connection.cursor(), [posted, refused], [])
        assert unfounded(connection) == []
        taken = PostgresVerdictLog(connection).taken_elsewhere(0, 0, 2)
    assert (known[posted].shard, known[posted].seq) == (1, 1)
    assert taken[0][1].body is not None
    assert (known[refused].shard, known[refused].body) == (order[0], None), "nobody can know"
    head = run(empty, KEY.registry, archived).shards[1].head or pytest.fail("no head")
    again = Decided(record(head.next_offset, settlement(2, reverses=event_id(3)), shard=1), draft)
    plan = sequence(head, [again], known)
    assert (plan.posted, [verdict.kind for verdict in plan.verdicts]) == ([], ["rejected"])
