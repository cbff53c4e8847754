"""Every place that calls the record corrupt is entered in docs/CORRUPT.md, with what it would take."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "CORRUPT.md"
FLOORS = ("ledger_core", "schemas", "producers", "consumers", "finance")
ROW = re.compile(r"\| `([\w.]+)` `(\w+)`(?: \((\d+)\))? \| ([^|]+) \| ([^|]+) \|")
KINDS = ("altered", "lost", "intruder", "replaced", "fault")


def _made(node: ast.AST, function: str = "") -> Iterator[str]:
    """The function of each `Corrupt(...)`."""
    for child in ast.iter_child_nodes(node):
        inner = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(child, ast.Call):
            called = child.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            if name == "Corrupt":
                yield inner
        yield from _made(child, inner)


def _in_the_code() -> Counter[tuple[str, str]]:
    return Counter(
        (".".join(path.relative_to(ROOT).with_suffix("").parts), function)
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*.py")
        for function in _made(ast.parse(path.read_text()))
    )


def _on_the_page() -> Counter[tuple[str, str]]:
    return Counter(
        {(module, function): int(many or 1) for module, function, many, _, _ in ROW.findall(PAGE.read_text())}
    )


def test_every_place_that_raises_corrupt_is_in_the_table_with_what_it_would_take() -> None:
    code, page = _in_the_code(), _on_the_page()
    assert code - page == Counter(), (
        "enter it in docs/CORRUPT.md; what an ordinary event can bring about is not Corrupt"
    )
    assert page - code == Counter(), "take it out of docs/CORRUPT.md"


def test_every_word_of_the_last_column_is_explained() -> None:
    text = PAGE.read_text()
    assert all(f"**{kind}**" in text for kind in KINDS)


def test_a_new_place_is_seen_wherever_it_stands() -> None:
    source = "class A:\n def b(self):\n  def c(): return errors.Corrupt('x')\n  raise Corrupt('y') from None\n"
    assert list(_made(ast.parse(source))) == ["c", "b"]
