"""Checking a receipt: that its leaf is in the record which a counting key signed. Pure, and offline.

Guarantees: root, size and record come from the verified checkpoint alone, the keys from the registry alone; the leaf
says the very place that the path proves. A receipt that only a revoked key signed is a finding: nothing later holds it.
Does not: know whether the ledger went on from that checkpoint: for that, keep it and compare it with a later one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger_core.books.entries import decode_entry
from ledger_core.decimals import is_decimal
from ledger_core.findings import Collector, Report
from ledger_core.posting.verdicts import check_verdict, decode_verdict
from ledger_core.proving.checkpoint import Checkpoint
from ledger_core.proving.receipt import Receipt, ReceiptFault, parse_receipt
from ledger_core.signing.registry import SignerRegistry
from ledger_core.tree import leaf_hash, verify_inclusion
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
