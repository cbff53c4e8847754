"""A verified range of the archive as the rows that prover and archiver wrote for it. Pure.

Guarantees: range, proof, checkpoint, object and manifest are the bytes that were signed; what is not in the archive is
said: the moments of closing and signing are taken from the proof, the journal cursor from the caller. A range without a
manifest stays unsigned here: the prover signs the same payload again, and gets the same bytes.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

from ledger_core.archive.names import manifest_key
from ledger_core.archive.pinned_object import PINNED_COLUMNS
from ledger_core.errors import Corrupt
from ledger_core.proving import checkpoint
from ledger_core.times import parse_time
from ledger_core.verify.archive_walk import VerifiedRange

RANGE_COLUMNS: Final = (
    "shard",
    "range_no",
    "first_seq",
    "last_seq",
    "first_offset",
    "next_offset",
    "payload",
    "hash",
    "checkpoint_text",
    "tree",
    "verdict_tree",
    "head_hash",
    "journal_offset",
)
ARCHIVE_COLUMNS: Final = (
    "shard",
    "range_no",
    *PINNED_COLUMNS,
    "journal_offset",
)


@dataclass(frozen=True, slots=True)
class ArchivedRows:
    """The values of one row a table, in the order of its columns; None where the range has no such row."""

    range: tuple[object, ...]  # of table ranges
    proof: tuple[object, ...] | None  # of table proofs
    checkpoint: tuple[object, ...] | None  # of table checkpoints
    archived: tuple[object, ...] | None  # of table archive_objects
    manifest: tuple[object, ...] | None  # of table manifests
    proved_at: dt.datetime  # UTC; from the proof's ts
    stored_at: dt.datetime  # UTC; from the manifest's ts


def rows_of(verified: VerifiedRange, journal_offset: int, origin: str) -> ArchivedRows:
    """The rows of a range. `origin` names the shard's checkpoints, for a range that has no manifest with one yet.
    Raises Corrupt when the tree before the range is not known.
    """
    proof, part, tree = verified.proof, verified.proof.shards[0], verified.tree
    verdicts = verified.verdict_tree
    if tree is None or verdicts is None:
        raise Corrupt(f"shard {verified.shard}, archive range {verified.range_no}: the tree before it is not known")
    listed = verified.listed
    manifest = None if listed is None else listed.manifest
    place = (verified.shard, verified.range_no)
    note = None if manifest is None else manifest.checkpoint.encode()
    record_start = int(part.source.next_offset) - tree.size - verdicts.size
    text = checkpoint.record_text(origin, record_start, tree, verdicts) if note is None else checkpoint.parse(note).text
    proved_at = parse_time(proof.ts)
    range_row = (
        *place,
        int(part.first_seq),
        int(part.last_seq),
        int(part.source.first_offset),
        int(part.source.next_offset),
        proof.to_bytes(),
        bytes.fromhex(proof.hash),
        text,
        tree.to_bytes(),
        verdicts.to_bytes(),
        None if part.head_hash is None else bytes.fromhex(part.head_hash),
        journal_offset,
    )
    if listed is None or manifest is None:
        return ArchivedRows(range_row, None, None, None, None, proved_at, proved_at)
    pinned = manifest.object
    return ArchivedRows(
        range_row,
        (proof.proof_id, *place, verified.proof_line),
        (verified.shard, int(part.source.next_offset), int(part.last_seq), note),
        (
            *place,
            pinned.key,
            pinned.version_id,
            pinned.sha256,
            int(pinned.size_bytes),
            pinned.stored_sha256,
            int(pinned.stored_size_bytes),
            pinned.mode,
            parse_time(pinned.retain_until),
            journal_offset,
        ),
        (
            *place,
            manifest.to_bytes(),
            bytes.fromhex(manifest.hash),
            listed.data,
            manifest_key(manifest.env, verified.shard, verified.range_no),
            listed.stored.version_id,
        ),
        proved_at,
        parse_time(manifest.ts),
    )
