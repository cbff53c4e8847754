"""Checking signed statements on their own: range proofs, manifests and checkpoints.

Guarantees: a proof passes only when its bytes are the one spelling of a proof without contradiction, `hash` is the
one recomputed from the payload and the previous hash, the kid is registered, the algorithm is the registered one, and
the signature is that key's over these 32 bytes, and lies in the interval of sequences for which the key counts: a
stolen key cannot write its way around that with an early `ts`. Nothing is taken from what the statement says of itself:
not its hash, not its algorithm. It does not look at the entries: see `verify_range`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ledger_core import canonical, chain
from ledger_core.findings import Collector
from ledger_core.ports import Algorithm
from ledger_core.proving import checkpoint
from ledger_core.proving.range_proof import RangeProof, parse_proof, proof_id
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import BadSignature, decode_signature, verify_digest
from ledger_core.signing.statements import Cosignature
from ledger_core.times import parse_time

OPTIONAL_FIELDS = frozenset({"cosignatures"})
PROOF_FIELDS = frozenset(RangeProof.__struct_fields__) - OPTIONAL_FIELDS

Place = tuple[int, int, str | None]
"""Shard, last sequence, and the head there where the statement tells it."""


class SignedStatement(Protocol):
    """What a range proof and a manifest have in common. `ts` is RFC 3339; `hash` hex; `signature` base64."""

    @property
    def signer_kid(self) -> str: ...
    @property
    def alg(self) -> Algorithm: ...
    @property
    def ts(self) -> str: ...
    @property
    def signature(self) -> str: ...
    def digest(self) -> bytes: ...


def check_proof(
    data: bytes, registry: SignerRegistry, found: Collector, *, seq: int | None = None
) -> RangeProof | None:
    """Check one proof; findings go to `found`. The parsed proof comes back when its form allows further comparing."""
    found.count("proofs")
    try:
        proof = parse_proof(data)
    except ValueError as error:
        found.add("proof.form", f"not a range proof: {error}", seq=seq, field=_field_at_fault(data))
        _diagnose(data, registry, found, seq)
        return None
    check_signature(proof, registry, found, "proof", _places(proof), seq=seq, chained=_of_a_chain(proof))
    for cosignature in proof.cosignatures or ():
        _check_cosignature(proof, cosignature, registry, found, seq)
    return proof


def check_signature(
    statement: SignedStatement,
    registry: SignerRegistry,
    found: Collector,
    kind: str,
    places: Sequence[Place],
    *,
    seq: int | None = None,
    chained: bool = True,
) -> None:
    """Check the signer, algorithm and signature of a parsed statement; codes are `<kind>.signer` and the like.

    `places` are those that it speaks of; one that is not `chained` to others may be signed later,
    by a key that was not there yet.
    """
    signer = registry.find(statement.signer_kid)
    if signer is None:
        message = f"signer {statement.signer_kid!r} is not in the registry"
        found.add(f"{kind}.signer", message, seq=seq, field="signer_kid")
        return
    if signer.algorithm != statement.alg:
        message = f"says {statement.alg}, but {signer.kid} is registered as {signer.algorithm}"
        found.add(f"{kind}.alg", message, seq=seq, field="alg")
    try:
        verify_digest(signer.public_key, statement.digest(), decode_signature(statement.signature))
    except BadSignature as error:
        found.add(f"{kind}.signature", f"{error} (signer {signer.kid})", seq=seq, field="signature")
        return
    found.count("signatures")
    if signer.retired_at is not None and parse_time(statement.ts) > signer.retired_at:
        message = f"signed at {statement.ts} by {signer.kid}, which was retired before"
        found.add(f"{kind}.retired", message, seq=seq, field="ts")
    check_places(signer, places, found, kind, chained=chained)


def check_places(
    signer: RegisteredSigner, places: Sequence[Place], found: Collector, kind: str, *, chained: bool = True
) -> None:
    """A signature counts where the key's validity reaches: `<kind>.validity` names shard, sequence and kid."""
    for shard, seq, head_hash in places:
        fault = signer.shard_fault(shard, seq, head_hash, chained=chained)
        if fault is not None:
            message = f"signer {signer.kid} {fault} and this is of seq {seq}"
            found.add(f"{kind}.validity", message, shard=shard, seq=seq, field="signer_kid")


