"""The fence around the workshop: production imports none of it, names it at two places, and does without it."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from finance.cli.main import COMMANDS, EXIT_REFUSED, run
from finance.cli.posting.publish import FIRST_MONTH
from finance.runtime import workshop_door
from finance.workshop import sample_data
from ledger_core.errors import Refused

ROOT = Path(__file__).parents[3]
FLOORS = ("consumers", "finance", "ledger_core", "producers", "schemas")
WORKSHOP = "finance.workshop"
DOORS = {"finance/cli/main.py", "finance/runtime/workshop_door.py"}


def production_files() -> Iterator[Path]:
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            if not path.is_relative_to(ROOT / "finance/workshop"):
                yield path


def names_the_workshop(path: Path) -> bool:
    """Whether code (no docstring, no comment) imports it or spells its name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(WORKSHOP):
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "finance" and "workshop" in {n.name for n in node.names}:
            return True
        if isinstance(node, ast.Import) and any(name.name.startswith(WORKSHOP) for name in node.names):
            return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(WORKSHOP):
            return True
    return False


def test_production_names_the_workshop_only_at_its_doors() -> None:
    assert {str(p.relative_to(ROOT)) for p in production_files() if names_the_workshop(p)} == DOORS


def test_the_import_contract_of_the_fence_has_no_exception_and_covers_every_room() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (fence,) = (each for each in contracts if each["name"] == "Production imports nothing of the workshop")
    assert "ignore_imports" not in fence
    rooms = {f"finance.{path.name}" for path in (ROOT / "finance").iterdir() if (path / "__init__.py").exists()}
    assert set(fence["source_modules"]) == rooms - {WORKSHOP} | set(FLOORS) - {"finance"}


def test_only_the_commands_of_developers_lie_in_the_workshop() -> None:
    assert {name for name, (module, _, _) in COMMANDS.items() if module.startswith(WORKSHOP)} == {"dev", "demo"}


def test_the_door_opens_on_the_real_workshop() -> None:
    workshop = workshop_door.open_workshop()
    assert len(list(workshop.synthetic(3, seed=1))) == 3
    assert list(workshop.synthetic(3, seed=1)) == list(sample_data.synthetic(3, seed=1))
    assert FIRST_MONTH == sample_data.FIRST_MONTH


@pytest.mark.parametrize("missing", ["finance.workshop", "psutil"])
def test_without_the_workshop_its_users_are_refused_with_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(WORKSHOP)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)  # what Python does for a module that is not there
    with pytest.raises(Refused) as refusal:
        workshop_door.open_workshop()
    assert refusal.value.remedy == "pip install 'finance-ledger[devstack]'"
    assert run(["publish", "--synthetic", "1"]) == EXIT_REFUSED
    assert "pip install 'finance-ledger[devstack]'" in capsys.readouterr().err


def test_a_drill_without_a_server_is_refused_with_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from finance.recovery.drill.scratch import scratch_server

    monkeypatch.setattr(workshop_door, "ENTRANCE", "finance.workshop.no_such_entrance")
    server = scratch_server(None, "20250101T000000Z-00000000", lambda _: None, secure=False)
    with pytest.raises(Refused, match="DRILL_DATABASE_URL") as refusal:
        server.__enter__()
    assert "finance-ledger[devstack]" in refusal.value.remedy
