"""One noun a room: each package opens with a map of what lives in it, and no file stands outside of a room."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FLOORS = ("ledger_core", "schemas", "producers", "consumers", "finance")
MAP_LINES_MAX = 12  # a map is read at one look
ROOM_FILES_MAX = 20  # and a room is seen at one look

# What stands at the root of a floor, because every room of it uses it or outsiders import it by that name.
AT_THE_ROOT = {
    "ledger_core": {
        *(
            "canonical",
            "chain",
            "decimals",
            "errors",
            "findings",
            "hashes",
            "normal_form",
            "ports",
            "proof_ids",
            "strict_json",
            "times",
            "tree",
        ),
        *("movement", "sale", "settlement"),  # the public paths of shops (README, docs/PUBLISHING.md)
    },
    "schemas": {"read_file", "strict_yaml"},
    "producers": {"aws_clock", "settlement_publisher"},
    "consumers": {"metrics", "service"},
    "finance": set(),
}


def rooms() -> list[Path]:
    return sorted(path.parent for floor in FLOORS for path in (ROOT / floor).rglob("__init__.py"))


def modules(room: Path) -> set[str]:
    return {path.stem for path in room.glob("*.py")} - {"__init__", "__main__"}


@pytest.mark.parametrize("room", rooms(), ids=lambda room: str(room.relative_to(ROOT)))
def test_a_package_opens_with_a_map_of_all_that_lives_in_it(room: Path) -> None:
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text("utf-8"))) or ""
    assert len(text.splitlines()) <= MAP_LINES_MAX
    inside = modules(room) | {path.parent.name for path in room.glob("*/__init__.py")}
    words = set(re.findall(r"\w+", text))
    stems = {word.rstrip("*") for word in re.findall(r"\w+\*", text)}  # `key_maker_*` names a family
    nameless = {name for name in inside - AT_THE_ROOT.get(room.name, set()) if name not in words}
    assert {name for name in nameless if not any(name.startswith(stem) for stem in stems)} == set()


def test_every_module_stands_in_a_room() -> None:
    assert {floor: modules(ROOT / floor) for floor in FLOORS} == AT_THE_ROOT


@pytest.mark.parametrize("room", rooms(), ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_can_be_seen_at_one_look(room: Path) -> None:
    assert len(modules(room)) <= ROOM_FILES_MAX


def test_the_import_rules_know_every_store_and_adapter() -> None:
    """Who may import one is docs/decisions/079; a store that the contract does not name could be imported anywhere."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (named,) = (each for each in contracts if each["name"] == "Only the wiring (and the workshop) imports an adapter")
    stores = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "ledger_core/postgres").rglob("*.py")
        if re.search(r"^class (Postgres\w+|\w+Store)\b", path.read_text("utf-8"), re.MULTILINE)
    }
    adapters = {f"producers.{path.parent.name}" for path in (ROOT / "producers").glob("*/__init__.py")}
    assert set(named["forbidden_modules"]) == stores | adapters
    rooms = {f"finance.{path.parent.name}" for path in (ROOT / "finance").glob("*/__init__.py")}
    assert set(named["source_modules"]) == rooms - {"finance.wiring", "finance.workshop"}


def test_the_import_rules_know_every_room() -> None:
    """A room that no contract names could be imported from anywhere."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    ranked: dict[str, set[str]] = {}
    for contract in config["tool"]["importlinter"]["contracts"]:
        for container in contract.get("containers", ()):
            ranked.setdefault(container, set()).update(re.findall(r"\w+", " ".join(contract["layers"])))
    for floor in FLOORS:
        there = {path.parent.name for path in (ROOT / floor).glob("*/__init__.py")} - {"workshop"}
        assert there <= ranked[floor], floor


# Whatever of the product listens is served by the door: its bounds are those of all surfaces.
LISTENING = re.compile(
    r"\b(create_(unix_)?server|start_http_server|start_unix_server|HTTPServer|socketserver|wsgiref|make_server|uvicorn)\b"
    r"|\.listen\("
)
DOOR = "finance/door/server.py"


def test_only_the_door_listens() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*.py")
        if LISTENING.search(path.read_text("utf-8"))
    }
    assert {name for name in found if not name.startswith("finance/workshop/")} == {DOOR}
