"""The demo's own ledger: a fresh dev stack, migrated, with topics, and `finance` as a stranger would call it.

Guarantees: nothing of an earlier run is left in it; the variables of the caller's shell do not steer it. The topology
is the shipped one but for short ranges, so that a month of sales makes a chain of proofs and not just one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import yaml

from finance.settings.deployment import Settings
from finance.settings.variables import VARIABLES
from finance.workshop.devstack import Stack
from ledger_core.errors import Unavailable
from ledger_core.postgres.schema.migrate import migrate
from producers.kafka import topics as topics_kafka
from schemas.topology.load import load_topology
from schemas.topology.model import Topology

RANGE_IDLE_SECONDS: Final = 1
COMMAND_SECONDS_MAX: Final = 300


class FindingReport(msgspec.Struct, frozen=True):
    """A finding as `--json` prints it."""

    code: str
    message: str
    shard: int | None = None
    seq: str | None = None
    field: str | None = None
    place: str | None = None


class ErrorReport(msgspec.Struct, frozen=True):
    """A failure as `--json` prints it."""

    kind: str
    message: str


class CommandReport(msgspec.Struct, frozen=True):
    """What a command says with `--json`, as far as the demo reads it."""

    ok: bool
    counts: dict[str, int] = {}
    findings: list[FindingReport] = []
    error: ErrorReport | None = None


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """What a command answered: its line, its exit code, and what it said."""

    command: str
    exit_code: int
    told: CommandReport


@dataclass(frozen=True, slots=True)
class DemoLedger:
    """Everything a part of the demo needs to know."""

    stack: Stack
    environ: dict[str, str]
    settings: Settings
    topology: Topology

    @property
    def owner_url(self) -> str:
        """The superuser's address: the thief's in this play."""
        return self.settings.owner_database_url()

    def finance(self, *arguments: str) -> DemoAnswer:
        """Call `finance ARGUMENTS --json` as a process of its own. Raises Unavailable when it says nothing."""
        done = subprocess.run(
            [sys.executable, "-m", "finance", *arguments, "--json"],
            env=self.environ,
            capture_output=True,
            timeout=COMMAND_SECONDS_MAX,
            stdin=subprocess.DEVNULL,
        )
        line = " ".join(("finance", *arguments))
        try:
            told = msgspec.json.decode(done.stdout, type=CommandReport)
        except msgspec.DecodeError as error:
            said = done.stderr.decode(errors="replace")[-600:]
            raise Unavailable("finance", f"`{line}` ended {done.returncode} and said: {said}") from error
        return DemoAnswer(line, done.returncode, told)


def fresh_ledger(
    name: str, root: Path, topology_path: Path, range_entries_max: int, say: Callable[[str], None]
) -> DemoLedger:
    """Wipe the stack of this name and start it anew, with schema and topics. Raises Unavailable, Refused."""
    Stack(name, root).remove()
    stack = Stack.up(name, root, say=say)
    own = {variable.name for variable in VARIABLES}
    environ = {name: value for name, value in os.environ.items() if name not in own}
    environ |= stack.env
    own_topology = _short_ranges(topology_path, range_entries_max, stack.place.path)
    environ |= {"FINANCE_TOPOLOGY": str(own_topology), "FINANCE_LOG_FORMAT": "json"}
    environ["FINANCE_SIGNERS"] = str(Path(environ["FINANCE_SIGNERS"]).absolute())
    settings = Settings.from_env(environ, Path.cwd())
    topology = load_topology(settings.topology_path)
    migrations = migrate(settings.owner_database_url())
    actions = topics_kafka.apply(topology, settings.kafka_brokers, settings.kafka_options("admin"))
    say(f"{len(migrations)} migrations applied, {len(actions)} topics created")
    return DemoLedger(stack, environ, settings, topology)


def _short_ranges(topology_path: Path, range_entries_max: int, folder: Path) -> Path:
    """The shipped topology with short ranges, in the stack's folder."""
    document = yaml.safe_load(topology_path.read_bytes())
    document["limits"] |= {"range_entries_max": range_entries_max, "range_idle_seconds": RANGE_IDLE_SECONDS}
    path = (folder / "topology.yaml").absolute()
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path
