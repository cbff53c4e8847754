"""Checking what strangers keep: a receipt, whose leaf is in the record that was signed; and a checkpoint, from which
the record only went on. Pure.

Guarantees: root, size and record come from the verified checkpoint alone, the keys from the registry alone; the leaf
says the very place that the path proves. A receipt that only a revoked key signed is a finding: nothing later holds it.
Two checkpoints must be signed, of one log, and begin at one offset; nothing may have shrunk, and both trees of the
newer continue those of the older one (RFC 9162, section 2.1.4.2). So who rewrites, drops, reorders or puts back what
the older one commits to is found, also when he has database and key: he cannot change the note that was kept.
Does not: say anything of what a kept checkpoint does not commit to, or read a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger_core.books.entries import decode_entry
from ledger_core.decimals import is_decimal
from ledger_core.findings import Collector, Report
from ledger_core.posting.verdicts import check_verdict, decode_verdict
from ledger_core.proving.checkpoint import Checkpoint
from ledger_core.proving.receipt import Receipt, ReceiptFault, parse_receipt
from ledger_core.proving.tiles import TreeName
from ledger_core.signing.registry import SignerRegistry
from ledger_core.tree import leaf_hash, verify_consistency, verify_inclusion
from ledger_core.verify.statements import check_note


@dataclass(frozen=True, slots=True)
class ReceiptCheck:
    """What came out. `says` are facts for people, and complete only in a sound report."""

    report: Report
    says: dict[str, str]  # origin, size, tree, index, and what stands in the leaf


def check_receipt(
    data: bytes, registry: SignerRegistry, *, place: str | None = None, entry: bytes | None = None
) -> ReceiptCheck:
    """One receipt. `entry` are the bytes of a leaf that was too long to stand in it (one LF at the end allowed);
    without them the report counts `leaves_unchecked`."""
    found, says = Collector(place=place), dict[str, str]()
    found.count("receipts")
    try:
        receipt = parse_receipt(data)
    except ReceiptFault as fault:
        found.add("receipt.form", f"not a receipt: {fault}", field=fault.field)
        return ReceiptCheck(found.report(), says)
    checkpoint = check_note(receipt.checkpoint, registry, found, is_alone=True)
    if checkpoint is not None:  # else there is no root to lead to
        _check(receipt, checkpoint, entry, found, says)
    return ReceiptCheck(found.report(), says)


def _check(
    receipt: Receipt, checkpoint: Checkpoint, entry: bytes | None, found: Collector, says: dict[str, str]
) -> None:
    found.shard = shard = _shard_of(checkpoint)
    says |= {
        "origin": checkpoint.origin,
        "size": str(checkpoint.size),
        "tree": receipt.tree,
        "index": str(receipt.index),
    }
    _check_signers(receipt, checkpoint, found)
    record = checkpoint.record
    if receipt.tree == "entries":
        size, root = checkpoint.size, checkpoint.root
    else:
        size, root = record.verdict_count, record.verdict_root
    try:
        verify_inclusion(receipt.leaf_hash, receipt.index, size, receipt.path, root)
    except ValueError as error:
        found.add("receipt.path", f"the leaf is not in the tree that was signed: {error}", field="path")
    leaf = receipt.leaf
    if entry is not None:
        brought = leaf_hash(entry)
        if brought != receipt.leaf_hash and leaf_hash(entry.removesuffix(b"\n")) == receipt.leaf_hash:
            entry = entry.removesuffix(b"\n")
        elif brought != receipt.leaf_hash:
            found.add("receipt.leaf", "the bytes that were brought are not those of the receipt's leaf", field="leaf")
            return
        leaf = entry
    if leaf is None:
        found.count("leaves_unchecked")
        says["leaf_hash"] = receipt.leaf_hash.hex()
        return
    try:
        said, offset = _entry(leaf) if receipt.tree == "entries" else _verdict(leaf)
    except ValueError as error:
        found.add("receipt.leaf", f"the leaf is not what the tree holds: {error}", field="leaf")
        return
    says |= said
    found.count(receipt.tree)
    others = checkpoint.size if receipt.tree == "verdicts" else record.verdict_count
    if not record.first_offset <= offset < record.next_offset:
        found.add("receipt.leaf", f"offset {offset} is not in the record that was signed", field="offset")
    elif not 0 <= offset - record.first_offset - receipt.index <= others:  # leaves of the other tree before it
        found.add("receipt.leaf", f"offset {offset} cannot be leaf {receipt.index} of {receipt.tree}", field="offset")
    if receipt.tree == "entries":
        if said["seq"] != str(receipt.index + 1):
            message = f"the leaf says seq {said['seq']}, its place is {receipt.index + 1}"
            found.add("receipt.leaf", message, field="seq")
        if shard is None or said["shard"] != str(shard):
            found.add("receipt.leaf", f"the leaf says shard {said['shard']}, the checkpoint {shard}", field="shard")


def _check_signers(receipt: Receipt, checkpoint: Checkpoint, found: Collector) -> None:
    """They match the note's lines one to one, or a reader of them would see another signer than a verifier does."""
    lines = sorted((line.key_name, line.key_id) for line in checkpoint.signatures)
    try:
        named = [signer.line_of() for signer in receipt.signers]
    except ValueError as error:
        found.add("receipt.signers", f"a signer is not a key: {error}", field="signers")
        return
    if named != lines or len(set(lines)) < len(lines):
        found.add("receipt.signers", "the signers are not those on the checkpoint, in order of kid", field="signers")


