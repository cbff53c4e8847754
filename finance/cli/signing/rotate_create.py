"""`finance rotate create`: the incoming key, made in its own service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console

from finance.cli.common import emit, json_option
from finance.cli.signing.key_options import changing_desk, key_options, key_policy, named

if TYPE_CHECKING:
    from finance.settings.variables import Kind
    from ledger_core.ports import Algorithm

RSA_BITS_DEFAULT: Final = 3072


@click.command()
@key_options
@click.option("--bits", type=click.Choice(("2048", "3072", "4096")), help="Of an RSA key. Default: 3072.")
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The key's policy in KMS: deploy/kms/key-policy-ledger.json, filled in. Needed in production.",
)
@json_option
def create(
    kid: str,
    kind: Kind,
    key: str,
    key_version: int | None,
    alg: Algorithm,
    bits: str | None,
    policy: Path | None,
    as_json: bool,
) -> None:
    """Make the incoming key in its service: for signing alone, not exportable. --key is the name it gets there.

    In KMS that is an alias, on a token a label. Run this with the credentials of who makes keys (in AWS:
    deploy/kms/key-admin.json): nothing is signed. Interrupted, it is done again, and finds the key it made. Keys behind
    a signing proxy are made there.

    \b
    Examples:
      finance rotate create --kid finance-rsa-v2 --kind kms --key alias/finance-v2 --alg rsa-sha256 --bits 4096
        --policy key-policy-ledger.json
      finance rotate create --kid finance-hsm-v1 --kind pkcs11 --key finance --alg ed25519
    """
    from finance.signing.key_creation import create as create_key
    from producers.signing.key_maker import KeySpec

    if key_version is not None:
        raise click.UsageError("--key-version is given, and a new key has one version: give it a new name")
    if bits is not None and alg != "rsa-sha256":
        raise click.UsageError("--bits is for an RSA key")
    spec = KeySpec(alg, int(bits or RSA_BITS_DEFAULT) if alg == "rsa-sha256" else 0)
    variables = named(kid, kind, key, None, alg)
    with changing_desk() as desk:
        done = create_key(desk, variables, spec, policy=key_policy(policy, kind, desk.settings.env))
    version = " --key-version 1" if kind == "transit" else ""
    following = f"finance rotate begin --kid {kid} --kind {kind} --key {key} --alg {alg}{version}"
    told = {"kid": kid, "fingerprint": done.signer.public_key.fingerprint, "key_id": done.key_id}

    def words(console: Console) -> None:
        what = "made" if done.made else "was there already, as asked for"
        console.print(f"key {done.key_id} {what}; fingerprint {told['fingerprint']}", soft_wrap=True)
        console.print(f"next, with the processes' credentials: {following}", soft_wrap=True)

    emit(as_json, {"ok": True, **told, "made": done.made, "told": done.told, "next": following}, words)
