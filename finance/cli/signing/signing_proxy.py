"""`finance signing-proxy`: serve signatures to callers that have no key, and check its log."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, load_topology_of, progress_on_terminal
from finance.settings.variables import SIGNING_PROXY
from finance.signing_proxy.request_log import NO_RECORD, LogHead
from ledger_core.errors import Refused
from ledger_core.hashes import is_hash
from schemas.read_file import lines_of, open_file

if TYPE_CHECKING:
    from finance.signing_proxy.log_verify import LogReport


@click.group(invoke_without_command=True)
@click.option("--witness", is_flag=True, help="Sign no checkpoint that does not continue the last one of its log.")
@json_option
@click.pass_context
def command(context: click.Context, witness: bool, as_json: bool) -> None:
    """Serve signatures over HTTPS: POST /sign, POST /verify, GET /public-key, GET /health (docs/SIGNING_PROXY.md).

    Its keys are those that the processes would sign with (AUDIT_SIGNING_*); who may ask is in DOOR_CONFIG, its
    certificate in DOOR_TLS_DIR, its log at SIGNING_PROXY_LOG. SIGTERM or an interrupt finishes what is in hand, exit 0.
    All faults are reported at once, and nothing starts (exit 3).

    \b
    Examples:
      finance signing-proxy
      finance signing-proxy --witness
      finance signing-proxy log verify
    """
    if context.invoked_subcommand is not None:
        return
    from finance.guards.startup import check_proxy_start
    from finance.signing_proxy.setup import run_signing_proxy, stop_on_signals
    from finance.telemetry.log_lines import configure_logging

    check_proxy_start(os.environ, Path.cwd())
    settings = load_settings()
    configure_logging(process=SIGNING_PROXY, log_format=settings.log_format, level=settings.log_level)
    stop = threading.Event()
    stop_on_signals(stop)
    run_signing_proxy(settings, load_topology_of(settings), witness=witness, stop=stop)
    if as_json:
        emit(True, {"ok": True, "process": SIGNING_PROXY, "exit_code": 0}, lambda _console: None)


@command.group(name="log")
def log_group() -> None:
    """The append-only log of the signing proxy.

    \b
    Example:
      finance signing-proxy log verify
    """


@log_group.command(name="verify")
@click.argument("path", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--after", metavar="SEQ:HASH", help="The head of the part before, when that is kept elsewhere.")
@click.option("--head", metavar="SEQ:HASH", help="A head noted elsewhere (/health shows it): it must be in the log.")
@click.option("--mac-key", metavar="KEY", help="Check its seals by this key in KMS.  [SIGNING_PROXY_LOG_MAC_KEY]")
@json_option
def verify(path: Path | None, after: str | None, head: str | None, mac_key: str | None, as_json: bool) -> None:
    """Check every record, its number and its link, in all parts beside PATH, by default of SIGNING_PROXY_LOG.

    With --mac-key also the seals: what stands before the newest one is as it was then, whoever could write the file.
    Records cut off at the end show only against a head that was noted elsewhere, for which --head is. It may be run
    while the proxy runs: a line that is being written may then show as torn. Exit 1 when something does not fit.

    \b
    Examples:
      finance signing-proxy log verify
      finance signing-proxy log verify old.log --json
      finance signing-proxy log verify --mac-key alias/finance-proxy-log
    """
    from finance.signing_proxy.log_file import parts_of

    found = path or load_settings().signing_proxy()[2]
    mac_key = mac_key or (load_settings().text("SIGNING_PROXY_LOG_MAC_KEY") if path is None else "")
    parts = parts_of(found) or [found]
    known = None if head is None else _head(head, "--head")
    try:
        report = _verified(parts, NO_RECORD if after is None else _head(after, "--after"), known, mac_key)
    except OSError as error:
        raise Refused(f"{found} cannot be read ({error.strerror})", remedy="name the log") from error
    _tell(report, parts, bool(mac_key), as_json)
    if not report.sound:
        raise click.exceptions.Exit(1)


def _verified(parts: Sequence[Path], after: LogHead, known: LogHead | None, mac_key: str) -> LogReport:
    """Raises OSError, Refused, Unavailable."""
    from finance.signing_proxy.log_verify import verify_log
    from finance.wiring.signers import open_mac

    with ExitStack() as undo:
        mac = open_mac(load_settings(), mac_key, name=SIGNING_PROXY) if mac_key else None
        if mac is not None:
            undo.callback(mac.close)
        files = [lines_of(undo.enter_context(open_file(part)), str(part)) for part in parts]
        progress = undo.enter_context(progress_on_terminal("B"))
        task = progress.add_task(parts[0].name, total=sum(part.stat().st_size for part in parts))
        return verify_log(
            itertools.chain.from_iterable(files),
            after=after,
            known=known,
            seal_holds=None if mac is None else lambda seal: mac.verify(seal.message, seal.mac),
            on_bytes=lambda count: progress.advance(task, count),
        )


def _tell(report: LogReport, parts: Sequence[Path], mac_checked: bool, as_json: bool) -> None:
    sealed = None if report.sealed is None else str(report.sealed.head.seq)

    def words(console: Console) -> None:
        told = ", ".join(f"{count} {event}" for event, count in sorted(report.events.items()))
        console.print(f"{report.records} records in {len(parts)} part(s) ({told})", markup=False)
        console.print(f"head {report.head.seq}:{_hex(report.head.hash)}")
        if sealed is not None:
            console.print(
                f"sealed up to record {sealed}{'' if mac_checked else ' (the MAC was not checked: --mac-key)'}"
            )
        if report.unfinished:
            console.print(f"asked for, with no outcome on record: {', '.join(sorted(report.unfinished, key=int))}")
        for finding in report.findings:
            console.print(f"FINDING {finding}", markup=False)
        console.print("sound" if report.sound else f"{len(report.findings)} finding(s)")

    result = {
        "ok": report.sound,
        "parts": [part.name for part in parts],
        "records": report.records,
        "head": {"seq": str(report.head.seq), "hash": _hex(report.head.hash)},
        "sealed_seq": sealed,
        "mac_checked": mac_checked,
        "events": dict(report.events),
        "unfinished": sorted(report.unfinished, key=int),
        "findings": report.findings,
    }
    emit(as_json, result, words)


def _hex(digest: bytes | None) -> str:
    return "" if digest is None else digest.hex()


def _head(text: str, option: str) -> LogHead:
    seq, _, digest = text.partition(":")
    if not (seq.isascii() and seq.isdigit()) or not is_hash(digest):
        raise click.BadParameter("a head is SEQ:HASH, with 64 hex digits", param_hint=option)
    return LogHead(int(seq), bytes.fromhex(digest))
