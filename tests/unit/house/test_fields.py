"""Each field of a struct that rooms share says what it is: unit, bound inclusive or not, who sets it.

A frozen, public struct counts as shared. Its field is documented by a comment on its line or above it, or by its name
in backticks in the class docstring. A field that is named as its type (`registry: SignerRegistry`) is described there.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
FLOORS = ("ledger_core", "schemas", "producers", "consumers", "finance")
WORKSHOP = ROOT / "finance" / "workshop"  # its structs are seen by no other room, and stored nowhere


def test_each_field_of_a_shared_struct_is_described() -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{struct.name}.{name}"
        for floor in FLOORS
        for path in sorted((ROOT / floor).rglob("*.py"))
        if WORKSHOP not in path.parents
        for struct in _shared(path)
        for name in _silent(struct, path.read_text().splitlines())
    ]
    assert silent == []


def test_the_scan_sees_a_silent_field() -> None:
    source = '@dataclass(frozen=True)\nclass Range:\n    """`last` is inclusive."""\n    first: int\n    last: int\n'
    (struct,) = ast.parse(source).body
    assert isinstance(struct, ast.ClassDef)
    assert _is_frozen(struct)
    assert _silent(struct, source.splitlines()) == ["first"]


def test_a_field_named_as_its_own_type_needs_no_more_words() -> None:
    (struct,) = ast.parse("class Task(NamedTuple):\n    job: RebuildJob\n    registry: Path\n    env: str\n").body
    assert isinstance(struct, ast.ClassDef)
    assert _silent(struct, [""] * 4) == ["registry", "env"]


def _shared(path: Path) -> list[ast.ClassDef]:
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and _is_frozen(node)
    ]


def _is_frozen(struct: ast.ClassDef) -> bool:
    if any("NamedTuple" in ast.unparse(base) for base in struct.bases):
        return True
    if any(word.arg == "frozen" for word in struct.keywords):
        return True
    return any("frozen=True" in ast.unparse(decorator) for decorator in struct.decorator_list)


def _is_its_type(name: str, kind: str) -> bool:
    """`registry: SignerRegistry`: the type is a struct or class of ours, which describes itself."""
    return kind[:1].isupper() and kind.isalnum() and kind.lower().endswith(name.replace("_", ""))


def _silent(struct: ast.ClassDef, lines: list[str]) -> list[str]:
    doc = ast.get_docstring(struct) or ""
    found = []
    for field in struct.body:
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        name = field.target.id
        kind = ast.unparse(field.annotation)
        if name.startswith("_") or "ClassVar" in kind or f"`{name}`" in doc or _is_its_type(name, kind):
            continue
        own = lines[field.lineno - 1 : field.end_lineno]
        if not any("#" in line for line in own) and not lines[field.lineno - 2].strip().startswith("#"):
            found.append(name)
    return found
