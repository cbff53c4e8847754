"""The ledger against what is kept outside of it: proofs of operators, checkpoints, heads."""

from __future__ import annotations

from typing import Any

import pytest

from ledger_core.proving.range_proof import assemble_proof
from ledger_core.proving.tiles import TREES, GrowingTiles, TreeName
from ledger_core.signing import notes
from ledger_core.tree import leaf_hashes
from ledger_core.verify.oracle import LedgerHead, Report, head_of_checkpoint, verify_ledger
from tests.simulator.ledger import MemoryLedger
from tests.simulator.tiny_shards import add_shard
from tests.support.archive_factory import Key, closed_of, cut_of
from tests.support.journal_factory import TinyShard
from tests.support.receipt_factory import leaves, note_of

KEY = Key("ed25519")


def shard(currency: str = "USD") -> TinyShard:
    return TinyShard().post(5).silence(2).post(7, currency=currency).post(3)


def ledger(made: TinyShard, cuts: Any = ((5, 6), (12, 14))) -> MemoryLedger:
    result = MemoryLedger()
    add_shard(result, made, cuts, KEY)
    return result


def asked_for(made: TinyShard, last_seq: int, next_offset: int) -> bytes:
    """A proof an operator asked for, over a range that no closed range ends with."""
    closed = closed_of(cut_of(made, None, last_seq, next_offset), made, KEY, 1, None)
    return assemble_proof(closed.payload, KEY.sign_digest(closed.hash))


def codes(report: Report) -> set[tuple[str, int | None, str | None]]:
    return {(finding.code, finding.seq, finding.field) for finding in report.findings}


@pytest.mark.parametrize(("last_seq", "next_offset"), [(3, 3), (8, 10), (15, 17)])
def test_proofs_of_operators_are_compared_with_the_chain(last_seq: int, next_offset: int) -> None:
    made = ledger(shard())
    made.asked_for = [asked_for(shard(), last_seq, next_offset)]
    report = verify_ledger(made, KEY.registry)
    assert report.findings == ()
    assert report.counts["operator_proofs"] == 1
    made.asked_for = [asked_for(TinyShard().post(5, currency="EUR").silence(2).post(10), last_seq, next_offset)]
    found = codes(verify_ledger(made, KEY.registry))
    assert found == {("ledger.head", last_seq, "head_hash"), ("ledger.head", last_seq, "root")}


def test_a_kept_checkpoint_finds_a_ledger_that_was_replaced_or_cut() -> None:
    text = closed_of(cut_of(shard(), None, 12, 14), shard(), KEY, 1, None).checkpoint_text
    note = notes.assemble(text, KEY.kid, KEY.public, KEY.sign_text(text))
    kept = head_of_checkpoint(note, KEY.registry, 0)
    assert verify_ledger(ledger(shard()), KEY.registry, expected=[kept]).sound
    replaced = ledger(shard("EUR"))
    assert verify_ledger(replaced, KEY.registry).sound  # consistent in itself: only what was kept outside can tell
    assert codes(verify_ledger(replaced, KEY.registry, expected=[kept])) == {("ledger.head", 12, "root")}
    cut = ledger(TinyShard().post(5).silence(2), cuts=[(5, 6)])
    assert codes(verify_ledger(cut, KEY.registry, expected=[kept])) == {("ledger.truncated", 12, None)}
    gone = verify_ledger(MemoryLedger(), KEY.registry, expected=[LedgerHead(0, 1)])
    assert codes(gone) == {("ledger.truncated", 1, None)}


def test_one_edited_entry_does_not_make_later_ranges_findings() -> None:
    made = ledger(shard(), cuts=[(5, 6), (9, 11), (12, 14)])
    rows = made.entry_rows[0]
    rows[1] = rows[1]._replace(body=rows[1].body.replace(b"order-2", b"order-9"))
    seqs = {finding.seq for finding in verify_ledger(made, KEY.registry).findings}
    assert seqs == {2, 5}  # the entry, and the range that was signed over it


def test_ranges_that_wait_for_a_signature_are_counted_and_a_skipped_one_is_found() -> None:
    made = MemoryLedger()
    add_shard(made, shard(), [(5, 6), (12, 14)], KEY, signed=False)
    report = verify_ledger(made, KEY.registry)
    assert report.sound
    assert report.counts["ranges_not_signed_yet"] == 2
    signed = ledger(shard())
    signed.range_rows[0][0] = signed.range_rows[0][0]._replace(proof=None)
    assert ("ledger.proof_missing", 12, "proof") in codes(verify_ledger(signed, KEY.registry))


