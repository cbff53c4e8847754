"""`finance verify`: asks the oracle about a proof, a batch, the archive, the ledger or the audit chain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from finance.cli.common import counting, emit, json_option, load_settings, load_topology_of, table
from finance.settings.deployment import Settings
from finance.wiring.registry_file import read_registry
from ledger_core.findings import Finding, Report
from ledger_core.ports import StoredObject
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.oracle import (
    ArchiveHead,
    ArchiveReader,
    verify_archive,
    verify_audit_lines,
    verify_batch,
    verify_proof,
)

FINDINGS_SHOWN_MAX = 10  # of each code: one edit may contradict thousands of rows

signers_option = click.option(
    "--signers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The signer registry to trust. Default: FINANCE_SIGNERS.",
)
file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group()
def command() -> None:
    """Check a proof, a batch, the archive, the ledger or the audit chain.

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
@json_option
def proof(file: Path, signers: Path | None, as_json: bool) -> None:
    """One range proof on its own: form, hash, signer, signature. Needs no network.

    \b
    Example:
      finance verify proof proof.json --signers signers.json
    """
    registry = registry_of(signers)
    _timed(as_json, lambda: verify_proof(file.read_bytes(), registry, place=str(file)))


@command.command()
@file_argument
@signers_option
@click.option(
    "--audit",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The audit chain as JSON lines: it must hold the report's hash.",
)
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
    lines = None if audit is None else audit.read_bytes()
    _timed(as_json, lambda: verify_report(file.read_bytes(), registry, place=str(file), audit_lines=lines))


@command.command()
@file_argument
@signers_option
@json_option
def batch(file: Path, signers: Path | None, as_json: bool) -> None:
    """One audit batch (JSONL, gzip or plain): every entry, the chain, totals, verdicts, and its proof. No network.

    The tree root of a batch that does not start at sequence 1 cannot be computed from it alone: `roots_unchecked`
    counts it, and `verify archive` checks it.

    \b
    Example:
      finance verify batch batch.jsonl.gz --signers signers.json
    """
    registry = registry_of(signers)
    _timed(as_json, lambda: verify_batch(file.read_bytes(), registry, place=str(file)))


@command.command()
@click.option(
    "--dir", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A bundle, not S3."
)
@click.option("--env", "env", help="The environment in the archive. Default: FINANCE_ENV.")
@click.option("--shard", "shards", type=click.IntRange(0), multiple=True, help="Only this shard; may be repeated.")
@click.option("--with-database", is_flag=True, help="Manifests must reach as far as DATABASE_URL_AUDITOR says.")
@signers_option
@json_option
def archive(
    folder: Path | None,
    env: str | None,
    shards: tuple[int, ...],
    with_database: bool,
    signers: Path | None,
    as_json: bool,
) -> None:
    """The whole archive, from S3 or from a directory: every version, lock, manifest, batch and entry.

    Reads S3_AUDIT_*, FINANCE_ENV and FINANCE_SIGNERS, no database: what it says needs no trust in one. Manifests
    lost at the end of their chain show only --with-database.

    \b
    Examples:
      finance verify archive
      finance verify archive --dir bundle/ --signers signers.json --env production
    """
    settings = load_settings()
    registry = registry_of(signers, settings)
    reader = _archive_reader(folder, settings)
    expected = _archive_heads(settings, shards) if with_database else []
    with counting("reading objects", "objects", None) as advance:
        watched = _Watched(reader, advance)
        _timed(
            as_json,
            lambda: verify_archive(watched, env or settings.env, registry, shards=shards or None, expected=expected),
        )


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
        _timed(as_json, lambda: verify_audit_lines(file.read_bytes(), registry))
        return
    from finance.wiring.oracle import check_audit_of

    settings = load_settings()
    registry = registry_of(signers, settings)
    topology = None if without_topic else load_topology_of(settings)
    with counting("reading audit events", "events", None) as progress:
        _timed(as_json, lambda: check_audit_of(settings, topology, registry, progress))


class _Watched:
    """An archive reader that moves the progress bar for each object read."""

    def __init__(self, reader: ArchiveReader, advance: Callable[[int], None]) -> None:
        self._reader = reader
        self._advance = advance

    def get(self, key: str, version_id: str | None = None) -> bytes:
        self._advance(1)
        return self._reader.get(key, version_id)

    def versions(self, prefix: str) -> Sequence[StoredObject]:
        return self._reader.versions(prefix)


def _archive_reader(folder: Path | None, settings: Settings) -> ArchiveReader:
    from finance.wiring import services

    return services.open_archive_folder(folder) if folder else services.open_archive(settings)


def _archive_heads(settings: Settings, shards: tuple[int, ...]) -> list[ArchiveHead]:
    from finance.wiring.oracle import archive_heads

    return [head for head in archive_heads(settings) if not shards or head.shard in shards]


def registry_of(signers: Path | None, settings: Settings | None = None) -> SignerRegistry:
    """The registry to trust: the file named, or FINANCE_SIGNERS. Raises Refused."""
    return read_registry(signers or (settings or load_settings()).signers_path)


def _timed(as_json: bool, check: Callable[[], Report]) -> None:
    """Run a check, print its report and rate, exit 1 on findings."""
    started = time.perf_counter()
    report = check()
    tell(report, time.perf_counter() - started, as_json)


def _first_of_each_code(report: Report) -> list[Finding]:
    """What a person can read: the first few of each code, in the order they were found."""
    seen: dict[str, int] = {}
    shown = []
    for finding in report.findings:
        seen[finding.code] = seen.get(finding.code, 0) + 1
        if seen[finding.code] <= FINDINGS_SHOWN_MAX:
            shown.append(finding)
    return shown


def findings_table(report: Report) -> Table:
    """The first few findings of each code."""
    rows = [(f.code, f.shard, f.seq, f.field, f.message, f.place) for f in _first_of_each_code(report)]
    return table(("finding", "shard", "seq", "field", "what", "in"), rows, right=("shard", "seq"))


def tell(report: Report, seconds: float, as_json: bool) -> None:
    """The report in words or JSON. Raises Exit(1) on findings."""
    entries = report.counts.get("entries", 0)

    def words(console: Console) -> None:
        counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in report.counts.items()) or "nothing"
        rate = f", {entries / seconds:,.0f} entries/s" if entries and seconds > 0 else ""
        console.print(f"checked: {counts} in {seconds:.2f} s{rate}")
        if report.sound:
            console.print("sound: no findings", style="green")
            return
        shown = _first_of_each_code(report)
        console.print(findings_table(report))
        total = len(report.findings) + report.findings_beyond_max
        console.print(
            f"{total:,} findings"
            + (f", {len(shown)} shown; --json has the first thousand" if total > len(shown) else "")
        )

    result = {"ok": report.sound, **report.to_json(), "seconds": round(seconds, 3)}
    emit(as_json, result, words)
    if not report.sound:
        raise click.exceptions.Exit(1)
