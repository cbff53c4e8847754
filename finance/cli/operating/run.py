"""`finance run`: one process of the route in the foreground, or all of them."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import click
import structlog

from finance.cli.common import emit, json_option, load_settings, load_topology_of
from finance.settings import clock
from finance.settings.deployment import Settings
from ledger_core.errors import Refused, Unavailable
from schemas.topology.model import Topology

IDLE_LOOKS = 2  # one check may fall between two steps of the route


@click.group()
def command() -> None:
    """Run a process in the foreground, or all of them.

    Processes log to stderr (JSON, or in colour on a terminal) and serve /metrics and /healthz on METRICS_HOST and their
    own port (POSTER_METRICS_PORT, ...; 0 takes a free one and logs it). SIGTERM or an interrupt finishes the batch at
    hand and exits 0, also while the process starts (a signal before Python itself runs ends it as the kernel does, 143:
    nothing was begun). Exit 1: the record contradicts itself (posting is halted); 3: refused by a guard, all faults at
    once (`finance doctor` runs the same guards); 4: a signer that is required does not answer.

    \b
    Examples:
      finance run poster
      finance run all --posters 2
      finance run all --until-idle
    """


def _process_command(name: str, meaning: str) -> click.Command:
    @click.command(
        name=name,
        short_help=meaning,
        help=f"{meaning}\n\nReads DATABASE_URL_{name.upper()}, KAFKA_BROKERS and {name.upper()}_METRICS_PORT; all "
        f"variables are in docs/CONFIGURATION.md.\n\n\b\nExample:\n  finance run {name}\n",
    )
    @click.option("--stop-on-eof", is_flag=True, hidden=True, help="Stop when stdin ends: the parent is gone.")
    @json_option
    def run(stop_on_eof: bool, as_json: bool) -> None:
        from finance.guards.startup import check_start
        from finance.runtime.process import run_process

        check_start(name, os.environ, Path.cwd())
        settings = load_settings()
        code = run_process(name, settings, load_topology_of(settings), stop_on_eof=stop_on_eof)
        if as_json:
            emit(True, {"ok": code == 0, "process": name, "exit_code": code}, lambda _console: None)
        raise click.exceptions.Exit(code)

    return run


command.add_command(_process_command("poster", "Post settlement events: the only process that writes entries."))
command.add_command(_process_command("prover", "Close ranges and sign proofs and checkpoints."))
command.add_command(_process_command("archiver", "Store audit batches and manifests under Object Lock."))
command.add_command(_process_command("notary", "Chain, sign and publish audit events."))
command.add_command(_process_command("keeper", "Keep personal data beside the ledger, and forget what is erased."))
command.add_command(
    _process_command("projector", "Keep the read side: the copy of the journal that answers questions.")
)


@command.command(name="all")
@click.option("--posters", type=click.IntRange(1, 64), default=1, show_default=True, help="How many share the shards.")
@click.option("--until-idle", is_flag=True, help="Stop, exit 0, once everything published went the whole route.")
@click.option("--stop-on-eof", is_flag=True, hidden=True, help="Stop when stdin ends: the parent is gone.")
@json_option
def all_(posters: int, until_idle: bool, stop_on_eof: bool, as_json: bool) -> None:
    """Run every process as a child, and start again, loudly, what ends unasked.

    A refusal at the start, or a record that contradicts itself, stops everything with that exit code.

    \b
    Examples:
      finance run all
      finance run all --until-idle --posters 2
    """
    from finance.runtime.process import stop_with_parent
    from finance.runtime.supervisor import Supervisor, children
    from finance.telemetry.log_lines import configure_logging

    settings = load_settings()
    topology = load_topology_of(settings)
    configure_logging(process="all", log_format=settings.log_format, level=settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    if stop_on_eof:
        stop_with_parent(stop)
    finished = _Idle(settings, topology) if until_idle else None
    ports = {name: settings.metrics_port(name) for name in topology.processes}
    code = Supervisor(
        children(ports, posters=posters), stop=stop, finished=finished.look if finished else lambda: False
    ).run()
    if as_json:
        emit(
            True, {"ok": code == 0, "finished": bool(finished and finished.reached), "exit_code": code}, lambda _: None
        )
    raise click.exceptions.Exit(code)


class _Idle:
    """Whether the whole route is done: lag zero, everything proved, archived, on the audit chain and published."""

    def __init__(self, settings: Settings, topology: Topology) -> None:
        from finance.wiring.status import StatusReader

        self._reader = StatusReader(settings, topology)
        self._looks = 0

    @property
    def reached(self) -> bool:
        return self._looks >= IDLE_LOOKS

    def look(self) -> bool:
        """Raises Refused when posting is halted: then the end would never come."""
        try:
            status = self._reader.read(clock.utc_now())
        except Unavailable as error:
            structlog.get_logger("supervisor").warning("supervisor.status_unknown", detail=str(error))
            self._looks = 0
            return False
        if status.control.halted:
            raise Refused(
                f"posting is halted ({status.control.reason}), so the processes never become idle",
                remedy="run `finance resume` when it is safe, or run without --until-idle",
            )
        self._looks = self._looks + 1 if status.finished else 0
        return self.reached
