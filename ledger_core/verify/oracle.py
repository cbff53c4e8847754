"""The oracle: what the CLI, the rebuild, the fault tests, the nightly check and the auditor all ask.

Guarantees: each function recomputes everything from the bytes it is given and reports every contradiction with shard,
sequence and field where they apply; a report without findings means sound, and its counts say what was checked.
Nothing raises for bad data; what a reader raises (Unavailable) passes through. It repairs nothing and reads no file
or clock of its own.
"""

from __future__ import annotations

from ledger_core.findings import Collector, Finding, Report
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import PublicKey
from ledger_core.verify.announced import AnnouncedCheck, ArchivedProofs, check_announced
from ledger_core.verify.archive import ArchiveHead, ArchiveReader, check_archive
from ledger_core.verify.audit import AuditHead, AuditLines, check_audit, check_audit_lines
from ledger_core.verify.batch import check_batch
from ledger_core.verify.bundles.whole import check_bundle
from ledger_core.verify.ledger import LedgerHead, check_ledger, head_of_checkpoint
from ledger_core.verify.ledger_rows import LedgerReader
from ledger_core.verify.range_tally import Position
from ledger_core.verify.receipts import ConsistencyCheck, ReceiptCheck, check_consistency, check_receipt
from ledger_core.verify.recorded import PROOF_FIELDS, recorded
from ledger_core.verify.statements import Alone, check_proof, check_proof_by_key

__all__ = [
    "AnnouncedCheck",
    "ArchiveHead",
    "ArchiveReader",
    "ArchivedProofs",
    "AuditHead",
    "ConsistencyCheck",
    "Finding",
    "LedgerHead",
    "LedgerReader",
    "Position",
    "ReceiptCheck",
    "Report",
    "head_of_checkpoint",
    "verify_announced",
    "verify_archive",
    "verify_audit",
    "verify_audit_lines",
    "verify_batch",
    "verify_bundle",
    "verify_consistency_of",
    "verify_ledger",
    "verify_proof",
    "verify_proof_by_key",
    "verify_receipt",
]

verify_archive = check_archive
"""Everything of one environment in an archive: `(reader, env, registry, *, shards=None, expected=()) -> Report`.
`proofs` takes what `verify_announced` compares."""

verify_announced = check_announced
"""The proofs of an archive beside the audit chain: `(archived, lines, registry, env, *, topic) -> AnnouncedCheck`."""

verify_ledger = check_ledger
"""The ledger in its database: `(reader, registry, *, expected=()) -> Report`. `expected` are heads somebody kept
outside of it (`head_of_checkpoint`): against a ledger replaced as a whole, nothing else helps."""

verify_consistency_of = check_consistency
"""Whether a shard's record only went on from a kept checkpoint: `(old_note, new_note, proofs, registry, *, place=None)
-> ConsistencyCheck`."""

verify_receipt = check_receipt
"""One receipt on its own: `(data, registry, *, place=None, entry=None) -> ReceiptCheck`."""

verify_audit = check_audit
"""The audit chain in order of seq: `(events, registry, *, expected=()) -> Report`."""

verify_audit_lines = check_audit_lines
"""The audit chain as JSON lines: `(lines, registry, *, expected=()) -> Report`."""

verify_bundle = check_bundle
"""An auditor's bundle: `(read_at, size_bytes, registry, *, audit_lines=None) -> Report`; `read_at(at, count)` gives
bytes of its file."""


def verify_proof(
    data: bytes, registry: SignerRegistry, *, place: str | None = None, audit_lines: AuditLines | None = None
) -> Report:
    """One range proof on its own: form, recomputed hash, signer, algorithm, signature. One LF at the end is allowed.

    `audit_lines`: the audit chain as JSON lines, from its first event, which must hold the proof's hash; without it no
    proof counts here whose key was revoked."""
    found = Collector(place=place)
    check_proof(data.removesuffix(b"\n"), registry, found, alone=_alone(audit_lines, registry, found))
    return found.report()


def verify_proof_by_key(data: bytes, public_key: PublicKey, *, place: str | None = None) -> Report:
    """One range proof and one public key, no registry: form, recomputed hash, and that this key signed it. Whether the
    key is registered, retired or revoked is not asked, and cosignatures are counted as unchecked."""
    found = Collector(place=place)
    check_proof_by_key(data.removesuffix(b"\n"), public_key, found)
    return found.report()


def verify_batch(
    data: bytes,
    registry: SignerRegistry,
    *,
    position: Position | None = None,
    place: str | None = None,
    audit_lines: AuditLines | None = None,
) -> Report:
    """One audit batch, gzip or plain. Without the `position` before it, the root of a later batch stays unchecked: the
    report counts `roots_unchecked`. `audit_lines`: as in `verify_proof`, of the batch's proof."""
    found = Collector(place=place)
    check_batch(data, registry, found, position, alone=_alone(audit_lines, registry, found))
    return found.report()


def _alone(audit_lines: AuditLines | None, registry: SignerRegistry, found: Collector) -> Alone:
    """What the audit chain says of a proof that is read without the others of its shard."""
    if audit_lines is None:
        return lambda _hash: ()
    return lambda proof_hash: recorded(proof_hash, PROOF_FIELDS, audit_lines, registry, found, "proof")
