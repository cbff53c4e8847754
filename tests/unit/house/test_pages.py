"""The pages people read first keep their shape: paths exist, lines fit, decisions are whole and in the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
INDEX = ROOT / "docs" / "decisions" / "README.md"
MAPS = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "GLOSSARY.md", *DECISIONS]
FLOORS = ("consumers", "deploy", "docs", "finance", "ledger_core", "producers", "schemas", "tests")
PATH = re.compile(rf"(?<![\w/<>.-])(?:{'|'.join(FLOORS)})(?:/[\w*.-]+)+/?")
MODULE = re.compile(r"`((?:consumers|ledger_core|producers|schemas)(?:\.[a-z_]+)+)`")
LINE_CHARACTERS_MAX = 119
GENERATED = {"CONFIGURATION.md", "METRICS.md"}
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if path.name not in GENERATED)
COMMAND_OR_FIGURE = {  # a shell line or a program's output that must stand as it is
    "CONTRIBUTING.md",
    "FORMATS.md",
    "PUBLISHING.md",
    "README.md",
    "SIGNING_PROXY.md",
}


@pytest.mark.parametrize("path", MAPS, ids=[path.name for path in MAPS])
def test_every_path_and_module_that_a_map_names_exists(path: Path) -> None:
    text = path.read_text("utf-8")
    named = {name.rstrip("./") for name in PATH.findall(text)}
    missing = sorted(name for name in named if not any(ROOT.glob(name)))
    modules = {name.replace(".", "/") for name in MODULE.findall(text)}
    missing += sorted(name for name in modules if not any(ROOT.glob(f"{name}*")))
    assert missing == [], f"{path.name}: name the new path, where a file was moved"


def test_the_architecture_is_read_in_one_sitting() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text("utf-8").splitlines()) < 200


def test_each_decision_has_a_number_of_its_own_and_stands_in_the_index() -> None:
    numbers = [path.name[:3] for path in DECISIONS]
    assert len(numbers) > 60
    assert len(set(numbers)) == len(numbers)
    linked = re.findall(r"\]\((\d{3}-[a-z0-9-]+\.md)\)", INDEX.read_text("utf-8"))
    assert sorted(linked) == [path.name for path in DECISIONS]


@pytest.mark.parametrize("path", DECISIONS, ids=[path.stem for path in DECISIONS])
def test_each_decision_is_short_and_has_its_three_sections(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith(f"# {path.name[:3]}. ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert all(part.strip() for part in re.split(r"^##? .*$", text, flags=re.MULTILINE)[2:])
    assert 10 <= len(text.splitlines()) <= 25


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_lines_of_a_document_fit_a_screen(path: Path) -> None:
    fenced, long = False, []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        excepted = line.lstrip().startswith("|") or (fenced and path.name in COMMAND_OR_FIGURE)
        if len(line) > LINE_CHARACTERS_MAX and not excepted:
            long.append(number)
    assert long == []


SOURCES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
DOTTED = re.compile(r"`((?:consumers|finance|ledger_core|producers|schemas)(?:\.[a-z_0-9]+)+)")
GUARANTEE = re.compile(r"\bG\d+\b")
NO_MODULES = {"finance.settlements", "finance.ledger_posts_total"}  # a topic; a name that is turned into a metric's


def is_there(dotted: str) -> bool:
    """Whether a dotted name in a docstring is a module, a package or a name in one of them."""
    parts = dotted.split(".")
    for size in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:size])
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module.exists():
            return all(name in module.read_text("utf-8") for name in parts[size:])
    return False


def test_a_module_that_a_docstring_sends_to_is_there() -> None:
    named = {(path, name) for path in SOURCES for name in DOTTED.findall(path.read_text("utf-8"))}
    lost = sorted(f"{path.relative_to(ROOT)}: {n}" for path, n in named if n not in NO_MODULES and not is_there(n))
    assert lost == []


def test_a_guarantee_that_a_docstring_names_is_said_in_the_architecture() -> None:
    said = set(re.findall(r"^- \*\*(G\d+)\*\*", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.MULTILINE))
    assert {name for path in SOURCES for name in GUARANTEE.findall(path.read_text("utf-8"))} <= said
