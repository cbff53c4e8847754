"""Tests come in by the front: no test reads, sets or imports what begins with an underscore on something else's side.

What a test must reach has a seam: an argument, a port that a simulator stands in for, a public name. Free are a class's
own fields (self, cls, super()) and the methods that namedtuples have.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
OF_NAMEDTUPLES = {"_replace", "_fields", "_asdict"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OF_NAMEDTUPLES


def is_own(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def reached(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each private name of somebody else."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and not is_own(node.value):
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"import {it.name}") for it in node.names if is_private(it.name))
        elif isinstance(node, ast.Call) and "attr" in ast.unparse(node.func):  # getattr, setattr, monkeypatch's
            words = [it.value for it in node.args if isinstance(it, ast.Constant) and isinstance(it.value, str)]
            if any(is_private(word.rpartition(".")[2]) for word in words):
                yield node.lineno, ast.unparse(node)


def test_no_test_reaches_for_what_is_private() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{line}: {text}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, text in reached(ast.parse(path.read_text()))
    ]
    assert found == []


@pytest.mark.parametrize(
    "planted",
    ["store._rows", "from ledger_core.chain import _link", 'patch.setattr(module, "_clock", now)', "made()._x = 1"],
)
def test_a_planted_reach_is_found(planted: str) -> None:
    assert list(reached(ast.parse(planted)))


@pytest.mark.parametrize("free", ["self._rows", "super()._start()", "row._replace(seq=2)", "module.__file__"])
def test_what_is_ones_own_is_free(free: str) -> None:
    assert not list(reached(ast.parse(free)))
