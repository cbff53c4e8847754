"""`finance signers`: the registry of public keys: list, add, retire, revoke, publish, check; the emergency signer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from finance.cli.common import emit, for_the_chain, json_option, load_settings, reason_option
from finance.cli.findings import tell
from finance.cli.signing.key_options import (
    EMERGENCY_HOURS_MAX,
    changing_desk,
    dry_run_option,
    idle_option,
    kernel_copy,
    kernel_option,
    key_options,
    key_options_of,
    keys_file,
    named,
    open_desk,
    out_option,
    show_diff,
    show_keys,
)
from finance.cli.signing.signers_approve import approve
from finance.cli.signing.signers_list import list_signers
from ledger_core.errors import Refused
from ledger_core.signing.purposes import PURPOSES, Purpose
from ledger_core.signing.signer_form import ALGORITHMS

if TYPE_CHECKING:
    from finance.settings.variables import Kind
    from finance.signing.changes import Changed

KERNEL_FILE = "kernel/tools/signers.json"


@click.group()
def command() -> None:
    """The signer registry (FINANCE_SIGNERS): which public key stands behind which signer_kid, and for which sequences.

    Private keys are never touched: their services are asked for the public half, and for one signature as a proof.
    --dry-run shows what would change; the file is replaced as a whole, and the change is announced on the audit chain.
    To change the key that signs, use `finance rotate`.

    \b
    Examples:
      finance signers list
      finance signers check --kernel kernel/tools/signers.json
    """


@command.command()
@key_options_of(*ALGORITHMS)
@click.option("--description", default="", callback=for_the_chain, help="For people who read the registry.")
@click.option(
    "--signs",
    type=click.Choice(PURPOSES),
    multiple=True,
    help="It counts for this kind of statement alone; may be repeated. Default: for every kind.",
)
@dry_run_option
@json_option
def add(
    kid: str,
    kind: Kind,
    key: str,
    key_version: int | None,
    alg: str,
    description: str,
    signs: tuple[Purpose, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Register a key: its service shows the public half and makes one signature. A rotation does this by itself.

    Who signs backups, or answers operators, needs no key that could sign range proofs: --signs says what a key counts
    for. That never changes afterwards. A MAC key (--alg hmac-sha256) counts for range proofs alone; the registry gets
    its id and the MAC of one fixed text.

    \b
    Examples:
      finance signers add --kid finance-backup-v1 --kind kms --key alias/finance-backup --alg ed25519 --signs backup
      finance signers add --kid finance-rsa-v2 --kind kms --key alias/finance-v2 --alg rsa-sha256 --dry-run
      finance signers add --kid audit-cosigner --kind transit --key cosigner --key-version 1 --alg ed25519
      finance signers add --kid finance-mac-v1 --kind kms --key alias/finance-mac --alg hmac-sha256
    """
    from finance.signing import changes as signer_changes

    variables = named(kid, kind, key, key_version, alg)
    with changing_desk(dry_run=dry_run) as desk:
        changed = signer_changes.add(desk, variables, description, frozenset(signs) or None)
    _say(as_json, changed, dry_run)


@command.command()
@click.argument("kid")
@reason_option
@idle_option
@dry_run_option
@json_option
def retire(kid: str, reason: str, idle: bool, dry_run: bool, as_json: bool) -> None:
    """Retire a key that signs no more: it stays in the registry and counts for exactly what it signed.

    Refused while a range waits for it, or the newest proof or manifest of a shard is by it.

    \b
    Example:
      finance signers retire audit-cosigner --reason "no auditor asks for it any more"
    """
    from finance.signing import changes as signer_changes

    with changing_desk(dry_run=dry_run) as desk:
        changed = signer_changes.retire(desk, kid, reason, idle=idle)
    _say(as_json, changed, dry_run)


@command.command()
@click.argument("kid")
@reason_option
@click.option(
    "--to-seq", "to_seqs", multiple=True, metavar="SHARD=SEQ", help="Last sequence of a shard to trust it for."
)
@click.option("--audit-to-seq", type=click.IntRange(0), help="Last event of the audit chain to trust it for.")
@idle_option
@dry_run_option
@json_option
def revoke(
    kid: str, reason: str, to_seqs: tuple[str, ...], audit_to_seq: int | None, idle: bool, dry_run: bool, as_json: bool
) -> None:
    """Revoke a key that may be in other hands: after these sequences it proves nothing, and everything before.

    Without --to-seq and --audit-to-seq that is where it signed last. Times do not matter: a thief writes any he likes.
    Rotate first: a key that still signs cannot be revoked, since what it signs next would never verify.

    \b
    Examples:
      finance signers revoke finance-rsa-v1 --reason "token lost, incident 7"
      finance signers revoke finance-rsa-v1 --reason "incident 7" --to-seq 0=41000 --audit-to-seq 9000
    """
    from finance.signing import changes as signer_changes

    cuts = _sequences(to_seqs)
    with changing_desk(dry_run=dry_run) as desk:
        changed = signer_changes.revoke(desk, kid, reason, cuts, audit_to_seq, idle=idle)
    _say(as_json, changed, dry_run)


