"""Chunks of a chain: where they begin, and that keys of one chunk stand together."""

from __future__ import annotations

from ledger_core.reading.blocks import BLOCK_LINES
from ledger_core.reading.chunks import CHUNK_ENTRIES, chunk_of, digest_of, slot_of


def test_a_chunk_begins_behind_the_last_entry_of_the_one_before() -> None:
    assert [chunk_of(seq) for seq in (1, CHUNK_ENTRIES, CHUNK_ENTRIES + 1)] == [0, 0, 1]
    assert CHUNK_ENTRIES % BLOCK_LINES == 0  # blocks of entries lie in one chunk


def test_each_chunk_of_each_shard_has_a_slot_of_its_own_that_fits_a_column() -> None:
    slots = [slot_of(shard, chunk) for shard in (0, 1, 16_383) for chunk in (0, 1, 131_071)]
    assert slots == sorted(set(slots))
    assert slots[-1] < 2**31


def test_the_digest_of_a_name_is_the_same_in_every_process() -> None:
    assert digest_of("st_1").hex() == "1a186161"
