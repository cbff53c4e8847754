"""What a rebuild reads off the ends of the topics, and whose topics they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from consumers.relay import RelayTopics
from consumers.topic_look import look
from ledger_core.errors import Refused
from schemas.journal_wire import encode_journal

TOPICS = RelayTopics("journal", "outcomes", "dlq")
ARCHIVED = {seq: bytes([seq]) * 32 for seq in range(1, 6)}


@dataclass
class Told:
    """The part of a Kafka message that is read."""

    data: bytes

    def value(self) -> bytes:
        return self.data


class Ends:
    """The ends of a journal, as the brokers would tell them; the other topics are gone."""

    def __init__(self, values: Sequence[bytes]) -> None:
        self._values = values

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        if topic != TOPICS.journal:
            raise Refused(f"topic {topic} does not exist", remedy="")
        return 0, len(self._values)

    def message_at(self, topic: str, partition: int, offset: int) -> Any:
        return Told(self._values[offset])


def journal(hashes: Mapping[int, bytes]) -> Ends:
    return Ends([encode_journal(0, seq, b"{}", digest) for seq, digest in hashes.items()])


def test_a_journal_of_the_archived_entries_tells_how_far_it_goes():
    longer = ARCHIVED | {6: b"\6" * 32}
    told = look(journal(longer), TOPICS, 0, 5, ARCHIVED.get)
    assert (told.journal_first_seq, told.journal_seq, told.journal_high) == (1, 6, 6)


@pytest.mark.parametrize("seq", [1, 5])
def test_a_journal_with_another_oldest_or_newest_entry_is_refused(seq: int):
    with pytest.raises(Refused, match=f"another entry at seq {seq} than the archive") as refused:
        look(journal(ARCHIVED | {seq: bytes(32)}), TOPICS, 0, 5, ARCHIVED.get)
    assert "FINANCE_TOPIC_PREFIX" in refused.value.remedy


def test_an_entry_that_no_copy_of_the_archive_can_tell_is_left_to_the_walk():
    assert look(journal(ARCHIVED), TOPICS, 0, 5, lambda _seq: None).journal_seq == 5


def test_an_entry_beyond_the_archive_is_compared_with_nothing():
    asked: list[int] = []
    look(journal({4: ARCHIVED[4], 9: bytes(32)}), TOPICS, 0, 5, lambda seq: asked.append(seq) or ARCHIVED[seq])
    assert asked == [4]
