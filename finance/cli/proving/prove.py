"""`finance prove`: a signed range proof on demand, by time or by sequence."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import click
import orjson
from rich.console import Console

from finance.cli.common import EndMoment, Moment, counting, emit, json_option, load_settings, load_topology_of, operator
from finance.settings import clock
from finance.settings.deployment import Settings
from ledger_core.proof_ids import of_demand
from ledger_core.proving.on_demand import OnDemandReader, Selection, select_by_time


@click.command()
@click.option("--from", "since", type=Moment(), help="First moment of recorded_at (a day or a time, UTC).")
@click.option("--to", "until", type=EndMoment(), help="Last day of recorded_at (included), or a time (not included).")
@click.option("--shard", "shards", type=click.IntRange(0), multiple=True, help="Only this shard; may be repeated.")
@click.option("--first-seq", type=click.IntRange(1), help="With one --shard: the first sequence.")
@click.option("--last-seq", type=click.IntRange(1), help="With one --shard: the last sequence, included.")
@click.option("--cosign", is_flag=True, help="Have a second key sign it too: SIGNING_KEYS_FILE, [cosigner].")
@click.option("--reissue", metavar="KID", help="New proofs of what this (emergency) key signed, by the current key.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the proof here, not to stdout.")
@json_option
def command(
    since: dt.datetime | None,
    until: dt.datetime | None,
    shards: tuple[int, ...],
    first_seq: int | None,
    last_seq: int | None,
    cosign: bool,
    reissue: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Sign a range proof over what is proved already: a stretch of time, or of one shard's sequences.

    The proof is verified with the registered key, and stored with its audit intent, before it is handed out. Entries
    that no range covers yet are refused. A day as --to is included: --from 2025-11-01 --to 2025-11-30 is November.

    With --cosign a second key, of another kind of key service or algorithm, signs the same 32 bytes: `cosignatures` of
    the proof, which older verifiers pass over. Reads DATABASE_URL_API, FINANCE_SIGNERS, AUDIT_SIGNING_KMS_KEY_ID or
    another key variable, AUDIT_SIGNING_ALG; or SIGNING_KEYS_FILE, whose table [cosigner] names the key for --cosign.

    \b
    Examples:
      finance prove --from 2025-11-01 --to 2025-11-30 --out proof.json
      finance prove --shard 0 --first-seq 1 --last-seq 1000 --json
      finance prove --from 2025-11-01 --cosign --out proof.json
      finance prove --reissue finance-emergency-1
    """
    if reissue is not None:
        if cosign or out is not None or shards or (since, until, first_seq, last_seq) != (None,) * 4:
            raise click.UsageError("--reissue stands alone: it makes a proof of each stretch that the key signed")
        _reissue(reissue, as_json)
        return
    by_seq = first_seq is not None or last_seq is not None
    if by_seq == (since is not None or until is not None):
        raise click.UsageError("name --from and/or --to, or --shard with --first-seq and --last-seq")
    if by_seq and (first_seq is None or last_seq is None or len(shards) != 1):
        raise click.UsageError("--first-seq and --last-seq belong together, with one --shard")

    def select(reader: OnDemandReader) -> list[Selection]:
        if first_seq is not None and last_seq is not None:
            return [Selection(shards[0], first_seq, last_seq)]
        return select_by_time(reader, since, until, shards)

    settings = load_settings()
    proof = _prove(settings, select, cosign=cosign)
    told = orjson.loads(proof)
    if out is not None:
        out.write_bytes(proof)

    def words(console: Console) -> None:
        if out is None:
            click.echo(proof)  # exactly the bytes that are stored
            return
        kids = " and ".join([told["signer_kid"], *(it["signer_kid"] for it in told.get("cosignatures", ()))])
        console.print(f"proof {told['proof_id']}: {int(told['num_rows']):,} entries, signed by {kids}")
        console.print(f"check it: finance verify proof {out} --signers {settings.signers_path}")

    emit(as_json, {"ok": True, "out": None if out is None else str(out), "proof": told}, words)


def _reissue(kid: str, as_json: bool) -> None:
    """Print each proof when it is on record: an interrupted run goes on with the rest."""
    from finance.cli.signing.key_options import changing_desk
    from finance.signing.proofs import reissue

    with changing_desk() as desk, counting("re-issuing", "proofs", None) as advance:
        told = []
        for proof in reissue(desk, kid):
            told.append(orjson.loads(proof))
            advance(1)

    def words(console: Console) -> None:
        for one in told:
            ids = ", ".join(f"shard {it['shard']} {it['first_seq']}..{it['last_seq']}" for it in one["shards"])
            console.print(f"proof {one['proof_id']}: {ids}, signed by {one['signer_kid']}")
        console.print(f"{len(told)} proofs made; what {kid} signed has a second signature now")

    emit(as_json, {"ok": True, "proofs": told}, words)


def _prove(settings: Settings, select: Callable[[OnDemandReader], list[Selection]], *, cosign: bool) -> bytes:
    from consumers.proving.on_demand import DemandTerms, prove_on_demand
    from finance.settings.mac_waiver import waiver_text
    from finance.settings.signing import signing_of
    from finance.settings.variables import COSIGNER
    from finance.wiring import stores
    from finance.wiring.mac_keys import key_uses, trusted_registry
    from finance.wiring.signers import open_signer

    topology = load_topology_of(settings)
    registry = trusted_registry(settings)
    current, *others = key_uses(settings, registry, ["demand"])
    signer = open_signer(settings, topology, registry, current.signing, signs=current.signs)
    beside = [use for use in others if use.is_cosigner and "demand" in use.signs]
    if cosign and not beside:
        signing_of(settings, COSIGNER)  # says what is missing
    cosigners = [
        open_signer(settings, topology, registry, use.signing, signs=use.signs)
        for use in beside
        if cosign or signer.registered.is_mac  # what strangers verify
    ]
    for key in (signer, *cosigners):
        key.pin()
    terms = DemandTerms(
        env=settings.env,
        proof_id=of_demand(settings.env, clock.new_id()),
        trace_id=clock.new_trace_id(),
        ts=clock.utc_now(),
        actor_id=operator(settings),
        mac_waiver=waiver_text(settings),
    )
    with stores.open_on_demand_store(settings) as store:
        return prove_on_demand(store, signer, registry, select(store), terms, cosigners)
