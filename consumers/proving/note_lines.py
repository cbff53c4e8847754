"""The signature lines of a checkpoint's note: by the current key and those that cosign beside it.

Guarantees: a note has one line at least, each verified by the signer that made it.
Does not: know what the text says, or store the note.
"""

from __future__ import annotations

from consumers.signing.signer_set import SignerSet
from ledger_core.errors import SignerFailure, SignerRefused
from ledger_core.ports import TreeHistory


def note_lines(signers: SignerSet, text: bytes, history: TreeHistory) -> bytes:
    """The signature lines of the current key and its cosigners. Raises SignerAway, SignerRefused."""
    with signers.attempt() as signer:
        lines = [signer.note_line(text, history)] if signer.says("checkpoint") else []
    with signers.attempt_cosign(signers.kid) as cosigners:
        lines += [it.note_line(text, history) for it in cosigners if it.says("checkpoint")]
    if not lines:
        raise unsigned_checkpoint(signers.kid)
    return b"".join(lines)


def unsigned_checkpoint(kid: str) -> SignerRefused:
    """None of the keys signs checkpoints."""
    return SignerRefused(
        SignerFailure.NOT_CONFIGURED,
        f"signer {kid} signs no checkpoint, and no other key of this process does",
        remedy="name a key of rsa-sha256 or ed25519 in the table [cosigner] of SIGNING_KEYS_FILE",
    )
