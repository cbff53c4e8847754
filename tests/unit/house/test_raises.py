"""A public function names every error that it raises itself, in its docstring or in that of its class.

Not asked of commands (`finance/cli`, `finance/workshop/commands`), where a docstring is help text and errors are exit
codes. An error counts as named when a base class of ours is: who says Refused has said SignerRefused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
FLOORS = ("ledger_core", "schemas", "producers", "consumers", "finance")
ASKED = ("__init__", "__post_init__", "__call__", "__enter__")  # part of the public face of a class
NOT_ASKED = frozenset({"AssertionError"})  # says that a line cannot be reached
COMMANDS = {"cli", "commands"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(error: ast.expr) -> str | None:
    """The class that is raised, or caught; None for a variable, or for what a helper returns."""
    if isinstance(error, ast.Call):
        error = error.func
    name = error.attr if isinstance(error, ast.Attribute) else error.id if isinstance(error, ast.Name) else ""
    return name if re.fullmatch(r"[A-Z]\w*[a-z]\w*", name) else None


def _caught(handlers: list[ast.ExceptHandler]) -> set[str]:
    types = [it for handler in handlers if handler.type for it in getattr(handler.type, "elts", [handler.type])]
    return {name for it in types if (name := _name(it))}


def _raised(body: list[ast.stmt], caught: frozenset[str] = frozenset()) -> Iterator[str]:
    """What leaves these statements by a raise of their own; what one of them catches again does not."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise) and node.exc and (name := _name(node.exc)) and name not in caught:
            yield name
        for part in ("body", "orelse", "finalbody"):
            here = caught | _caught(node.handlers) if isinstance(node, ast.Try) and part == "body" else caught
            yield from _raised(getattr(node, part, []), frozenset(here))
        for inner in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
            yield from _raised(inner.body, caught)


def _public(body: list[ast.stmt], doc: str = "") -> Iterator[tuple[Function, str]]:
    """Each public function, with what its class and itself say."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public(node.body, ast.get_docstring(node) or "")
        elif isinstance(node, Function) and (node.name in ASKED or not node.name.startswith("_")):
            yield node, f"{doc} {ast.get_docstring(node) or ''}"


def _bases() -> dict[str, list[str]]:
    return {
        node.name: [name for base in node.bases if (name := _name(base))]
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }


def _is_named(error: str, doc: str, bases: dict[str, list[str]]) -> bool:
    return bool(re.search(rf"\b{error}\b", doc)) or any(_is_named(base, doc, bases) for base in bases.get(error, []))


def _silent(source: str, bases: dict[str, list[str]]) -> list[str]:
    return [
        f"{function.name} raises {error}"
        for function, doc in _public(ast.parse(source).body)
        for error in sorted(set(_raised(function.body)) - NOT_ASKED)
        if not _is_named(error, doc, bases)
    ]


def test_every_error_that_is_raised_is_named() -> None:
    bases = _bases()
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for floor in FLOORS
        for path in sorted((ROOT / floor).rglob("*.py"))
        if not COMMANDS & {*path.relative_to(ROOT).parts}
        for fault in _silent(path.read_text(), bases)
    ]
    assert found == []


def test_the_scan_sees_what_leaves_a_function_and_what_does_not() -> None:
    source = '''
class Reader:
    """Raises Refused."""
    def read(self):
        raise SignerRefused("named by its base, in the class")
    def write(self):
        if True:
            raise Corrupt("not named")
def parse():
    """Raises nothing."""
    try:
        raise ValueError("stays inside")
    except ValueError:
        raise Rejected("leaves") from None
def _private():
    raise Unavailable("not asked")
'''
    assert _silent(source, {"SignerRefused": ["Refused"]}) == ["write raises Corrupt", "parse raises Rejected"]
