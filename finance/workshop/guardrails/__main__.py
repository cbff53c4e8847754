"""`python -m finance.workshop.guardrails [--json] [CHECK ...]`: the checks of the repository, one line each, all faults
at once.

Exit 0: all sound; 1: faults; 3: a check could not start (its remedy is printed); 4: no faults, but something could not
be checked, which is not the same as sound. `--accept-unchecked` names a check that may stay unchecked here (a machine
without a network): it is reported all the same, and does not change the exit code.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click
import orjson

from finance.workshop.guardrails.bill import check_bill, check_licences
from finance.workshop.guardrails.key_scan import scan_keys
from finance.workshop.guardrails.lock_file import check_lock
from finance.workshop.guardrails.outcome import ScanOutcome
from finance.workshop.guardrails.vulnerabilities import check_vulnerabilities
from ledger_core.errors import Refused

# In this order: licences are read from the bill.
CHECKS: Final[Mapping[str, Callable[[Path], ScanOutcome]]] = {
    "keys": scan_keys,
    "lock": check_lock,
    "bill": check_bill,
    "licences": check_licences,
    "vulnerabilities": check_vulnerabilities,
}
EXIT_FOUND, EXIT_REFUSED, EXIT_UNCHECKED = 1, 3, 4


def exit_code(outcomes: Sequence[ScanOutcome], accepted: frozenset[str]) -> int:
    """The code that a pipeline goes by."""
    if any(outcome.faults for outcome in outcomes):
        return EXIT_FOUND
    return EXIT_UNCHECKED if any(o.unchecked and o.check not in accepted for o in outcomes) else 0


@click.command()
@click.argument("checks", nargs=-1, type=click.Choice(list(CHECKS)))
@click.option("--accept-unchecked", multiple=True, type=click.Choice(list(CHECKS)), help="May stay unchecked here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of words.")
def main(checks: tuple[str, ...], accept_unchecked: tuple[str, ...], as_json: bool) -> None:
    """Scan the repository: secrets, lock file, software bill of materials, licences, known vulnerabilities.

    \b
    Examples:
      python -m finance.workshop.guardrails
      python -m finance.workshop.guardrails keys lock --json
      python -m finance.workshop.guardrails --accept-unchecked vulnerabilities
    """
    outcomes = []
    for name in checks or tuple(CHECKS):
        started = time.perf_counter()
        try:
            outcome = CHECKS[name](Path.cwd())
        except Refused as error:
            click.echo(f"{name}: {error}", err=True)
            sys.exit(EXIT_REFUSED)
        outcomes.append(outcome)
        if not as_json:
            tell(outcome, time.perf_counter() - started)
    if as_json:
        told = {
            "ok": exit_code(outcomes, frozenset()) == 0,
            "checks": [{"word": o.word, **_plain(o)} for o in outcomes],
        }
        sys.stdout.buffer.write(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
    sys.exit(exit_code(outcomes, frozenset(accept_unchecked)))


def tell(outcome: ScanOutcome, seconds: float) -> None:
    """One line for the check, one for each fault, and one that nobody can overlook for what was not checked."""
    click.echo(f"{outcome.check:<16}{outcome.word:<12}{seconds:5.1f} s  {outcome.looked_at}")
    for fault in outcome.faults:
        click.echo(f"  - {fault}")
    if outcome.unchecked:
        click.echo(f"  ! COULD NOT BE CHECKED: {outcome.unchecked}. This run says nothing about it.")


def _plain(outcome: ScanOutcome) -> dict[str, object]:
    return {
        "check": outcome.check,
        "looked_at": outcome.looked_at,
        "unchecked": outcome.unchecked,
        "faults": [{"place": f.place, "message": f.message, "remedy": f.remedy} for f in outcome.faults],
    }


if __name__ == "__main__":
    main()
