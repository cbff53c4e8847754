"""`finance rotate`: from one signing key to the next, step by step, each on the audit chain; and back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console

from finance.cli.common import emit, for_the_chain, json_option, reason_option, table, utc
from finance.cli.signing.key_options import (
    address_option,
    changing_desk,
    dry_run_option,
    idle_option,
    kernel_copy,
    kernel_option,
    key_options,
    keys_file,
    named,
    open_desk,
    out_option,
    show_diff,
    show_keys,
)
from finance.cli.signing.rotate_create import create

if TYPE_CHECKING:
    from finance.settings.variables import Kind
    from finance.signing.rotation import Done
    from ledger_core.signing.rotation import Rotation

NEXT = {
    "announced": "wait until the notary has signed it, publish signers.json, then: finance rotate deploy",
    "deployed": "restart prover, archiver and notary with this keys file, then: finance rotate prove",
    "proved": "finance rotate deploy if that is not done; after the overlap: finance rotate finish",
    "rolling_back": "restart prover, archiver and notary with the outgoing key, then: finance rotate finish",
    "retired": "take [outgoing] out of the keys file, and publish signers.json again",
    "rolled_back": "take [outgoing] out of the keys file, and publish signers.json again",
}


@click.group()
def command() -> None:
    """Change the key that signs: announced by the outgoing key, both accepted for an overlap, retired at the end.

    The state is what the audit chain says, so another operator may do the next step. A step that was interrupted is
    done again. No process is restarted, and nothing is pushed: `deploy` writes which keys sign then.

    \b
    Examples:
      finance rotate create --kid finance-rsa-v2 --kind kms --key alias/finance-v2 --alg rsa-sha256
      finance rotate begin --kid finance-rsa-v2 --kind kms --key alias/finance-v2 --alg rsa-sha256
      finance rotate deploy --kernel kernel/tools/signers.json
      finance rotate prove
      finance rotate finish
    """


command.add_command(create)


@command.command()
@json_option
def status(as_json: bool) -> None:
    """Where the newest rotation stands, what each key signed last, what waits for which key, and what is next.

    \b
    Example:
      finance rotate status
    """
    from ledger_core.signing.rotation import rotations

    look = open_desk().look()
    known = rotations(look.events)
    newest = known[-1] if known else None
    kids = sorted({it.kid for it in look.newest} | look.waiting.keys())

    def words(console: Console) -> None:
        if newest is None:
            console.print("no rotation yet: begin one with finance rotate begin")
        else:
            console.print(f"{newest.outgoing} -> {newest.incoming}: {newest.step}; next: {NEXT[newest.step]}")
            console.print(table(("step", "when", "audit seq", "signed by", "who"), _history(newest)))
        signed = {kid: ", ".join(str(it) for it in look.newest if it.kid == kid) for kid in kids}
        rows = [(kid, look.waiting.get(kid, 0), signed[kid]) for kid in kids]
        console.print(table(("kid", "ranges waiting", "newest of"), rows))

    told = None if newest is None else _json(newest)
    shown = [{"what": it.what, "shard": it.shard, "signer_kid": it.kid} for it in look.newest]
    emit(as_json, {"ok": True, "rotation": told, "newest": shown, "waiting": dict(look.waiting)}, words)


@command.command()
@key_options
@click.option("--overlap-days", type=click.IntRange(0, 365), default=7, show_default=True, help="Both are accepted.")
@click.option("--description", default="", callback=for_the_chain, help="For people who read the registry.")
@dry_run_option
@json_option
def begin(
    kid: str,
    kind: Kind,
    key: str,
    key_version: int | None,
    alg: str,
    overlap_days: int,
    description: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish the incoming key in signers.json, and have the outgoing key announce it on the audit chain.

    Make the key first (`finance rotate create`). Run this with the variables that the processes run with.

    \b
    Examples:
      finance rotate begin --kid finance-rsa-v2 --kind kms --key alias/finance-v2 --alg rsa-sha256 --dry-run
      finance rotate begin --kid finance-hsm-v1 --kind pkcs11 --key finance --alg ed25519 --overlap-days 14
    """
    from finance.signing import rotation

    variables = named(kid, kind, key, key_version, alg)
    overlap = dt.timedelta(days=overlap_days)
    with changing_desk(dry_run=dry_run) as desk:
        done = rotation.begin(desk, variables, overlap=overlap, description=description)
    _say(as_json, done, dry_run=dry_run)


