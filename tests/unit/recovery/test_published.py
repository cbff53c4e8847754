"""What of a rebuilt ledger must be published again, by what the topics show."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest
from confluent_kafka import Message

from consumers.posting.relay import RelayTopics
from consumers.recovery.topic_ends import Ends, look
from ledger_core.archive.listing import list_archive
from ledger_core.errors import Refused
from ledger_core.findings import Collector
from ledger_core.posting.plans import ShardHead
from ledger_core.recovery.archived_plan import plan_of
from ledger_core.recovery.published import Published
from ledger_core.verify.archive_walk import ShardWalk, VerifiedRange
from ledger_core.verify.archived_range import ArchiveScene, ArchiveSource
from ledger_core.verify.range_tally import Position
from schemas.wire.journal import encode_journal
from schemas.wire.outcomes import encode_outcome
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of
from tests.support.journal_factory import TOPIC, TinyShard

KEY = Key("ed25519")
SHARD = TinyShard().post(4).silence(1, reason="malformed").post(3)
GENESIS = ShardHead(
    shard=0, topic=TOPIC, first_offset=0, next_offset=0, seq=0, head_hash=None, accounts=0, posted=0, duplicates=0,
    rejected=0, relayed_offset=0,
)  # fmt: skip


def ranges() -> list[VerifiedRange]:
    store, found = MemoryStore(), Collector()
    archive_of(SHARD, [(3, 3), (5, 6), (7, 8)], KEY, store)
    source = ArchiveSource(store, list_archive(store, ENV, found)[0])
    walk = ShardWalk(ArchiveScene(ENV, KEY.registry, keep_lines=True), 0, [source], found, Position(0))
    return list(walk.ranges())


def relayed(published: Published) -> int:
    """`relayed_offset` after the whole archive, range after range as a rebuild writes them."""
    head = GENESIS
    for verified in ranges():
        offset = published.relayed_offset(head, verified)
        head = msgspec.structs.replace(plan_of(head, verified, {}).after, relayed_offset=offset)
        assert 0 <= head.relayed_offset <= head.next_offset
    return head.relayed_offset


@pytest.mark.parametrize(
    ("journal", "outcomes", "dead_letters", "wanted"),
    [
        (7, 8, 5, 8),  # everything
        (7, None, None, 8),  # two topics that forgot what they held
        (0, 0, 0, 0),  # nothing
        (7, 8, 0, 4),  # the dead letter of offset 4 is missing
        (4, 8, 5, 5),  # the entry at offset 5 is the next one
        (3, 8, 5, 3),
        (7, 6, 5, 6),  # outcomes end before offset 6
        (7, 2, 5, 2),
        (1, 8, 5, 1),
    ],
)
def test_everything_from_the_first_offset_on_that_some_topic_lacks_is_published_again(
    journal: int, outcomes: int | None, dead_letters: int | None, wanted: int
) -> None:
    assert relayed(Published(journal, 1, 0, journal, outcomes, dead_letters)) == wanted


def test_a_journal_cursor_is_never_behind_the_next_entry() -> None:
    whole = Published(7, 1, 0, 7)
    assert [whole.journal_offset(seq) for seq in (0, 3, 7)] == [0, 3, 7]
    repeated = Published(7, 1, 0, 12)  # repeats only move entries further back
    assert repeated.journal_offset(7) == 7
    trimmed = Published(7, 4, 40, 44)
    assert [trimmed.journal_offset(seq) for seq in (0, 3, 5)] == [40, 40, 42]
    assert Published().journal_offset(7) == 0


class Record:
    def __init__(self, value: bytes, headers: list[tuple[str, bytes]] | None = None) -> None:
        self._value, self._headers = value, headers

    def value(self) -> bytes:
        return self._value

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self._headers


class Topics(Ends):
    """Records by topic; `lows` are oldest offsets of topics that lost their beginning."""

    def __init__(self, records: dict[str, list[Record]], lows: dict[str, int]) -> None:
        self._records, self._lows = records, lows

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        low = self._lows.get(topic, 0)
        return low, low + len(self._records.get(topic, []))

    def message_at(self, topic: str, partition: int, offset: int) -> Message:
        return cast("Message", self._records[topic][offset - self._lows.get(topic, 0)])

    def newest(self, topic: str, partition: int) -> Message | None:
        return cast("Message | None", next(reversed(self._records[topic]), None))


NAMES = RelayTopics("journal", "outcomes", "dead_letters")


def journal(*seqs: int, altered: int = 0) -> list[Record]:
    return [Record(encode_journal(0, seq, b"{}", archived(seq + (seq == altered)))) for seq in seqs]


def archived(seq: int) -> bytes:
    return bytes([seq]) * 32


def test_the_ends_of_the_topics_tell_how_far_each_was_published() -> None:
    outcome = encode_outcome(None, None, "rejected", "malformed", None, 0, 9, None, None)
    topics = Topics(
        {
            "journal": journal(1, 2, 3, 2, 3),
            "outcomes": [Record(outcome)],
            "dead_letters": [Record(b"", [("finance.offset", b"4")])],
        },
        {},
    )
    assert look(topics, NAMES, 0, 3, archived) == Published(3, 1, 0, 5, 10, 5)
    assert look(Topics({}, {}), NAMES, 0, 3, archived) == Published(0, 1, 0, 0, 0, 0)
    emptied = Topics({}, {"outcomes": 7, "dead_letters": 7})
    assert look(emptied, NAMES, 0, 3, archived) == Published(0, 1, 0, 0, None, None)


def test_a_journal_that_begins_behind_what_is_needed_next_counts_as_empty() -> None:
    topics = Topics({"journal": journal(9, 10)}, {})
    assert look(topics, NAMES, 0, 8, archived) == Published(10, 9, 0, 2, 0, 0)
    assert look(topics, NAMES, 0, 7, archived) == Published(0, 1, 2, 2, 0, 0)


@pytest.mark.parametrize("seq", [1, 5])
def test_a_journal_with_another_oldest_or_newest_entry_is_refused(seq: int) -> None:
    topics = Topics({"journal": journal(1, 2, 3, 4, 5, altered=seq)}, {})
    with pytest.raises(Refused, match=f"another entry at seq {seq} than the archive") as refused:
        look(topics, NAMES, 0, 5, archived)
    assert "FINANCE_TOPIC_PREFIX" in refused.value.remedy


def test_an_entry_that_no_copy_of_the_archive_can_tell_is_left_to_the_walk() -> None:
    topics = Topics({"journal": journal(1, 2, 3, altered=3)}, {})
    assert look(topics, NAMES, 0, 3, lambda _seq: None).journal_seq == 3


def test_an_entry_beyond_the_archive_is_compared_with_nothing() -> None:
    asked: list[int] = []

    def told(seq: int) -> bytes:
        asked.append(seq)
        return archived(seq)

    look(Topics({"journal": journal(4, 9)}, {}), NAMES, 0, 5, told)
    assert asked == [4]
