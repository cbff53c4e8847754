"""One name, one meaning: no public class name of the product is defined in two places.

Where two rooms must share a word, one or both carry the room in front: RecordSource, ArchiveSource.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[3]
FLOORS = ("ledger_core", "schemas", "producers", "consumers", "finance")
# A protocol may share the name of its only implementation: to a reader both are one thing.
PORT_AND_ADAPTER = frozenset(
    {
        "MissingOriginal",  # consumers/recovery asks, ledger_core/postgres/recovery answers
        "PosterStore",  # ledger_core/posting asks, ledger_core/postgres/posting answers
        "Sample",  # finance/runtime asks, finance/workshop answers
        "ScratchPostgres",  # the same
    }
)


def test_no_public_class_name_has_two_meanings() -> None:
    twice = {name: places for name, places in _places().items() if len(places) > 1 and name not in PORT_AND_ADAPTER}
    assert twice == {}


def test_each_exception_is_one_protocol_and_one_implementation() -> None:
    places = _places()
    assert {name: len(places[name]) for name in PORT_AND_ADAPTER} == dict.fromkeys(PORT_AND_ADAPTER, 2)
    for name in PORT_AND_ADAPTER:
        assert sorted("(Protocol)" in place for place in places[name]) == [False, True], name


def test_the_glossary_names_classes_that_exist() -> None:
    page = (ROOT / "docs" / "GLOSSARY.md").read_text("utf-8")
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)*)`", page))
    assert len(named) > 20
    assert named - set(_places()) == set()


def test_the_scan_sees_classes_within_classes() -> None:
    assert [name for name, _ in _classes("class A:\n    class B: ...\nclass _C: ...\n")] == ["A", "B"]


def _places() -> dict[str, list[str]]:
    places = defaultdict(list)
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            for name, bases in _classes(path.read_text()):
                places[name].append(f"{path.relative_to(ROOT)} ({bases})")
    return places


def _classes(source: str) -> list[tuple[str, str]]:
    return [
        (node.name, ", ".join(ast.unparse(base) for base in node.bases))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
