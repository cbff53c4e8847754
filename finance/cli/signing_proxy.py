"""`finance signing-proxy`: serve signatures to callers that hold no key, and check its log."""

from __future__ import annotations

import threading
from pathlib import Path

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, load_topology_of, progress_on_terminal
from finance.signing_proxy.request_log import LogHead
from ledger_core.canonical import is_hash
from ledger_core.errors import Refused


@click.group(invoke_without_command=True)
@click.option("--witness", is_flag=True, help="Sign no checkpoint that does not continue the last one of its log.")
@json_option
@click.pass_context
def command(context: click.Context, witness: bool, as_json: bool) -> None:
    """Serve signatures over HTTPS: POST /sign, POST /verify, GET /public-key, GET /health (docs/SIGNING_PROXY.md).

    Its keys are those that the processes would sign with (AUDIT_SIGNING_*); who may ask is in DOOR_CONFIG, its
    certificate in DOOR_TLS_DIR, its log at SIGNING_PROXY_LOG. SIGTERM or an interrupt finishes what is in hand, exit 0.

    \b
    Examples:
      finance signing-proxy
      finance signing-proxy --witness
      finance signing-proxy log verify
    """
    if context.invoked_subcommand is not None:
        return
    from finance.signing_proxy.setup import NAME, run_signing_proxy, stop_on_signals
    from finance.telemetry import configure_logging

    settings = load_settings()
    configure_logging(process=NAME, log_format=settings.log_format, level=settings.log_level)
    stop = threading.Event()
    stop_on_signals(stop)
    run_signing_proxy(settings, load_topology_of(settings), witness=witness, stop=stop)
    if as_json:
        emit(True, {"ok": True, "process": NAME, "exit_code": 0}, lambda _console: None)


@command.group(name="log")
def log_group() -> None:
    """The append-only log of the signing proxy.

    \b
    Example:
      finance signing-proxy log verify
    """


@log_group.command(name="verify")
@click.argument("path", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--head", metavar="SEQ:HASH", help="A head noted elsewhere (/health tells it): it must be in the log.")
@json_option
def verify(path: Path | None, head: str | None, as_json: bool) -> None:
    """Check every record, its number and its link; by default of SIGNING_PROXY_LOG. Exit 1 when one does not fit.

    Records cut off at the end show only against a head that was noted elsewhere, for which --head is. It may be run
    while the proxy runs: a line that is being written may then show as torn.

    \b
    Examples:
      finance signing-proxy log verify
      finance signing-proxy log verify old.log --json
    """
    from finance.signing_proxy.log_verify import verify_log

    found = path or load_settings().signing_proxy()[2]
    known = None if head is None else _head(head)
    try:
        with found.open("rb") as lines, progress_on_terminal("B") as progress:
            task = progress.add_task(found.name, total=found.stat().st_size)
            report = verify_log(lines, known=known, on_bytes=lambda count: progress.advance(task, count))
    except OSError as error:
        raise Refused(f"{found} cannot be read ({error.strerror})", remedy="name the log") from error

    def words(console: Console) -> None:
        told = ", ".join(f"{count} {event}" for event, count in sorted(report.events.items()))
        console.print(f"{report.records} records ({told}), head {report.head.seq}:{_hex(report.head.hash)}")
        if report.unfinished:
            console.print(f"asked for, with no outcome on record: {', '.join(sorted(report.unfinished, key=int))}")
        for finding in report.findings:
            console.print(f"FINDING {finding}", markup=False)
        console.print("sound" if report.sound else f"{len(report.findings)} finding(s)")

    result = {
        "ok": report.sound,
        "records": report.records,
        "head": {"seq": str(report.head.seq), "hash": _hex(report.head.hash)},
        "events": dict(report.events),
        "unfinished": sorted(report.unfinished, key=int),
        "findings": report.findings,
    }
    emit(as_json, result, words)
    if not report.sound:
        raise click.exceptions.Exit(1)


def _hex(digest: bytes | None) -> str:
    return "" if digest is None else digest.hex()


def _head(text: str) -> LogHead:
    seq, _, digest = text.partition(":")
    if not seq.isdigit() or not is_hash(digest):
        raise click.BadParameter("a head is SEQ:HASH, with 64 hex digits", param_hint="--head")
    return LogHead(int(seq), bytes.fromhex(digest))
