"""Proofs about keys: the first one by an incoming key, and a second signature for what an emergency key signed.

A second signature is a new proof on record, of the same entries, by the regular key: what was published stays as it
is, byte for byte (the ledger, its archive and its copies are append-only), and whoever wants no emergency signature
verifies the new one, which states the same heads and roots.
Guarantees: a proof is verified with the published registry, and Kernel's copy where that is given, before success is
reported; what was re-issued already is not signed again, so an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import orjson

from consumers.proving.on_demand import DemandTerms, OnDemandStore, prove_on_demand
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.signing.desk import Desk
from finance.signing.key_choice import with_key
from finance.wiring import stores
from finance.wiring.registry_file import read_registry
from finance.wiring.signers import open_signer
from ledger_core.errors import Refused
from ledger_core.postgres.signing.signer_uses import open_signer_uses
from ledger_core.proof_ids import of_demand
from ledger_core.proving.on_demand import Selection
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.rotation import rotations
from ledger_core.verify.oracle import verify_proof


def prove_with(desk: Desk, kernel: Path | None) -> bytes | None:
    """A proof by the incoming key over the newest proved range of every shard; None while nothing is proved, and for
    a key that counts for other statements only: then one signature of the key was verified. Raises Refused,
    Unavailable, Corrupt."""
    found = next((it for it in rotations(desk.look().events) if it.open and not it.back), None)
    if found is None:
        raise Refused("no rotation is under way", remedy="begin one with `finance rotate begin`")
    if found.announced.seq is None:
        raise Refused(f"{found.incoming} is not announced yet", remedy="wait for the notary, and try again")
    settings = with_key(desk.settings, desk.own(found.variables("incoming")))
    registry = desk.registry
    signer = open_signer(settings, desk.topology, registry)
    try:
        signer.pin()
        if signer.registered.lacks(["demand"]):
            return None
        with stores.open_on_demand_store(settings) as store:
            newest = [(shard, store.newest_proved(shard)) for shard in store.shards()]
            chosen = [Selection(s, it.first_seq, it.last_seq) for s, it in newest if it and it.last_seq >= it.first_seq]
            if not chosen:
                return None
            proof = _prove(desk, store, signer, registry, chosen)
    finally:
        signer.close()
    _check(proof, registry, "signers.json")
    if kernel is not None:
        _check(proof, read_registry(kernel), str(kernel))
    return proof


def reissue(desk: Desk, kid: str) -> Iterator[bytes]:
    """Proofs by the current key over every stretch of ranges whose proof `kid` signed, one by one. Raises Refused."""
    with open_signer_uses(desk.dsn) as held:
        proved = held.operator_proofs([kid])
        stretches = [stretch for stretch in _stretches(held.signed_ranges(kid)) if stretch not in proved]
    registry = desk.registry
    signer = open_signer(desk.settings, desk.topology, registry, signs=["demand"])
    try:
        if signer.registered.is_mac:
            raise Refused(
                f"{signer.kid} is a MAC key, and what is issued again is for strangers",
                remedy="run this with a key of rsa-sha256 or ed25519 as [signing]",
            )
        if signer.kid == kid:
            raise Refused(f"these settings sign with {kid} itself", remedy="restore the regular key's variables first")
        signer.pin()
        with stores.open_on_demand_store(desk.settings) as store:
            for shard, first_seq, last_seq in stretches:
                proof = _prove(desk, store, signer, registry, [Selection(shard, first_seq, last_seq)])
                _check(proof, registry, "signers.json")
                yield proof
    finally:
        signer.close()


def _stretches(ranges: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Ranges that follow each other, as one: (shard, first_seq, last_seq)."""
    joined: list[tuple[int, int, int]] = []
    for shard, of_shard in groupby(ranges, key=lambda it: it[0]):
        for _, first_seq, last_seq in of_shard:
            if joined and joined[-1][0] == shard and joined[-1][2] + 1 == first_seq:
                joined[-1] = (shard, joined[-1][1], last_seq)
            else:
                joined.append((shard, first_seq, last_seq))
    return joined


def _prove(
    desk: Desk,
    store: OnDemandStore,
    signer: PinnedSigner,
    registry: SignerRegistry,
    selections: Sequence[Selection],
) -> bytes:
    settings: Settings = desk.settings
    terms = DemandTerms(
        env=settings.env,
        proof_id=of_demand(settings.env, clock.new_id()),
        trace_id=clock.new_trace_id(),
        ts=clock.utc_now(),
        actor_id=desk.actor_id,
    )
    return prove_on_demand(store, signer, registry, selections, terms)


def _check(proof: bytes, registry: SignerRegistry, where: str) -> None:
    report = verify_proof(proof, registry)
    if not report.sound:
        proof_id = orjson.loads(proof)["proof_id"]
        raise Refused(
            f"proof {proof_id} does not verify with {where}: {report.findings[0]}",
            remedy="publish the key there first; if it is there, `finance rotate rollback` and find out why",
        )