def _entry(leaf: bytes) -> tuple[dict[str, str], int]:
    entry = decode_entry(leaf)
    if not is_decimal(entry.source.offset):
        raise ValueError("its offset is not a decimal integer")
    names = ("seq", "event_id", "event_type", "settlement_id", "order_id", "recorded_at")
    said = {name: str(getattr(entry, name)) for name in names}
    return {"shard": str(entry.shard), "offset": entry.source.offset, **said}, int(entry.source.offset)


def _verdict(leaf: bytes) -> tuple[dict[str, str], int]:
    line = decode_verdict(leaf)
    check_verdict(line)
    names = ("offset", "verdict", "reason", "event_id", "key_sha256", "value_sha256")
    said = {name: str(value) for name in names if (value := getattr(line, name)) is not None}
    return said, int(line.offset)


def _shard_of(checkpoint: Checkpoint) -> int | None:
    text = checkpoint.origin.rpartition("/")[2]
    return int(text) if is_decimal(text) else None


class TreeProofs(Protocol):
    """Proofs from where the newer checkpoint was found. May raise ValueError where tiles are missing."""

    def consistency(self, tree: TreeName, old_size: int, size: int) -> Sequence[bytes]: ...


@dataclass(frozen=True, slots=True)
class ConsistencyCheck:
    """What came out. `old` and `new` are None where the note is not a checkpoint that counts."""

    report: Report
    old: Checkpoint | None
    new: Checkpoint | None


def check_consistency(
    old_note: bytes,
    new_note: bytes | None,
    proofs: TreeProofs | None,
    registry: SignerRegistry,
    *,
    place: str | None = None,
) -> ConsistencyCheck:
    """Compare the newest checkpoint (None: there is none any more, and no proofs) with one that was kept. What
    `proofs` raises but ValueError passes through."""
    found = Collector(place=place)
    old = check_note(old_note, registry, found, is_alone=True)
    if old is None or len(found):
        return ConsistencyCheck(found.report(), None, None)
    if new_note is None or proofs is None:
        found.add("consistency.shrunk", f"no checkpoint of {old.origin} is there any more", field="note")
        return ConsistencyCheck(found.report(), old, None)
    new = check_note(new_note, registry, found)
    if new is None or len(found):
        return ConsistencyCheck(found.report(), old, None)
    if new.origin != old.origin or new.record.first_offset != old.record.first_offset:
        message = (
            f"{new.origin} from offset {new.record.first_offset} is not {old.origin} from {old.record.first_offset}"
        )
        found.add("consistency.origin", message, field="origin")
        return ConsistencyCheck(found.report(), old, new)
    was, now = old.record, new.record
    if now.next_offset < was.next_offset:
        message = f"the record ends at offset {now.next_offset}, and ended at {was.next_offset}"
        found.add("consistency.shrunk", message, field="record")
    else:
        _check_tree("entries", (old.size, old.root), (new.size, new.root), proofs, found)
        _check_tree(
            "verdicts", (was.verdict_count, was.verdict_root), (now.verdict_count, now.verdict_root), proofs, found
        )
    return ConsistencyCheck(found.report(), old, new)


def _check_tree(
    tree: TreeName, old: tuple[int, bytes], new: tuple[int, bytes], proofs: TreeProofs, found: Collector
) -> None:
    (old_size, old_root), (size, root) = old, new
    if size < old_size:
        found.add("consistency.shrunk", f"the {tree} were {old_size}, and are {size}", field=tree)
        return
    try:
        verify_consistency(old_size, size, old_root, root, proofs.consistency(tree, old_size, size))
    except ValueError as error:
        message = f"the {tree} below {old_size} are not those of the checkpoint that was kept: {error}"
        found.add("consistency.forked", message, field=tree)
        return
    found.count(f"{tree}_kept", old_size)
    found.count(f"{tree}_appended", size - old_size)
