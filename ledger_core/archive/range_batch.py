"""One proved range on its way into the archive: journal entries in, a sealed audit batch out. Pure.

Guarantees: what is sealed is exactly the range that its proof speaks of: entries in sequence from prev_hash to
head_hash, and the verdict lines of verdicts_hash. A batch that would contradict its proof is Corrupt and never sealed.
Does not: read the entries' fields (the prover did, and signed), or read, write or sign anything. Memory is that of the
compressed batch and a few lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledger_core.archive.batch import BatchWriter, SealedBatch, metadata_of, object_metadata
from ledger_core.archive.names import batch_key
from ledger_core.chain import link
from ledger_core.errors import Corrupt
from ledger_core.posting.verdicts import verdicts_hash
from ledger_core.proving.range_proof import RangeProof, ShardRange, parse_proof

LINES_BYTES_MIN: Final = 256 * 1024  # compressed together: a call for each line would cost more than the line


class RangeBatch:
    """The batch of one signed proof (canonical bytes). Raises ValueError when that is not a proof of one shard."""

    def __init__(self, proof: bytes, *, pii_policy_version: str) -> None:
        self._proof_bytes = proof
        self.proof: RangeProof = parse_proof(proof)
        (self.part,) = self.proof.shards
        self._metadata = metadata_of(self.proof, pii_included=False, pii_policy_version=pii_policy_version)
        self._writer = BatchWriter(self._metadata)
        self._shard = self.part.shard
        self._seq = int(self.part.first_seq) - 1
        self._last_seq = int(self.part.last_seq)
        self._head = None if self.part.prev_hash is None else bytes.fromhex(self.part.prev_hash)
        self._lines: list[bytes] = []
        self._lines_bytes = 0

    @property
    def key(self) -> str:
        """The object's name: a function of env, shard and range."""
        part: ShardRange = self.part
        return batch_key(self.proof.env, part)

    @property
    def complete(self) -> bool:
        """Whether every entry of the range was taken."""
        return self._seq == self._last_seq

    def take(self, seq: int, body: bytes, entry_hash: bytes) -> None:
        """Take the next entry; a lower sequence is a repeat and skipped. Raises Corrupt on a gap or a broken link."""
        if seq <= self._seq:
            return
        if seq != self._seq + 1 or seq > self._last_seq:
            raise Corrupt(f"shard {self._shard}: the journal goes from seq {self._seq} to {seq}: a gap")
        head = self._head
        if link(body, head) != entry_hash:
            raise Corrupt(f"shard {self._shard}, seq {seq}: entry_hash does not continue the chain")
        self._head = entry_hash
        self._seq = seq
        self._lines.append(body)
        self._lines_bytes += len(body)
        if self._lines_bytes >= LINES_BYTES_MIN:
            self._write_lines()

    def seal(self, verdict_lines: Sequence[bytes]) -> tuple[SealedBatch, dict[str, str]]:
        """The finished batch and its object metadata. Raises Corrupt when journal or verdicts contradict the proof."""
        source = self.part.source
        place = f"shard {self._shard}, seq {self.part.first_seq}..{self.part.last_seq}"
        if (None if self._head is None else self._head.hex()) != self.part.head_hash or not self.complete:
            raise Corrupt(f"{place}: the journal's head differs from the proved one")
        if (
            len(verdict_lines) != int(source.duplicates) + int(source.rejected)
            or verdicts_hash(verdict_lines).hex() != source.verdicts_hash
        ):
            raise Corrupt(f"{place}: the verdict lines differ from the proved ones")
        self._write_lines()
        self._writer.add_lines(verdict_lines)
        sealed = self._writer.seal(self._proof_bytes)
        return sealed, object_metadata(self._metadata, sealed.sha256)

    def _write_lines(self) -> None:
        self._writer.add_lines(self._lines)
        self._lines = []
        self._lines_bytes = 0
