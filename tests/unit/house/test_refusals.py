"""Every place where a running process refuses or waits has a way out on the runbook's page of refusals."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "runbook" / "14a-refusals.md"
ROW = re.compile(r"^\| (`.+?) \| .+ \| .+ \|$", re.MULTILINE)
WAITS = "waiting for"  # said in front of every Unavailable


def _texts(source: str) -> Iterator[str]:
    """What each `Refused(...)` of a module can say: the literals of its message and remedy, with the module's own
    constants read; those of the whole function where the message is a variable."""
    module = ast.parse(source)
    constants = {
        target.id: node.value
        for node in module.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for function in ast.walk(module):
        if not isinstance(function, ast.FunctionDef):
            continue
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Refused":
                said = [*call.args, *(keyword.value for keyword in call.keywords)]
                read = [constants.get(node.id, node) if isinstance(node, ast.Name) else node for node in said]
                literals = [*_literals(read[0]), *(text for node in read[1:] for text in _literals(node))]
                yield "\n".join(literals if any(_literals(read[0])) else [*literals, *_literals(function)])


def _literals(node: ast.AST) -> list[str]:
    return [it.value for it in ast.walk(node) if isinstance(it, ast.Constant) and isinstance(it.value, str)]


def _fragments() -> list[str]:
    return [fragment for row in ROW.findall(PAGE.read_text()) for fragment in re.findall(r"`([^`]+)`", row)]


def _source() -> dict[str, str]:
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted((ROOT / "consumers").rglob("*.py"))}


def test_every_refusal_of_a_process_has_a_way_out() -> None:
    fragments, unknown, seen = _fragments(), [], 0
    for name, source in _source().items():
        for text in _texts(source):
            seen += 1
            if not any(fragment in text for fragment in fragments):
                unknown.append((name, text))
    assert seen > 30
    assert unknown == [], "enter the words of its message in docs/runbook/14a-refusals.md"


def test_every_row_stands_for_something_that_is_said() -> None:
    floors = ("consumers", "ledger_core", "producers")
    modules = [path for floor in floors for path in sorted((ROOT / floor).rglob("*.py"))]
    said = "\n".join(text for path in modules for text in _literals(ast.parse(path.read_text())))
    assert [fragment for fragment in _fragments() if fragment not in said and fragment != WAITS] == []


def test_a_new_refusal_is_seen_wherever_it_stands() -> None:
    source = "R = 'mend it'\nclass A:\n def b(self):\n  why = f'{self} is odd'\n  raise Refused(why, remedy=R)\n"
    assert [set(text.split("\n")) for text in _texts(source)] == [{"mend it", " is odd"}]
