"""`finance prove`: a signed range proof that an operator asked for, over any proved stretch of any shards.

Guarantees: signed, verified with the registered key, and stored together with its audit intent before it is handed out
(G6); what it states is covered by signatures that were checked (`ledger_core.proving.on_demand`).
Does not: continue the chain of a shard's proofs (prev_proof_hash is null), or close ranges.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from ledger_core.errors import Refused
from ledger_core.ports import AuditIntent
from ledger_core.proving.intents import proof_intent
from ledger_core.proving.on_demand import OnDemandReader, Selection, Statement, state
from ledger_core.proving.range_proof import (
    PROOF_VERSION,
    SERVICE,
    ProofPayload,
    TimeRange,
    Totals,
    assemble_proof,
    row_ids,
)
from ledger_core.proving.statement_time import statement_time
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import SignerRegistry
from ledger_core.times import format_time


class OnDemandStore(OnDemandReader, Protocol):
    """See `ledger_core.postgres.proving.on_demand_store`. Every method may raise Unavailable("postgres")."""

    def now(self) -> dt.datetime: ...

    def accepted_until(self, shard: int) -> dt.datetime | None: ...

    def publish(self, proof_id: str, proof: bytes, intent: AuditIntent) -> None: ...


@dataclass(frozen=True, slots=True)
class DemandTerms:
    """Who asks, and what the caller makes up. `proof_id` must be new; `trace_id` has 32 hex digits."""

    env: str  # environment, such as prod
    proof_id: str
    trace_id: str
    ts: dt.datetime  # of the statement, UTC
    actor_id: str  # the operator, in the audit event
    mac_waiver: str | None = None  # by whose decision a proof carries a MAC alone, and why; None: nobody's


def prove_on_demand(
    store: OnDemandStore,
    signer: PinnedSigner,
    registry: SignerRegistry,
    selections: Sequence[Selection],
    terms: DemandTerms,
    cosigners: Sequence[PinnedSigner] = (),
) -> bytes:
    """The signed proof (canonical JSON) over the selections, one a shard; `cosigners` sign the same digest as well.

    Raises Refused, Corrupt, Unavailable.
    """
    if not selections:
        raise Refused("there is no entry in that range", remedy="ask for another time or other sequences")
    if signer.kid in {cosigner.kid for cosigner in cosigners}:
        raise Refused(
            f"{signer.kid} cannot cosign what it signs", remedy="name another [cosigner] in SIGNING_KEYS_FILE"
        )
    ordered = sorted(selections, key=lambda selection: selection.shard)
    if len({selection.shard for selection in ordered}) != len(ordered):
        raise Refused("a shard was asked for twice", remedy="ask for one stretch of each shard")
    statements = [state(store, registry, selection) for selection in ordered]
    payload = _payload(statements, signer, terms)
    for statement in statements:
        accepted = partial(store.accepted_until, statement.selection.shard)
        statement_time(terms.ts, store.now(), statement.to_ts, accepted)
    signature = signer.sign_digest(payload.digest())
    cosignatures = tuple(cosigner.cosign(payload.digest()) for cosigner in cosigners)
    proof = assemble_proof(payload.to_bytes(), signature, cosignatures)
    is_alone = signer.registered.is_mac and not cosignatures
    store.publish(
        payload.proof_id, proof, proof_intent(payload, terms.actor_id, terms.mac_waiver if is_alone else None)
    )
    return proof


def _payload(statements: Sequence[Statement], signer: PinnedSigner, terms: DemandTerms) -> ProofPayload:
    shards = tuple(statement.shard_range() for statement in statements)
    totals: dict[str, int] = {}
    for statement in statements:
        for currency, amount_minor in statement.totals.items():
            totals[currency] = totals.get(currency, 0) + amount_minor
    return ProofPayload(
        proof_id=terms.proof_id,
        version=PROOF_VERSION,
        service=SERVICE,
        env=terms.env,
        range=TimeRange(
            from_ts=min(it.from_ts for it in statements if it.from_ts is not None),
            to_ts=max(it.to_ts for it in statements if it.to_ts is not None),
        ),
        ledger_row_ids=row_ids(shards),
        num_rows=str(sum(int(part.source.posted) for part in shards)),
        shards=shards,
        totals={currency: Totals(debits=str(amount), credits=str(amount)) for currency, amount in totals.items()},
        prev_proof_hash=None,
        trace_id=terms.trace_id,
        signer_kid=signer.kid,
        alg=signer.algorithm,
        ts=format_time(terms.ts),
    )