@command.command()
@key_options
@click.option("--hours", type=click.IntRange(1, EMERGENCY_HOURS_MAX), required=True, help="How long it may sign.")
@reason_option
@out_option
@dry_run_option
@json_option
def emergency(
    kid: str,
    kind: Kind,
    key: str,
    key_version: int | None,
    alg: str,
    hours: int,
    reason: str,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Register a temporary key while the regular one is out of reach, and write the keys file with which it signs.

    Two people: it is refused until another operator approved this very key (`finance signers approve`); the refusal
    says what to give him.

    Publish the registry before a process is restarted with it. When the regular key is back: swap the two tables,
    restart, retire this key, and re-issue what it signed with `finance prove --reissue KID` (RUNBOOK.md, section 13 B).

    \b
    Example:
      finance signers emergency --kid finance-emergency-1 --kind pkcs11 --key emergency --alg rsa-sha256 --hours 12
        --reason "KMS of the region is down, incident 9"
    """
    from finance.signing import changes as signer_changes

    variables = named(kid, kind, key, key_version, alg)
    with changing_desk(dry_run=dry_run) as desk:
        changed = signer_changes.emergency(desk, variables, hours=hours, reason=reason)
        keys = keys_file(desk.settings, changed.variables, out, dry_run=dry_run)
    _say(as_json, changed, dry_run, keys)


@command.command()
@click.option(
    "--repo",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="A git repository, Kernel's for example.",
)
@click.option("--file", default=KERNEL_FILE, show_default=True, help="The registry inside of it.")
@click.option("--branch", help="Default: finance-signers-<newest kid>.")
@dry_run_option
@json_option
def publish(repo: Path, file: str, branch: str | None, dry_run: bool, as_json: bool) -> None:
    """Prepare a branch with one commit that brings our signers into another repository's registry. Nothing is pushed.

    Its working tree, index and current branch stay as they are; signers of others stay as they are. A MAC key is not
    published: it has no public key.

    \b
    Example:
      finance signers publish --repo ../kernel --file kernel/tools/signers.json
    """
    from finance.signing.registry_branch import prepare_commit
    from finance.wiring.registry_file import read_registry
    from ledger_core.signing.registry_edit import diff, with_signers

    registered = read_registry(load_settings().signers_path).signers
    ours, kept = [it for it in registered if not it.is_mac], [it.kid for it in registered if it.is_mac]
    if not ours:
        raise Refused(
            "the signer registry holds no public key", remedy="add one first: `finance signers add --alg ed25519`"
        )
    name = branch or f"finance-signers-{ours[-1].kid}"
    message = f"Update Finance's signers\n\nPublic keys and validity of {', '.join(it.kid for it in ours)}."
    done = prepare_commit(
        repo, file, lambda data: with_signers(data, ours), branch=name, message=message, dry_run=dry_run
    )
    changes = diff(done.before, done.after, file)

    def words(console: Console) -> None:
        show_diff(console, changes)
        if kept:
            console.print(f"not published: {', '.join(kept)}: a MAC key has no public key, and nobody else can use it")
        if done.commit is not None:
            console.print(f"branch {done.branch} in {repo} has this as commit {done.commit[:12]}: push it for review")

    told = {"diff": changes, "branch": done.branch, "commit": done.commit, "not_published": kept}
    emit(as_json, {"ok": True, **told}, words)


@command.command()
@kernel_option
@click.option("--archive", is_flag=True, help="Also read every manifest of the archive.")
@json_option
def check(kernel: Path | None, archive: bool, as_json: bool) -> None:
    """Compare registry, key services, Kernel's copy, and what signed in database, archive and audit chain.

    Exit 1: findings.

    \b
    Example:
      finance signers check --kernel kernel/tools/signers.json --archive
    """
    from finance.signing.check import check_signers

    desk = open_desk()
    tell(check_signers(desk, kernel_copy(kernel, desk.settings, needed=False), archive=archive), 0.0, as_json)


def _sequences(given: tuple[str, ...]) -> dict[int, int]:
    found: dict[int, int] = {}
    for text in given:
        shard, _, seq = text.partition("=")
        if not (shard.isascii() and shard.isdigit() and seq.isascii() and seq.isdigit()):
            raise click.UsageError(f"--to-seq {text}: give SHARD=SEQ, as 0=41000")
        found[int(shard)] = int(seq)
    return found


def _say(as_json: bool, changed: Changed, dry_run: bool, keys: str | None = None) -> None:
    def words(console: Console) -> None:
        show_diff(console, changed.diff)
        if changed.told:
            console.print(
                f"the change of {changed.kid} is announced on the audit chain; "
                "bring signers.json to Kernel and auditors"
            )
        if keys is not None:
            console.print("then restart prover, archiver and notary with this as SIGNING_KEYS_FILE:")
            show_keys(console, keys)

    told = {"kid": changed.kid, "diff": changed.diff, "told": changed.told, "dry_run": dry_run}
    emit(as_json, {"ok": True, **told, "variables": dict(changed.variables), "keys_file": keys}, words)


command.add_command(list_signers)
command.add_command(approve)