def test_a_proof_moved_to_another_range_is_found() -> None:
    made = ledger(shard())
    first, second = made.range_rows[0]
    made.range_rows[0] = [first._replace(proof=second.proof), second]
    assert ("ledger.proof", 5, "payload") in codes(verify_ledger(made, KEY.registry))


def test_a_live_checkpoint_is_compared_with_the_chain() -> None:
    text = closed_of(cut_of(shard(), None, 13, 15), shard(), KEY, 1, None).checkpoint_text
    note = notes.assemble(text, KEY.kid, KEY.public, KEY.sign_text(text))
    for made, wanted in (
        (ledger(shard()), set()),
        (ledger(shard("EUR")), {("ledger.head", 13, "root")}),
        (ledger(TinyShard().post(5).silence(2), cuts=[(5, 6)]), {("ledger.truncated", 13, None)}),
    ):
        made.live = {0: note}
        assert codes(verify_ledger(made, KEY.registry)) == wanted
    made = ledger(shard())
    made.live = {0: note.replace(b"\n13\n", b"\n12\n")}
    assert codes(verify_ledger(made, KEY.registry)) == {("checkpoint.signature", None, "note")}


def test_the_verdict_lines_of_a_live_checkpoint_are_compared_too() -> None:
    other = TinyShard().post(5).silence(1).silence(1, reason="bad_field").post(8)
    same = TinyShard().post(5).silence(2).post(8)
    for signed, wanted in ((same, set()), (other, {("ledger.head", 13, "verdict_root"), ("ledger.head", 13, "root")})):
        made = MemoryLedger()
        add_shard(made, TinyShard().post(5).silence(2).post(8), [], KEY)
        made.live = {0: note_of(signed, KEY)}
        found = codes(verify_ledger(made, KEY.registry))
        assert found <= wanted
        assert ("ledger.head", "verdict_root") in {(it[0], it[2]) for it in found} or not wanted


def tiled(of: TinyShard) -> dict[tuple[int, TreeName, int, int], bytes]:
    rows: dict[tuple[int, TreeName, int, int], bytes] = {}
    for tree in TREES:
        growing = GrowingTiles()
        made = growing.extend(leaf_hashes(leaves(of, tree)))
        for tile in (*growing.edge_tiles(), *made):
            rows[0, tree, tile.level, tile.number] = tile.hashes
    return rows


def flipped(rows: dict[tuple[int, TreeName, int, int], bytes], place: tuple[int, TreeName, int, int]) -> None:
    rows[place] = bytes([rows[place][0] ^ 1]) + rows[place][1:]


def test_tiles_are_compared_with_the_record() -> None:
    made = MemoryLedger()
    add_shard(made, TinyShard().post(300).silence(260).post(290), [], KEY)
    whole = TinyShard().post(300).silence(260).post(290)
    part = TinyShard().post(300).silence(258)
    for rows, wanted in (
        ({}, set()),
        (tiled(whole), set()),
        (tiled(part), set()),
        (tiled(TinyShard().post(1, currency="EUR").post(299).silence(260)), {"ledger.head"}),
        (tiled(TinyShard().post(300).silence(200).silence(60, reason="bad_field")), {"ledger.head"}),
        (tiled(TinyShard().post(700).silence(9)), {"ledger.truncated"}),
    ):
        made.tile_rows = rows
        report = verify_ledger(made, KEY.registry)
        assert {finding.code for finding in report.findings} >= wanted
        assert report.sound == (not wanted), report.findings
    for place in tiled(whole):
        made.tile_rows = tiled(whole)
        if made.tile_rows[place]:
            flipped(made.tile_rows, place)
            report = verify_ledger(made, KEY.registry)
            assert {finding.code for finding in report.findings} <= {"ledger.tiles", "ledger.head"}
            assert not report.sound, place
    made.tile_rows = tiled(whole)
    made.tile_rows[0, "entries", 0, 7] = made.tile_rows[0, "entries", 0, 0]
    assert "ledger.tiles" in {finding.code for finding in verify_ledger(made, KEY.registry).findings}
