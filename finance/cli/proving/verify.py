"""`finance verify`: asks the oracle about a proof, batch, bundle, archive, ledger, audit chain or topic."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from finance.cli.common import counting, json_option, load_settings, load_topology_of
from finance.cli.findings import tell
from finance.cli.proving.trusted import registry_of, signers_option
from finance.cli.proving.verify_consistency import consistency
from finance.cli.proving.verify_page import page
from finance.cli.proving.verify_receipt import receipt
from finance.cli.proving.verify_source import source
from ledger_core.errors import Refused
from ledger_core.findings import Report
from ledger_core.signing.signatures import PublicKey
from ledger_core.verify.oracle import verify_audit_lines, verify_batch, verify_proof, verify_proof_by_key
from schemas.read_file import OBJECT_BYTES_MAX, SETTINGS_BYTES_MAX, STATEMENT_BYTES_MAX, FileLines, read_file, read_text

file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
audit_option = click.option(
    "--audit",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The audit chain as JSON lines, from its first event: it must hold the hash.",
)


@click.group()
def command() -> None:
    """Check a proof, a batch, the archive, the ledger, the audit chain, or the topic that it all came from.

    Everything is computed again from the bytes: canonical form, chain, tree, balance, signatures. Exit 0: sound; 1:
    findings, each with its shard, sequence and field.

    \b
    Examples:
      finance verify ledger
      finance verify archive --json
      finance verify proof proof.json --signers signers.json
    """


@command.command()
@file_argument
@signers_option
@click.option(
    "--public-key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The signer's public key (PEM), in place of a registry.",
)
@audit_option
@json_option
def proof(file: Path, signers: Path | None, key_file: Path | None, audit: Path | None, as_json: bool) -> None:
    """One range proof on its own: form, hash, signer, signature. Needs no network, but for a MAC.

    A MAC (hmac-sha256) is checked by asking the KMS that the settings name: `macs_checked`. Where none may be asked, it
    is `macs_unchecked`: the proof is sound by a cosignature beside it, or has the finding proof.mac.

    The proof of a key that was revoked counts only with --audit: a thief dates what he signs as he likes, and the chain
    (`finance audit export`) says whether the proof was on record before the key's end.

    With --public-key no registry is asked: the answer is that this key signed the proof. Whether the key is ours, and
    whether it was retired or revoked, only the registry says.

    \b
    Examples:
      finance verify proof proof.json --signers signers.json
      finance verify proof proof.json --public-key signer.pub.pem
      finance verify proof proof.json --signers signers.json --audit audit_events.jsonl
    """
    if key_file is not None:
        if signers is not None or audit is not None:
            raise click.UsageError("--public-key stands without --signers and --audit")
        key = _public_key(key_file)
        _timed(as_json, lambda: verify_proof_by_key(_statement(file), key, place=str(file)), _key_alone)
        return
    registry = registry_of(signers)
    lines = None if audit is None else FileLines(audit)
    _timed(
        as_json,
        lambda: verify_proof(_statement(file), registry, place=str(file), audit_lines=lines),
    )


def _statement(path: Path) -> bytes:
    """A file of something signed. Raises Refused."""
    return read_file(path, STATEMENT_BYTES_MAX)


def _object(path: Path) -> bytes:
    """A file of something archived. Raises Refused."""
    return read_file(path, OBJECT_BYTES_MAX)


def _public_key(path: Path) -> PublicKey:
    """The key in a file. Raises Refused."""
    try:
        return PublicKey.parse(read_text(path, SETTINGS_BYTES_MAX, "ascii"))
    except ValueError as error:
        raise Refused(
            f"{path} holds no public key: {error}",
            remedy="give a PEM file: `openssl pkey -in KEY -pubout`, or a public_key_pem of signers.json",
        ) from None


def _key_alone(console: Console) -> None:
    console.print("by the key that was given; only a registry says whether it is ours, retired or revoked")


@command.command()
@file_argument
@signers_option
@audit_option
@json_option
def drill(file: Path, signers: Path | None, audit: Path | None, as_json: bool) -> None:
    """The report of a recovery drill (the JSON): form, hash, signer, signature. What it found stands in it. No network.

    The report of a key that was revoked counts only with --audit: a thief dates what he signs as he likes, and the
    chain (`finance audit export`) says whether the report was on record before the key's end.

    \b
    Examples:
      finance verify drill drill.json --signers signers.json
      finance verify drill drill.json --signers signers.json --audit audit_events.jsonl
    """
    from finance.recovery.drill.report import verify_report

    registry = registry_of(signers)
    lines = None if audit is None else FileLines(audit)
    _timed(
        as_json,
        lambda: verify_report(_statement(file), registry, place=str(file), audit_lines=lines),
    )


@command.command()
@file_argument
@signers_option
@audit_option
@json_option
def batch(file: Path, signers: Path | None, audit: Path | None, as_json: bool) -> None:
    """One audit batch (JSONL, gzip or plain): every entry, the chain, totals, verdicts, and its proof. No network.

    The tree root of a batch that does not start at sequence 1 cannot be computed from it alone: `roots_unchecked`
    counts it, and `verify archive` checks it. The batch of a key that was revoked counts only with --audit.

    \b
    Example:
      finance verify batch batch.jsonl.gz --signers signers.json
    """
    registry = registry_of(signers)
    lines = None if audit is None else FileLines(audit)
    _timed(as_json, lambda: verify_batch(_object(file), registry, place=str(file), audit_lines=lines))


@command.command()
@file_argument
@signers_option
@audit_option
@json_option
def bundle(file: Path, signers: Path | None, audit: Path | None, as_json: bool) -> None:
    """An auditor's bundle (.zip): every member, batch, proof, manifest, checkpoint, audit event, and nothing beside.

    Only the registry that you name is trusted, not the keys in the bundle. The counts say what was checked;
    windows_open_at_the_end: shards whose archive ended before the window did. The bundle of a key that was revoked
    counts only with --audit. No network.

    \b
    Example:
      finance verify bundle november.zip --signers signers.json
    """
    from finance.cli.proving.bundle_file import verify_file

    registry = registry_of(signers)
    lines = None if audit is None else FileLines(audit)
    _timed(as_json, lambda: verify_file(file, registry, lines))


@command.command()
@click.option(
    "--dir", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A bundle, not S3."
)
@click.option("--env", "env", help="The environment in the archive. Default: FINANCE_ENV.")
@click.option("--shard", "shards", type=click.IntRange(0), multiple=True, help="Only this shard; may be repeated.")
@click.option("--with-database", is_flag=True, help="Manifests must reach as far as DATABASE_URL_AUDITOR says.")
@click.option(
    "--with-topic/--without-topic",
    default=None,
    help="Compare with the audit topic, or do not. Default: when KAFKA_BROKERS is set and answers, and S3 is read.",
)
@signers_option
@json_option
def archive(
    folder: Path | None,
    env: str | None,
    shards: tuple[int, ...],
    with_database: bool,
    with_topic: bool | None,
    signers: Path | None,
    as_json: bool,
) -> None:
    """The whole archive, from S3 or from a directory: every version, lock, manifest, batch and entry.

    Reads S3_AUDIT_*, FINANCE_ENV and FINANCE_SIGNERS, no database: what it says needs no trust in one. Manifests
    lost at the end of their chain show only --with-database.

    Where Kafka can be asked, each range must be the one that the audit topic announced: same proof, once. The answer
    says whether that was compared; without Kafka everything else is checked all the same.

    \b
    Examples:
      finance verify archive
      finance verify archive --dir bundle/ --signers signers.json --env production
    """
    from finance.cli.proving.archive_check import ArchiveQuestion, check_archive_of

    settings, started = load_settings(), time.perf_counter()
    registry = registry_of(signers, settings)
    asked = ArchiveQuestion(folder, env, shards, with_database, with_topic)
    with counting("reading objects", "objects", None) as advance:
        answer = check_archive_of(settings, registry, asked, advance)
    tell(answer.report, time.perf_counter() - started, as_json, answer.words, **answer.to_json())


@command.command()
@signers_option
@json_option
def ledger(signers: Path | None, as_json: bool) -> None:
    """The ledger in Postgres: every entry, line, account, balance, verdict, range, proof and checkpoint.

    Everything is computed again from the entries and compared with every row that repeats it and with what was signed.
    A trigger, constraint, policy or grant that is not as migrations made it is a finding too (schema.*). May run beside
    the processes: it reads one snapshot. Reads DATABASE_URL_AUDITOR and FINANCE_SIGNERS.

    \b
    Examples:
      finance verify ledger
      finance verify ledger --json
    """
    from finance.wiring.oracle import check_ledger_of

    settings = load_settings()
    registry = registry_of(signers, settings)
    with counting("reading entries", "entries", None) as progress:
        _timed(as_json, lambda: check_ledger_of(settings, registry, progress))


@command.command()
@signers_option
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON lines, not Postgres.")
@click.option("--without-topic", is_flag=True, help="Do not ask Kafka where the chain must reach.")
@json_option
def audit(signers: Path | None, file: Path | None, without_topic: bool, as_json: bool) -> None:
    """The audit chain, from Postgres or from a file of JSON lines: hashes, links, signatures, no gap, no lost end.

    A chain that was cut off at its end seems whole: so the newest event of the audit topic says where it must reach.
    Reads DATABASE_URL_AUDITOR, KAFKA_BROKERS and FINANCE_SIGNERS.

    \b
    Examples:
      finance verify audit
      finance verify audit --file audit_events.jsonl --signers signers.json
    """
    if file is not None:
        registry = registry_of(signers)
        _timed(as_json, lambda: verify_audit_lines(FileLines(file), registry))
        return
    from finance.wiring.oracle import check_audit_of

    settings = load_settings()
    registry = registry_of(signers, settings)
    topology = None if without_topic else load_topology_of(settings)
    with counting("reading audit events", "events", None) as progress:
        _timed(as_json, lambda: check_audit_of(settings, topology, registry, progress))


def _timed(as_json: bool, check: Callable[[], Report], more: Callable[[Console], None] | None = None) -> None:
    """Run a check, print its report and rate, exit 1 on findings."""
    started = time.perf_counter()
    report = check()
    tell(report, time.perf_counter() - started, as_json, more or (lambda _console: None))


command.add_command(consistency)
command.add_command(receipt)
command.add_command(source)
command.add_command(page)
