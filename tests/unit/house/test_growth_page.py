"""docs/PERFORMANCE.md says of each process and each command what it grows with."""

from __future__ import annotations

import re
from pathlib import Path

from finance.cli.main import cli
from finance.wiring.services import BUILDERS
from tests.unit.house.test_cli import leaves

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "PERFORMANCE.md").read_text("utf-8")
SECTION = PAGE.partition("\n## What grows with what\n")[2].partition("\n## ")[0]
ROWS = [line.strip("|").split("|") for line in SECTION.splitlines() if line.startswith("| `finance ")]
NAMED = [name for row in ROWS for name in re.findall(r"`finance ([a-z -]+)`", row[0])]
DEVELOPMENT = ("dev", "demo")
# A group that does something by itself, and what a process is without its command.
ALONE = {"signing-proxy"}


def test_every_command_has_its_row_and_no_other_has() -> None:
    commands = {" ".join(path) for path, _ in leaves(cli, ()) if path and path[0] not in DEVELOPMENT} | ALONE
    assert sorted(NAMED) == sorted(commands), "docs/PERFORMANCE.md, What grows with what"


def test_every_process_has_a_row_of_its_own() -> None:
    first = SECTION.partition("| command |")[0]
    for name in BUILDERS:
        assert f"| `finance run {name}` |" in first


def test_each_row_has_all_its_columns() -> None:
    assert {len(row) for row in ROWS} == {3, 5}
