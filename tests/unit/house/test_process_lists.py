"""Whoever names the processes one by one names all of them: a new process is entered, or it says here why not.

Read is what is under git and is no history: code, documents, tests, topology. A list counts from three names on.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from finance.cli.operating import run
from finance.guards.probes import PROBES
from finance.settings.variables import PROCESSES, ROLES
from finance.wiring.services import BUILDERS
from ledger_core.postgres.schema import authority
from schemas.topology.checks import REQUIRED_PROCESSES
from schemas.topology.load import load_topology

ROOT: Final = Path(__file__).parents[3]
TOPOLOGY: Final = load_topology(ROOT / "topology.yaml")
NAME: Final = rf"[\"'`*]*(?:finance_|DATABASE_URL_)?(?:{'|'.join(PROCESSES)})s?[\"'`*]*"
LIST: Final = re.compile(rf"{NAME}(?:(?:,\s+|,?\s+(?:and|or)\s+|\s*\|\s*){NAME}){{2,}}", re.IGNORECASE)
HISTORY: Final = ("docs/decisions/", "CHANGELOG.md", "ledger_core/postgres/schema/migrations/")

# Lists that mean some of them wherever they stand, and which ones.
SIGNING: Final = frozenset(TOPOLOGY.access.signing.ledger)
MEANT: Final = {
    SIGNING: "who signs",
    frozenset(PROCESSES) - {"poster"}: "who is started once the poster caught up",
    frozenset(PROCESSES) - {"poster", "keeper"}: "who works on what was posted",
    frozenset({"poster", "prover", "archiver"}): "who reads a shard's settlements or journal",
    frozenset({"poster", "prover", "notary"}): "who makes a signed range, of which nothing is archived",
    frozenset(PROCESSES) - SIGNING: "who signs nothing",
    frozenset({"notary", "prover", "projector"}): "who reads the audit topic",
}
BESIDE: Final = frozenset({"keeper", "projector"})  # the route: nothing on it waits for these
# Files that mean those of the route, and why.
ROUTE_ALONE: Final = {
    "docs/CONFIGURATION.md": "who reads the registry: the others sign nothing, and ask no signature",
    "docs/CORRUPT.md": "who halts posting: nothing on the route depends on the others",
    "docs/PERFORMANCE.md": "what the route takes",
    "ledger_core/audit/event_types.py": "who leaves audit intents, and may halt",
    "ledger_core/postgres/schema/authority.py": "who may halt",
    "tests/bench/bench_shards.py": "what the route takes",
    "tests/fault/recovery/test_rebuild_route.py": "started against the direction of the route",
    "tests/integration/posting/test_control.py": "who may halt",
    "tests/integration/recovery/test_restored_ledger.py": "one after the other",
}


def lists() -> list[tuple[str, int, frozenset[str]]]:
    """(file, line, the processes named)."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    found = []
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        if name.startswith(HISTORY) or path.suffix not in (".py", ".md", ".yaml", ".yml", ".sh") or not path.is_file():
            continue
        text = path.read_text("utf-8")
        for match in LIST.finditer(text):
            named = frozenset(it.lower() for it in re.findall("|".join(PROCESSES), match.group(), re.IGNORECASE))
            if len(named) > 2 and path != Path(__file__):
                found.append((name, text.count("\n", 0, match.start()) + 1, named))
    return found


def test_a_list_of_processes_has_all_of_them_or_says_why_not() -> None:
    every, found = frozenset(PROCESSES), lists()
    assert len(found) > 40
    wrong = [
        f"{name}:{line} lacks {sorted(every - named)}"
        for name, line, named in found
        if named != every and named not in MEANT and (named != every - BESIDE or name not in ROUTE_ALONE)
    ]
    assert not wrong, (
        "name them, or take the list from finance.settings.variables, or enter here why not:\n" + "\n".join(wrong)
    )
    assert {name for name, _, named in found if named == every - BESIDE} == {*ROUTE_ALONE}


# Where the code keeps something for each process: what must have an entry for a new one.
TABLES: Final = {
    "topology.yaml": TOPOLOGY.processes,
    "finance/settings/variables.py, ROLES": ROLES,
    "schemas/topology/checks.py": REQUIRED_PROCESSES,
    "finance/wiring/services.py": BUILDERS,
    "finance/guards/probes.py": PROBES,
    "finance/cli/operating/run.py": run.command.commands,
    "ledger_core/postgres/schema/authority.py": authority.ROLES,
}


@pytest.mark.parametrize("process", PROCESSES)
def test_every_table_knows_every_process(process: str) -> None:
    missing = [where for where, known in TABLES.items() if process not in known]
    assert not missing, f"{process} is missing in {missing}"
    assert set(TOPOLOGY.processes) == set(PROCESSES)


# What a page says of each process, word for word but its name.
PAGES: Final = {
    "docs/runbook/01-topology.md": "   finance run {}\n",
    "docs/runbook/15-promotion.md": "`database as the {}`",
    "docs/SECURITY.md": "| {} | `finance_{}`",
    "ARCHITECTURE.md": "{}",
    "docs/PERFORMANCE.md": "`finance run {}`",
}


@pytest.mark.parametrize("page", PAGES)
def test_every_page_about_processes_knows_every_one(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    missing = [name for name in PROCESSES if PAGES[page].replace("{}", name) not in text]
    assert not missing, f"{page} says nothing of {missing}"