@command.command()
@kernel_option
@address_option
@out_option
@dry_run_option
@json_option
def deploy(kernel: Path | None, addresses: tuple[str, ...], out: Path | None, dry_run: bool, as_json: bool) -> None:
    """Write the keys file with which the incoming key signs. Refused before the announcement stands on the audit chain.

    \b
    Example:
      finance rotate deploy --kernel kernel/tools/signers.json --out keys.toml
    """
    from finance.signing import rotation

    with changing_desk(dry_run=dry_run, addresses=addresses) as desk:
        done = rotation.deploy(desk, kernel_copy(kernel, desk.settings, needed=True))
        keys = keys_file(desk.settings, done.variables, out, dry_run=dry_run)
    _say(as_json, done, keys, dry_run=dry_run)


@command.command()
@kernel_option
@address_option
@json_option
def prove(kernel: Path | None, addresses: tuple[str, ...], as_json: bool) -> None:
    """Have the incoming key sign a proof over the newest range of every shard, and verify it as published.

    \b
    Example:
      finance rotate prove --kernel kernel/tools/signers.json
    """
    from finance.signing import rotation
    from finance.signing.proofs import prove_with

    with changing_desk(addresses=addresses) as desk:
        proof = prove_with(desk, kernel_copy(kernel, desk.settings, needed=True))
        done = rotation.prove(desk, None if proof is None else orjson.loads(proof))
    _say(as_json, done)


@command.command()
@click.option(
    "--early",
    metavar="REASON",
    callback=for_the_chain,
    help="Before the overlap is over, with the reason for the audit chain.",
)
@idle_option
@dry_run_option
@json_option
def finish(early: str | None, idle: bool, dry_run: bool, as_json: bool) -> None:
    """Retire the outgoing key: it stays registered, for exactly the sequences that it signed. After a rollback: the
    incoming one.

    Refused while a range waits for it, while it still signs, and before the overlap is over.

    \b
    Example:
      finance rotate finish
    """
    from finance.signing import rotation

    with changing_desk(dry_run=dry_run) as desk:
        done = rotation.finish(desk, early=early, idle=idle)
    _say(as_json, done, dry_run=dry_run)


@command.command()
@reason_option
@address_option
@out_option
@dry_run_option
@json_option
def rollback(reason: str, addresses: tuple[str, ...], out: Path | None, dry_run: bool, as_json: bool) -> None:
    """Turn back to the outgoing key, at any step, also after it was retired. Then restart, and `finance rotate finish`.

    \b
    Example:
      finance rotate rollback --reason "Kernel does not verify the new key, incident 11"
    """
    from finance.signing import rotation

    with changing_desk(dry_run=dry_run, addresses=addresses) as desk:
        done = rotation.rollback(desk, reason)
        keys = keys_file(desk.settings, done.variables, out, dry_run=dry_run)
    _say(as_json, done, keys, dry_run=dry_run)


def _say(as_json: bool, done: Done, keys: str | None = None, *, dry_run: bool = False) -> None:
    def words(console: Console) -> None:
        show_diff(console, done.diff)
        if dry_run:
            console.print("dry run: nothing was written, not even to the audit chain. The change would be:")
        if keys is not None:
            console.print("SIGNING_KEYS_FILE of prover, archiver and notary, instead of variables that name a key:")
            show_keys(console, keys)
        if done.proof is not None:
            console.print(f"proof {done.proof['proof_id']}, signed by {done.proof['signer_kid']}, verifies")
        console.print(f"{done.rotation.outgoing} -> {done.rotation.incoming}: {done.step}; next: {NEXT[done.step]}")

    told = {"step": done.step, "outgoing": done.rotation.outgoing, "incoming": done.rotation.incoming}
    more = {
        "diff": done.diff,
        "told": done.told,
        "dry_run": dry_run,
        "variables": dict(done.variables),
        "keys_file": keys,
        "proof": done.proof,
    }
    emit(as_json, {"ok": True, **told, **more, "next": NEXT[done.step]}, words)


def _history(rotation: Rotation) -> list[tuple[object, ...]]:
    return [
        (event.text("step"), utc(event.created_at), event.seq or "waits", event.signer_kid, event.actor_id)
        for event in rotation.events
    ]


def _json(rotation: Rotation) -> Mapping[str, object]:
    return {
        "outgoing": rotation.outgoing,
        "incoming": rotation.incoming,
        "step": rotation.step,
        "overlap_seconds": str(int(rotation.overlap.total_seconds())),
        "events": [
            {
                "step": event.text("step"),
                "created_at": utc(event.created_at),
                "seq": None if event.seq is None else str(event.seq),
                "signer_kid": event.signer_kid,
                "actor_id": event.actor_id,
            }
            for event in rotation.events
        ],
        "next": NEXT[rotation.step],
    }
