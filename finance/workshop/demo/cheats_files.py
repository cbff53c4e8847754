"""Cheating with what was handed out: a copied batch and a copied proof, edited. The copies are removed again."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

from finance.workshop.demo.cheat import by_verification, dearer
from finance.workshop.demo.leave import BATCH, PROOF, SIGNERS, Left
from finance.workshop.demo.ledger import DemoLedger, FindingReport
from finance.workshop.demo.model import Cheat
from ledger_core.books.entries import decode_entry


def cheat_files(ledger: DemoLedger, left: Left) -> Iterator[Cheat]:
    """Every attempt on the files, one after the other."""
    batch, proof = (left.folder / BATCH).read_bytes(), (left.folder / PROOF).read_bytes()
    attempts = (
        ("one bit of the stored batch is flipped", "batch", flip_bit(batch, len(batch) // 2)),
        ("an entry of the batch is made $100 dearer, and the batch packed again", "batch", edit_entry(batch)),
        ("the proof is made to end one entry earlier", "proof", edit_sequence(proof)),
        ("the proof is made to cover ten years more", "proof", edit_time(proof)),
    )
    for tried, kind, forged in attempts:
        path = left.folder / f"forged-{BATCH if kind == 'batch' else PROOF}"
        path.write_bytes(forged)
        try:
            arguments = (kind, str(path), "--signers", str(left.folder / SIGNERS))
            yield by_verification(
                tried, ledger, arguments, _names_entry if "entry of" in tried else lambda _found: True
            )
        finally:
            path.unlink()


def flip_bit(data: bytes, position: int) -> bytes:
    """The same bytes with one bit changed."""
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def edit_entry(batch: bytes) -> bytes:
    """The entry in the middle, dearer on both sides."""
    lines = gzip.decompress(batch).split(b"\n")
    number = max(1, len(lines) // 2 - 1)
    lines[number] = dearer(decode_entry(lines[number]))
    return gzip.compress(b"\n".join(lines), mtime=0)


def edit_sequence(proof: bytes) -> bytes:
    """Every last_seq of the proof, one less."""
    return re.sub(rb'"last_seq":"([0-9]+)"', lambda found: b'"last_seq":"%d"' % (int(found[1]) - 1), proof)


def edit_time(proof: bytes) -> bytes:
    """The range's end, ten years later: the proof stays in its form, and only its hash knows."""
    return re.sub(rb'"to_ts":"([0-9]{4})', lambda found: b'"to_ts":"%d' % (int(found[1]) + 10), proof)


def _names_entry(found: FindingReport) -> bool:
    return found.shard is not None and found.seq is not None and found.field is not None
