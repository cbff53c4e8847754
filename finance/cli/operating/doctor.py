"""`finance doctor`: the guards of every process, and the promotion checklist, whenever somebody asks."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from finance.cli.common import emit, json_option, progress_on_terminal

MARKS: Final = {
    "sound": "ok",
    "refused": "REFUSED",
    "found": "FOUND",
    "unavailable": "NO ANSWER",
    "not checkable": "by hand",
}


@click.command()
@click.option("--production", is_flag=True, help="Judge these settings as production's, whatever FINANCE_ENV says.")
@json_option
def command(production: bool, as_json: bool) -> None:
    """Every guard of every process, with what it saw, then the lines of the promotion checklist that people answer.

    The same guards as at a start: settings, database roles and guards, topics, signer (one digest is signed and
    verified), bucket (a locked canary must not be deletable). Changes nothing else. Exit 0: sound; 3: a process would
    refuse to start; 1: something else to mend before a promotion; 4: something does not answer. Lines "by hand" do not
    change the exit code: no command can answer them.

    \b
    Examples:
      finance doctor
      finance doctor --production --json
    """
    from finance.guards import checklist
    from finance.guards.model import EVERYBODY, Given

    given = Given.of(EVERYBODY, os.environ, Path.cwd())
    if production and not given.production:
        given = dataclasses.replace(given, values={**given.values, "FINANCE_ENV": "production"})
    results, seconds = [], {}
    planned = checklist.checks(given)
    with progress_on_terminal("checks") as progress:
        task = progress.add_task("checking", total=len(planned))
        for check in planned:
            progress.update(task, description=check.name)
            started = time.perf_counter()
            results.append(check.result())
            seconds[check.name] = time.perf_counter() - started
            progress.advance(task)
    code = checklist.exit_code(results)
    people = list(checklist.by_hand())

    def words(console: Console) -> None:
        for result in [*results, *people]:
            took = f"{seconds[result.name]:5.1f} s" if result.name in seconds else " " * 7
            console.print(f"{MARKS[result.state]:<10}{took}  {result.name}: {result.evidence}", markup=False)
            for fault in result.faults:
                console.print(f"   - {fault}", markup=False)
        said = {
            0: "sound",
            1: "something to mend",
            3: "a process would refuse to start",
            4: "something does not answer",
        }
        console.print(f"\n{said[code]} ({len(results)} checks; {len(people)} lines for people)", markup=False)

    told = [
        {"name": r.name, "state": r.state, "evidence": r.evidence, "seconds": round(seconds.get(r.name, 0.0), 3),
         "faults": [{"message": f.message, "remedy": f.remedy} for f in r.faults]}
        for r in [*results, *people]
    ]  # fmt: skip
    emit(as_json, {"ok": code == 0, "exit_code": code, "checks": told}, words)
    raise click.exceptions.Exit(code)
