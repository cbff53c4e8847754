"""Comparing a ledger with what was signed about it, wherever the proofs are kept: a database, or the archive.

Guarantees: of each signed range that the ledger covers whole, the counts and the verdicts hash are recomputed from its
rows; heads and roots become expectations for the oracle (`heads_of`). A range that reaches beyond the ledger's end is a
finding when the ledger claims to be whole, else it is counted.
Does not: check signatures: whoever yields a `SignedPart` has done so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ledger_core.findings import Collector
from ledger_core.posting.verdicts import verdicts_hash
from ledger_core.proving.range_proof import ShardRange
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.ledger import LedgerHead
from ledger_core.verify.ledger_rows import LedgerReader, RangeRow, ShardRow
from ledger_core.verify.statements import check_proof


@dataclass(frozen=True, slots=True)
class SignedPart:
    """What one verified proof says of one shard."""

    proof_id: str  # id of the proof
    env: str  # environment, such as prod; part of every proof and object name
    part: ShardRange  # what it says: sequences inclusive, offsets half-open

    @property
    def head(self) -> LedgerHead:
        head_hash = bytes.fromhex(self.part.head_hash or "")
        root = bytes.fromhex(self.part.root)
        return LedgerHead(self.part.shard, int(self.part.last_seq), head_hash, root, f"proof {self.proof_id}")


def parts_of_rows(rows: Iterable[RangeRow], registry: SignerRegistry, found: Collector) -> Iterator[SignedPart]:
    """The proofs that stand beside closed ranges in a database, verified."""
    for row in rows:
        if row.proof is None:
            found.count("ranges_not_signed_yet")
            continue
        proof = check_proof(row.proof, registry, found, seq=row.last_seq)
        for part in proof.shards if proof is not None else ():
            assert proof is not None  # noqa: S101  # the loop has none otherwise
            yield SignedPart(proof.proof_id, proof.env, part)


def compare_with_signed(
    reader: LedgerReader, row: ShardRow, parts: Iterable[SignedPart], found: Collector, *, whole: bool
) -> list[LedgerHead]:
    """Compare the verdicts and counts of one shard with its signed ranges; the heads to expect come back.

    `whole`: the ledger claims to hold everything, so nothing signed may lie beyond it.
    """
    heads = []
    for signed in parts:
        source = signed.part.source
        first_offset, next_offset = int(source.first_offset), int(source.next_offset)
        if next_offset > row.next_offset:
            found.count("signed_ranges_beyond")
            if whole:
                message = f"proof {signed.proof_id} reaches offset {next_offset}, this ledger ends at {row.next_offset}"
                found.add("replay.truncated", message, seq=int(signed.part.last_seq), field="next_offset")
                whole = False  # once: all later ones lie beyond, too
            continue
        found.count("signed_ranges_compared")
        heads.append(signed.head)
        verdicts = reader.verdicts(row.shard, first_offset, next_offset)
        rejected = sum(verdict.verdict == "rejected" for verdict in verdicts)
        for field, wanted, have in (
            ("posted", source.posted, str(next_offset - first_offset - len(verdicts))),
            ("duplicates", source.duplicates, str(len(verdicts) - rejected)),
            ("rejected", source.rejected, str(rejected)),
            ("verdicts_hash", source.verdicts_hash, verdicts_hash(verdict.line for verdict in verdicts).hex()),
        ):
            if wanted != have:
                message = f"proof {signed.proof_id}, offsets {first_offset} to {next_offset - 1}: {field} is {have}"
                found.add("replay.proof", f"{message}, signed is {wanted}", seq=int(signed.part.last_seq), field=field)
    return heads
