"""A process that is asked to stop while it starts ends as one that is asked later: with 0, and without a word of a
fault. A table of every process by moments of its start; the process strikes itself when it comes to the moment, so
that nothing depends on how fast it is.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from finance.__main__ import is_process
from finance.cli.main import COMMANDS
from finance.settings.variables import PROCESSES
from tests.support.command_line import ROOT

pytestmark = pytest.mark.services

# At the first event of Python's audit hooks that names it: an import that begins, a port that is taken.
STRIKE: Final = """
import os, sys
number, event, name, *arguments = sys.argv[1:]
sys.argv = ["finance", *arguments]
struck = []
def strike(found, values):
    if found == event and name in (values[0], event) and not struck:
        struck.append(True)
        os.write(2, b"STRUCK")
        os.kill(os.getpid(), int(number))
from finance.__main__ import main
sys.addaudithook(strike)
main()
"""
FIRST: Final = ("import", "finance.cli.main")
GUARDS: Final = ("import", "finance.guards.commands")
BEGINS: Final = ("import", "finance.runtime.process")
WIRING: Final = ("import", "finance.wiring.services")
LISTENS: Final = ("socket.bind", "socket.bind")
STARTS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    **{f"run {name}": (FIRST, GUARDS, BEGINS, WIRING, LISTENS) for name in PROCESSES},
    "run all": (
        FIRST,
        GUARDS,
        BEGINS,
        ("import", "finance.runtime.supervisor"),
        ("subprocess.Popen", "subprocess.Popen"),
    ),
    "signing-proxy": (FIRST, GUARDS, ("import", "finance.signing_proxy.setup"), LISTENS),
    "backup stream": (FIRST, GUARDS, ("import", "finance.recovery.backup.assembly")),
}
MOMENTS: Final = [
    *((command, moment, signal.SIGTERM) for command, moments in STARTS.items() for moment in moments),
    *((command, FIRST, signal.SIGINT) for command in STARTS),
]


def struck(environ: dict[str, str], command: str, moment: tuple[str, str], number: int) -> tuple[int, str]:
    """Exit code, and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", STRIKE, str(number), *moment, *command.split()],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "STRUCK" in done.stderr, f"it never came to {moment}: {done.stderr}"
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "moment", "number"), MOMENTS, ids=[f"{it} at {at[1]} by {number.name}" for it, at, number in MOMENTS]
)
def test_a_process_that_is_stopped_while_it_starts_ends_with_0(
    environ: dict[str, str], command: str, moment: tuple[str, str], number: int, tmp_path: Path
) -> None:
    ports = {name: "0" for name in environ if name.endswith("_METRICS_PORT")}
    own = {"SIGNING_PROXY_LOG": str(tmp_path / "proxy.log"), "SIGNING_PROXY_PORT": "0"}
    code, said = struck({**environ, **ports, **own}, command, moment, number)
    assert code == 0, said
    assert "Traceback" not in said


def test_a_command_that_is_no_process_ends_by_the_signal(environ: dict[str, str]) -> None:
    """0 would say that it was done."""
    code, _ = struck(environ, "verify ledger", FIRST, signal.SIGTERM)
    assert code == -signal.SIGTERM


def test_every_process_is_known_at_the_entrance() -> None:
    """Whatever installs a handler for SIGTERM is started by a command of the table."""
    assert all(is_process(it.split()) for it in STARTS)
    for other in ("signing-proxy log verify", "backup create", "migrate", "--help", "verify ledger --json", ""):
        assert not is_process(other.split()), other
    assert is_process(["signing-proxy", "--witness"])
    assert {it.split()[0] for it in STARTS} <= set(COMMANDS)
    handlers = {
        path.relative_to(ROOT).as_posix()
        for path in (Path(ROOT) / "finance").rglob("*.py")
        if re.search(
            r"signal\.SIGTERM[^\n]*\n?[^\n]*signal\.signal\(|signal\.signal\(signal\.SIGTERM", path.read_text()
        )
        and "workshop" not in path.as_posix()
    }
    assert handlers == {
        "finance/__main__.py",
        "finance/cli/operating/run.py",  # run all
        "finance/runtime/process.py",  # run NAME, backup stream
        "finance/signing_proxy/setup.py",
    }
