"""What the archive tells of a shard's closed ranges, and what topic and archive tell together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.proving.published_guard import PublishedRange
from consumers.proving.published_ranges import in_both, newest_in_archive, newest_number
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of
from tests.support.journal_factory import TinyShard

KEY = Key("ed25519")


@given(st.integers(0, 3_000_000), st.integers(0, 3_000_000))
def test_the_newest_manifest_is_found_in_few_questions_however_many_there_are(newest: int, near: int) -> None:
    asked: list[int] = []

    def is_there(number: int) -> bool:
        assert number >= 1
        asked.append(number)
        return number <= newest

    assert newest_number(is_there, near) == newest
    assert len(asked) <= 2 * (newest - near).bit_length() + 3


def test_the_archives_newest_manifest_is_what_binds() -> None:
    shard = TinyShard().post(4).silence(1, reason="malformed").post(3)
    store = MemoryStore()
    archive_of(shard, [(3, 3), (5, 6), (7, 8)], KEY, store)
    for held_no in range(6):
        (found,) = newest_in_archive(0, held_no, store, ENV, KEY.registry)
        assert found.range_no == 3
    assert newest_in_archive(1, 0, store, ENV, KEY.registry) == []
    assert newest_in_archive(1, 7, store, ENV, KEY.registry) == []


def test_a_range_that_only_the_archive_holds_binds_as_well() -> None:
    def item(range_no: int, digest: str, place: str) -> PublishedRange:
        return PublishedRange(range_no, digest, place)

    topic = [item(3, "a", "topic"), item(4, "b", "topic")]
    assert in_both(topic, []) == topic
    assert in_both(topic, [item(4, "b", "archive")]) == topic
    assert in_both(topic, [item(2, "c", "archive")])[0].place == "archive"
    assert [it.place for it in in_both(topic, [item(4, "x", "archive")])] == ["topic", "topic", "archive"]
    assert [it.range_no for it in in_both(topic, [item(9, "x", "archive")])] == [3, 4, 9]


def test_while_the_topic_has_more_the_archives_newest_waits() -> None:
    topic = [PublishedRange(3, "a", "topic"), PublishedRange(4, "b", "topic")]
    assert in_both(topic, [PublishedRange(9, "x", "archive")], more=True) == topic
