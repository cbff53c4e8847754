"""The demo from beginning to end: servers, sales, cheats, and the check that a stranger would make.

Guarantees: whatever happens, an interrupt included, processes and servers are stopped (`keep`: the servers stay); every
expectation is tested, and `Demo.failures` names those that failed.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from finance.workshop.demo import bundle
from finance.workshop.demo.answers import ask
from finance.workshop.demo.cheat import check
from finance.workshop.demo.cheats_archive import cheat_archive
from finance.workshop.demo.cheats_database import cheat_database
from finance.workshop.demo.cheats_events import cheat_events
from finance.workshop.demo.cheats_files import cheat_files
from finance.workshop.demo.check_script import Step, script, steps
from finance.workshop.demo.expectation import Expectation, expectation
from finance.workshop.demo.leave import Left, leave, prepare
from finance.workshop.demo.ledger import DemoLedger, fresh_ledger
from finance.workshop.demo.model import Cheat, Demo, DemoCheck, Summary
from finance.workshop.demo.route import DemoRoute
from finance.workshop.demo.summary import heads, summarize
from finance.workshop.demo.words import Teller
from finance.workshop.devstack import Stack
from finance.workshop.sample_data import sample

STACK_ROOT: Final = Path(".finance")
CHECK_SECONDS_MAX: Final = 600
RANGE_ENTRIES_MAX_MONTH, RANGE_ENTRIES_MAX_YEAR = 500, 2_000  # a chain of proofs, and few enough to read
VERIFICATIONS: Final = ("ledger", "archive", "audit")


@dataclass(frozen=True, slots=True)
class Options:
    """What to show: one month (`"2017-03"`) or, with None, the year; on which stack, and where the files go."""

    month: str | None
    stack_name: str
    folder: Path
    topology_path: Path
    keep: bool


def run_demo(options: Options, teller: Teller) -> Demo:
    """Run the whole demo. Raises Refused and Unavailable when it cannot be brought to its end."""
    began = time.monotonic()
    prepare(options.folder)
    with _stopped_at_the_end(options, teller):
        teller.heading("1. Servers: Postgres, Kafka, S3 with Object Lock, KMS")
        with ThreadPoolExecutor(1) as beside:
            expecting = beside.submit(expectation, options.month)
            entries_max = RANGE_ENTRIES_MAX_YEAR if options.month is None else RANGE_ENTRIES_MAX_MONTH
            name, path = options.stack_name, options.topology_path
            ledger = fresh_ledger(name, STACK_ROOT, path, entries_max, teller.note)
            expected = expecting.result()
        stack_seconds = time.monotonic() - began
        teller.say(f"ready after {stack_seconds:.1f} s, with nothing in them")
        teller.heading(f"2. {_sales(options.month)}: {expected.baskets:,} settlements the whole route")
        summary, cheats, checks = _route(options, ledger, expected, teller)
        left = leave(ledger, options.folder)
        teller.heading("3. Cheating, and how each attempt is caught")
        cheats += _tell_each(teller, chain(cheat_database(ledger), cheat_archive(ledger), cheat_files(ledger, left)))
        teller.cheats(cheats)
        teller.heading("4. All restored: the ledger proves sound again")
        sound = _verify_again(ledger, teller)
        teller.checks(sound)
        teller.heading(f"5. A stranger's check of {options.folder}/, with nothing of ours")
        lines = steps(left.signer_kid, left.algorithm)
        checks += [*sound, _check_as_stranger(left, lines, teller)]
        teller.heading("6. The month as one file for an auditor, checked by three programs, and forged")
        for_auditor, forgeries = _bundle(ledger, left, teller)
        checks += for_auditor
        cheats += forgeries
    return Demo(
        month=options.month,
        folder=str(options.folder),
        stack_seconds=round(stack_seconds, 1),
        summary=summary,
        cheats=tuple(cheats),
        checks=tuple(checks),
        lines=lines,
        seconds=round(time.monotonic() - began, 1),
    )


def _route(
    options: Options, ledger: DemoLedger, expected: Expectation, teller: Teller
) -> tuple[Summary, list[Cheat], list[DemoCheck]]:
    """The sales, what became of one of them, and then what cheating needs the route for."""
    log_file = ledger.stack.place.logs / "processes.log"
    with DemoRoute(ledger, log_file) as route:
        with teller.working("starting every process"):
            route.wait_until_open()
        with teller.bars(expected.baskets) as on_look:
            stages = route.send(sample(options.month), on_look)
        summary = summarize(ledger, expected, stages)
        teller.summary(summary)
        first = next(iter(sample(options.month)))
        with teller.working("asking the read side"):
            answers = ask(ledger, {it.shard: it.entries for it in summary.shards}, first)
        teller.lines([(it.check.command, it.lines) for it in answers])
        cheats = _tell_each(teller, cheat_events(ledger, route, first))
    return summary, cheats, [it.check for it in answers]


def _tell_each(teller: Teller, cheats: Iterable[Cheat]) -> list[Cheat]:
    done: list[Cheat] = []
    with teller.working("cheating") as say:
        for cheat in cheats:
            done.append(cheat)
            say(f"{len(done)} attempts, the last: {cheat.tried}")
    return done


def _verify_again(ledger: DemoLedger, teller: Teller) -> list[DemoCheck]:
    """Ledger, archive and audit chain must be sound, and no head have moved."""
    before = heads(ledger)
    done: list[DemoCheck] = []
    with teller.working("verifying") as say:
        for what in VERIFICATIONS:
            say(f"finance verify {what}")
            done.append(check(ledger, what))
    if heads(ledger) != before:
        done.append(DemoCheck("heads", 1, "a head moved while nothing was posted"))
    return done


def _bundle(ledger: DemoLedger, left: Left, teller: Teller) -> tuple[list[DemoCheck], list[Cheat]]:
    """Make the bundle, check it, and forge it."""
    with teller.working("writing the bundle"):
        made = bundle.make(ledger, left)
    if made.exit_code:
        teller.checks([made])
        return [made], []
    with teller.working("checking the bundle: each entry's link by sh takes a while"):
        done = [made, *bundle.checks(ledger, left)]
    teller.checks(done)
    if not bundle.has_browser():
        teller.say("Chromium is not installed: open verify.html of the bundle in a browser of yours")
    forgeries = _tell_each(teller, bundle.cheats(ledger, left))
    teller.cheats(forgeries)
    return done, forgeries


def _check_as_stranger(left: Left, lines: tuple[Step, ...], teller: Teller) -> DemoCheck:
    """Write CHECK.sh, run it, and show its lines."""
    path = left.folder / "CHECK.sh"
    path.write_text(script(left.signer_kid, left.algorithm), encoding="utf-8")
    path.chmod(0o755)
    with teller.working(f"running {path}"):
        done = subprocess.run(["bash", str(path)], capture_output=True, timeout=CHECK_SECONDS_MAX, check=False)
    said = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).decode(errors="replace").splitlines()
    result = DemoCheck(f"bash {path}", done.returncode, said[-1] if said else "it said nothing")
    teller.lines([("in " + str(left.folder), ("mkdir -p work",)), *lines])
    teller.checks([result])
    return result


@contextmanager
def _stopped_at_the_end(options: Options, teller: Teller) -> Iterator[None]:
    try:
        yield
    finally:
        if not options.keep:
            Stack(options.stack_name, STACK_ROOT).down()
            teller.note(f"servers stopped; logs are in {STACK_ROOT / options.stack_name}")


def _sales(month: str | None) -> str:
    return "A year of retail sales" if month is None else f"Retail sales of {month}"
