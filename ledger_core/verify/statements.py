"""Checking signed statements on their own: range proofs, manifests and checkpoints.

Guarantees: a proof passes only when its bytes are the one spelling of a proof without contradiction, `hash` is the
one recomputed from the payload and the previous hash, the kid is registered, the algorithm is the registered one, and
the signature is that key's over these 32 bytes, and lies in the interval of sequences for which the key counts: a
stolen key cannot write its way around that with an early `ts`. A MAC counts when its key service says so; where that
cannot be asked, `proof.mac` is a finding, unless a key that strangers can check cosigned the same hash. Nothing is
taken from what the statement says of itself: not its hash, not its algorithm. It does not read the entries: see
`verify_range`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from ledger_core import canonical, chain
from ledger_core.findings import Collector
from ledger_core.hashes import is_hash, parse_hash
from ledger_core.proving import checkpoint
from ledger_core.proving.proof_signatures import cosigned_claim, vouches
from ledger_core.proving.range_proof import RangeProof, parse_proof
from ledger_core.signing.counting import Claim, Place, faults
from ledger_core.signing.mac_keys import MAC_ALGORITHM
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry, check_kid
from ledger_core.signing.signatures import PublicKey
from ledger_core.signing.statements import Cosignature, Signed, claim_of

Alone = Callable[[str], tuple[Place, ...]]  # hash of a proof, lower-case hex -> where the record holds it

OPTIONAL_FIELDS = frozenset({"cosignatures"})
PROOF_FIELDS = frozenset(RangeProof.__struct_fields__) - OPTIONAL_FIELDS

_FIELDS: Final = {
    "signer": "signer_kid",
    "alg": "alg",
    "signature": "signature",
    "mac": "signature",
    "purpose": "signer_kid",
    "retired": "ts",
    "validity": "signer_kid",
}


def check_proof(
    data: bytes,
    registry: SignerRegistry,
    found: Collector,
    *,
    seq: int | None = None,
    alone: Alone | None = None,
    cosignatures: bool = True,
) -> RangeProof | None:
    """Check one proof; findings go to `found`. The parsed proof comes back when its form allows further comparing.

    `alone`: the proof is read without its chain; the function gives the places at which the record holds its hash."""
    found.count("proofs")
    try:
        proof = parse_proof(data)
    except ValueError as error:
        found.add("proof.form", f"not a range proof: {error}", seq=seq, field=_field_at_fault(data))
        _diagnose(data, registry, found, seq)
        return None
    places = () if alone is None else alone(proof.hash)
    vouched = cosignatures and vouches(proof, registry, beside=places, is_alone=alone is not None)
    check_signature(
        proof, registry, found, "proof", seq=seq, beside=places, is_alone=alone is not None, is_vouched=vouched
    )
    for cosignature in (proof.cosignatures or ()) if cosignatures else ():
        _check_cosignature(proof, cosignature, registry, found, seq)
    return proof


def check_proof_by_key(data: bytes, public_key: PublicKey, found: Collector) -> None:
    """Check one proof by the key that is given, whatever the proof calls it, and whatever became of it. Of a proof
    whose own signature is a MAC, the key must be that of a cosigner."""
    try:
        kid = check_kid(str(canonical.decode(data).get("signer_kid")))
    except ValueError:  # not a proof, or no key may have that name: the form is the finding
        kid = "key"
    registry = SignerRegistry([RegisteredSigner(kid, public_key.algorithm, public_key)])
    if _check_by_cosigner(data, public_key, found):
        return
    proof = check_proof(data, registry, found, cosignatures=False)
    if proof is not None and proof.cosignatures:
        found.count("cosignatures_unchecked", len(proof.cosignatures))


def _check_by_cosigner(data: bytes, public_key: PublicKey, found: Collector) -> bool:
    """Check a proof whose own signature is a MAC by the key of a cosigner. False: it is another proof."""
    try:
        proof = parse_proof(data)
    except ValueError:
        return False
    if proof.alg != MAC_ALGORITHM:
        return False
    found.count("proofs")
    found.count("macs_unchecked")
    beside = proof.cosignatures or ()
    for cosignature in beside:
        named = SignerRegistry([RegisteredSigner(cosignature.signer_kid, public_key.algorithm, public_key)])
        if not faults(cosigned_claim(proof, cosignature), named):
            found.count("signatures")
            if len(beside) > 1:
                found.count("cosignatures_unchecked", len(beside) - 1)
            return True
    message = "its own signature is a MAC, which no public key checks, and the given key cosigned nothing"
    found.add("proof.mac", message, field="signature")
    return True


def check_signature(
    statement: Signed,
    registry: SignerRegistry,
    found: Collector,
    kind: str,
    *,
    seq: int | None = None,
    beside: tuple[Place, ...] = (),
    is_alone: bool = False,
    is_vouched: bool = False,
) -> None:
    """Check the signer, algorithm and signature of a parsed statement; codes are `<kind>.signer` and the like.
    `beside`: places that others say it has. `is_alone`: see `Claim`. `is_vouched`: a key that strangers can check
    signed the same bytes, so a MAC that nobody here can check is counted, without a finding."""
    claim = claim_of(statement)
    told = faults(dataclasses.replace(claim, places=(*claim.places, *beside), is_alone=is_alone), registry)
    if not any(fault.code in ("signer", "signature", "mac") for fault in told):
        found.count("macs_checked" if statement.alg == MAC_ALGORITHM else "signatures")
    for fault in told:
        if fault.code == "mac":
            found.count("macs_unchecked")
            if is_vouched:
                continue
        where = seq if fault.seq is None else fault.seq
        found.add(f"{kind}.{fault.code}", fault.message, shard=fault.shard, seq=where, field=_FIELDS[fault.code])
        if fault.code == "signature":
            return  # then what else it says of itself is not worth a finding


def check_note(
    note: bytes, registry: SignerRegistry, found: Collector, *, seq: int | None = None, is_alone: bool = False
) -> checkpoint.Checkpoint | None:
    """Check one signed checkpoint; None when it is not a checkpoint, or no known key signed it. `is_alone`: it is read
    without what was signed later."""
    found.count("checkpoints")
    try:
        kept = checkpoint.parse(note)
    except ValueError as error:
        found.add("checkpoint.signature", str(error), seq=seq, field="note")
        return None
    told = checkpoint.faults_of(kept, registry, is_alone=is_alone)
    for fault in told:
        if fault.code == "signature":
            found.add("checkpoint.signature", fault.message, seq=seq, field="note")
            return None
    found.count("signatures")
    for fault in told:
        found.add("checkpoint.validity", fault.message, shard=fault.shard, seq=fault.seq, field="signer_kid")
    return kept


def _check_cosignature(
    proof: RangeProof, cosignature: Cosignature, registry: SignerRegistry, found: Collector, seq: int | None
) -> None:
    """A cosignature that is there must be right: it covers the same 32 bytes, and its key is registered like any
    other.
    """
    told = faults(cosigned_claim(proof, cosignature), registry)
    unchecked = [fault for fault in told if fault.code == "mac"]
    told = tuple(fault for fault in told if fault.code != "mac")
    for fault in told:
        if fault.code in ("signer", "alg", "signature"):
            found.add("proof.cosignature", f"the cosignature: {fault.message}", seq=seq, field="cosignatures")
            return
    is_mac = cosignature.alg == MAC_ALGORITHM
    found.count("macs_unchecked" if unchecked else "macs_checked" if is_mac else "signatures")
    for fault in told:
        where, name = (seq, "cosignatures") if fault.code == "retired" else (fault.seq, "signer_kid")
        message = f"the cosignature: {fault.message}"
        found.add(f"proof.{fault.code}", message, shard=fault.shard, seq=where, field=name)


def _field_at_fault(data: bytes) -> str | None:
    """The first field that is missing, too much, or without its form, when that can be said."""
    try:
        fields = canonical.decode(data)
    except ValueError:
        return None
    different = sorted(set(fields) - OPTIONAL_FIELDS ^ PROOF_FIELDS)
    if different:
        return different[0]
    return next((name for name in ("hash", "prev_proof_hash") if not _is_hash_or_genesis(fields, name)), None)


def _is_hash_or_genesis(fields: dict[str, object], name: str) -> bool:
    value = fields[name]
    return is_hash(value) or (value is None and name == "prev_proof_hash")


def _diagnose(data: bytes, registry: SignerRegistry, found: Collector, seq: int | None) -> None:
    """For a proof that does not parse: say apart whether its hash and its signature are right, as far as can be
    read.
    """
    try:
        fields = canonical.decode(data)
        hash_text, signature = fields.pop("hash", None), fields.pop("signature", None)
        fields.pop("cosignatures", None)
        prev = fields.get("prev_proof_hash")
        digest = chain.link(canonical.encode(fields), None if prev is None else parse_hash(prev))
    except ValueError:
        return
    if hash_text != digest.hex():
        message = f"hash is not {digest.hex()}, recomputed from payload and prev_proof_hash"
        found.add("proof.hash", message, seq=seq, field="hash")
    claim = Claim(kid=str(fields.get("signer_kid")), purpose="proof", signature=str(signature), signed=digest)
    for fault in faults(claim, registry):
        if fault.code == "signature":
            found.add("proof.signature", fault.message, seq=seq, field="signature")
