"""The table of variables is the world: what stands there is used, and nothing else is read."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from finance.settings.variables import KEY_VARIABLES, VARIABLES

ROOT = Path(__file__).parents[3]
TABLE = Path("finance/settings/variables.py")
NAMES = frozenset(variable.name for variable in VARIABLES)
# How the settings are asked for a variable, whose name comes first.
READERS = frozenset(
    {
        "text", "needed", "one_of", "number", "is_true", "_text", "_one_of", "_number", "_matching", "_path",
        "_database_url", "endpoint_tls", "_https",
    }
)  # fmt: skip
# Answers to the guards of a start; the guards are their whole use.
GUARDS_OWN = frozenset({"NODE_ENV", "DEV_SKIP_MTLS", "REQUIRE_KMS", "REQUIRE_MTLS", "REQUIRE_SIGNING_PROXY"})
# Checked by the guards, and not used: the table says "yet". Whoever begins to use one takes it out here.
NOT_USED_YET = frozenset({"FINANCE_ADMIN_TOKEN", "OTEL_COLLECTOR_URL", "PORT", "PROM_ENDPOINT", "SENTRY_DSN"})


def test_every_variable_of_the_table_is_used() -> None:
    used = _named_in(lambda path: "guards" not in path.parts)
    assert NAMES - used - GUARDS_OWN == NOT_USED_YET


def test_every_variable_that_is_for_the_guards_or_for_later_is_checked_by_them() -> None:
    assert _named_in(lambda path: "guards" in path.parts) >= GUARDS_OWN | NOT_USED_YET


def test_the_table_says_of_each_variable_whether_it_is_used_yet() -> None:
    assert {variable.name for variable in VARIABLES if re.search(r"\byet\b", variable.meaning)} == NOT_USED_YET


def test_no_variable_is_read_that_is_not_in_the_table() -> None:
    asked = {pattern for path in _sources() for pattern in _asked_for(_tree(path))}
    assert len(asked) > 50
    assert {pattern for pattern in asked if not any(re.fullmatch(pattern, name) for name in NAMES)} == set()


def test_the_scan_sees_names_that_are_put_together() -> None:
    code = """
PATHS = ("A_IN_PATHS",)
def of(settings, slot, role):
    "DOC_STRING"
    settings.text("A_ONE")
    settings.needed(slot + "B_TWO")
    settings.number(f"C_{role.upper()}_THREE", 1, 2)
"""
    assert set(_patterns(ast.parse(code))) == {"A_ONE", "B_TWO", r"C_[A-Z0-9_]+_THREE"}
    assert set(_asked_for(ast.parse(code))) == {"A_ONE", "[A-Z_]*B_TWO", r"C_[A-Z0-9_]+_THREE"}


def _named_in(where: Callable[[Path], bool]) -> set[str]:
    """The variables that the sources `where` is true of name, whole or by their parts."""
    patterns = {pattern for path in _sources() if where(path) for pattern in _patterns(_tree(path))}
    patterns |= set(KEY_VARIABLES.values())
    whole = re.compile("|".join(f"(?:{pattern})" for pattern in sorted(patterns)))
    return {name for name in NAMES if whole.fullmatch(name)}


@cache
def _sources() -> tuple[Path, ...]:
    return tuple(
        found
        for path in sorted((ROOT / "finance").rglob("*.py"))
        if (found := path.relative_to(ROOT)) != TABLE and "workshop" not in found.parts
    )


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"))


def _patterns(tree: ast.Module) -> Iterator[str]:
    """Every text that could be a variable's name, as a pattern. A list of paths to make absolute is no use."""
    within = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for statement in tree.body:
        target: ast.expr | None = statement.target if isinstance(statement, ast.AnnAssign) else None
        if isinstance(statement, ast.Assign):
            target = statement.targets[0]
        if isinstance(target, ast.Name) and target.id == "PATHS":
            within |= {id(part) for part in ast.walk(statement)}
    for node in ast.walk(tree):
        pattern = None if id(node) in within and not isinstance(node, ast.JoinedStr) else _pattern(node)
        if pattern is not None and not (isinstance(node, ast.Constant) and _is_docstring(tree, node)):
            yield pattern


def _is_docstring(tree: ast.Module, node: ast.Constant) -> bool:
    return any(isinstance(parent, ast.Expr) and parent.value is node for parent in ast.walk(tree))


def _pattern(node: ast.expr | ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", node.value) else None
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
        if all(part is None or re.fullmatch(r"[A-Z0-9_]+", str(part)) for part in parts) and any(parts):
            return "".join("[A-Z0-9_]+" if part is None else str(part) for part in parts)
    return None


def _asked_for(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in READERS:
            continue
        for argument in node.args[:2]:  # the functions take the values first
            if isinstance(argument, ast.BinOp) and (pattern := _pattern(argument.right)) is not None:
                yield "[A-Z_]*" + pattern
            elif (pattern := _pattern(argument)) is not None:
                yield pattern
