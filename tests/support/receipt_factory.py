"""Receipts of a tiny shard, as the ledger would make them: every leaf of both trees under one signed checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from ledger_core.proving.checkpoint import record_text
from ledger_core.proving.receipt import Receipt, receipt_of
from ledger_core.proving.tiles import TreeName
from ledger_core.signing import notes
from ledger_core.signing.registry import SignerRegistry
from ledger_core.tree import CompactRange, inclusion_proof, leaf_hashes
from tests.support.archive_factory import ENV, Key
from tests.support.journal_factory import TinyShard


def leaves(shard: TinyShard, tree: TreeName) -> list[bytes]:
    """The leaves of one of the shard's trees, in order."""
    if tree == "entries":
        return [item.body for item in shard.entries]
    return [shard.verdicts[offset] for offset in sorted(shard.verdicts)]


def note_of(shard: TinyShard, *keys: Key) -> bytes:
    """The signed checkpoint of all that a shard holds."""
    entries, verdicts = (CompactRange().extend(leaf_hashes(leaves(shard, tree))) for tree in ("entries", "verdicts"))
    text = record_text(f"example.com/finance/{ENV}/ledger/{shard.shard}", shard.first_offset, entries, verdicts)
    lines = [notes.signature_line(text, key.kid, key.public, key.sign_text(text)) for key in keys]
    return text + b"\n" + b"".join(lines)


@dataclass(frozen=True, slots=True)
class Office:
    """Makes the receipts of a shard by some keys."""

    shard: TinyShard
    keys: tuple[Key, ...]

    @property
    def registry(self) -> SignerRegistry:
        return SignerRegistry([key.registry.get(key.kid) for key in self.keys])

    def receipt(self, tree: TreeName, index: int) -> Receipt:
        held = leaves(self.shard, tree)
        path = inclusion_proof(leaf_hashes(held), index, len(held))
        return receipt_of(note_of(self.shard, *self.keys), self.registry, tree, index, held[index], path)