def check_note(
    note: bytes, registry: SignerRegistry, found: Collector, *, seq: int | None = None
) -> checkpoint.Checkpoint | None:
    """Check one signed checkpoint on its own; None when it is none, or no known key signed it."""
    found.count("checkpoints")
    try:
        kept, _ = checkpoint.parse_and_verify(note, registry)
    except ValueError as error:
        found.add("checkpoint.signature", str(error), seq=seq, field="note")
        return None
    found.count("signatures")
    shard = kept.origin.rpartition("/")[2]
    for line in kept.signatures:
        signer = registry.find(line.key_name)
        if signer is not None and shard.isascii() and shard.isdigit():
            check_places(signer, [(int(shard), kept.size, None)], found, "checkpoint")
    return kept


def _places(proof: RangeProof) -> list[Place]:
    return [(part.shard, int(part.last_seq), part.head_hash) for part in proof.shards]


def _of_a_chain(proof: RangeProof) -> bool:
    """Whether it is the proof of a closed range. An operator's proof may speak of any history, by a key of today."""
    if len(proof.shards) != 1:
        return False
    start = proof_id(proof.env, proof.shards[0].shard, 0).removesuffix("0")
    return proof.proof_id.startswith(start) and proof.proof_id.removeprefix(start).isdigit()


def _check_cosignature(
    proof: RangeProof, cosignature: Cosignature, registry: SignerRegistry, found: Collector, seq: int | None
) -> None:
    """A cosignature that is there must hold: it covers the same 32 bytes, and its key is registered like any other."""
    kid = cosignature.signer_kid
    signer = registry.find(kid)
    if signer is None or signer.algorithm != cosignature.alg:
        why = "is not in the registry" if signer is None else f"is registered as {signer.algorithm}"
        found.add("proof.cosignature", f"cosigner {kid!r}, {cosignature.alg}, {why}", seq=seq, field="cosignatures")
        return
    try:
        verify_digest(signer.public_key, proof.digest(), decode_signature(cosignature.signature))
    except BadSignature as error:
        found.add("proof.cosignature", f"{error} (cosigner {kid})", seq=seq, field="cosignatures")
        return
    found.count("signatures")
    if signer.retired_at is not None and parse_time(proof.ts) > signer.retired_at:
        message = f"cosigned at {proof.ts} by {kid}, which was retired before"
        found.add("proof.retired", message, seq=seq, field="cosignatures")
    check_places(signer, _places(proof), found, "proof", chained=_of_a_chain(proof))


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
    return canonical.is_hash(value) or (value is None and name == "prev_proof_hash")


def _diagnose(data: bytes, registry: SignerRegistry, found: Collector, seq: int | None) -> None:
    """For a proof that does not parse: say apart whether its hash and its signature hold, as far as can be read."""
    try:
        fields = canonical.decode(data)
        hash_text, signature = fields.pop("hash", None), fields.pop("signature", None)
        fields.pop("cosignatures", None)
        prev = fields.get("prev_proof_hash")
        digest = chain.link(canonical.encode(fields), None if prev is None else canonical.parse_hash(prev))
    except ValueError:
        return
    if hash_text != digest.hex():
        message = f"hash is not {digest.hex()}, recomputed from payload and prev_proof_hash"
        found.add("proof.hash", message, seq=seq, field="hash")
    signer = registry.find(str(fields.get("signer_kid")))
    if signer is None:
        return
    try:
        verify_digest(signer.public_key, digest, decode_signature(signature))
    except BadSignature as error:
        found.add("proof.signature", f"{error} (signer {signer.kid})", seq=seq, field="signature")
