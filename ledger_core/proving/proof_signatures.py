"""Whether a range proof counts by its signatures: its own, and those beside it. Pure.

A MAC that nobody here can check (`ledger_core.signing.mac_keys`) does not count by itself. A cosignature that strangers
can check vouches for the proof: it covers the same 32 bytes of hash.
Guarantees: nothing but an unchecked MAC is made good by a cosignature; one vouches only when strangers can check it and
it counts in every respect: signer, algorithm, signature, kind, time, place.
Does not: report what is wrong with cosignatures (`ledger_core.verify.statements` does).
"""

from __future__ import annotations

import dataclasses

from ledger_core.proving.range_proof import RangeProof
from ledger_core.signing.counting import Claim, Place, SignatureFault, faults
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import Cosignature, claim_of


def cosigned_claim(proof: RangeProof, cosignature: Cosignature) -> Claim:
    """What a cosignature says of itself."""
    return dataclasses.replace(
        claim_of(proof), kid=cosignature.signer_kid, alg=cosignature.alg, signature=cosignature.signature
    )


def vouches(
    proof: RangeProof, registry: SignerRegistry, *, beside: tuple[Place, ...] = (), is_alone: bool = False
) -> bool:
    """Whether some cosignature of a key that strangers can check counts. `beside`, `is_alone`: as in
    `ledger_core.signing.counting.Claim`."""
    for cosignature in proof.cosignatures or ():
        signer, claim = registry.find(cosignature.signer_kid), cosigned_claim(proof, cosignature)
        whole = dataclasses.replace(claim, places=(*claim.places, *beside), is_alone=is_alone)
        if signer is not None and not signer.is_mac and not faults(whole, registry):
            return True
    return False


def first_proof_fault(proof: RangeProof, registry: SignerRegistry, *, signed: bytes) -> SignatureFault | None:
    """The first reason why a proof over the digest `signed` does not count, read with its chain; None when it counts,
    by its own signature or by one that vouches for an unchecked MAC."""
    told = faults(dataclasses.replace(claim_of(proof), signed=signed), registry)
    if [fault.code for fault in told] == ["mac"] and signed == proof.digest() and vouches(proof, registry):
        return None
    return next(iter(told), None)
