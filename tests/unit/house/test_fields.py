"""Each field of a struct that rooms share says what it is: unit, bound inclusive or not, who sets it.

A frozen, public struct counts as shared. Its field is documented by a comment on its line or above it, or by its name
in backticks in the class docstring.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
FLOORS = ("ledger_core", "schemas", "consumers")
# Another change is reshaping these at the moment; each leaves the list when its fields are described.
WAITING = frozenset(
    {
        "consumers/archive/archiver.py",
        "consumers/audit/exporter.py",
        "consumers/audit/restore.py",
        "consumers/posting/batch_transaction.py",
        "consumers/posting/poster.py",
        "consumers/posting/relay.py",
        "consumers/proving/on_demand.py",
        "consumers/proving/prover.py",
        "consumers/proving/published_guard.py",
        "ledger_core/posting/store_port.py",
    }
)


def test_each_field_of_a_shared_struct_is_described() -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{struct.name}.{name}"
        for floor in FLOORS
        for path in sorted((ROOT / floor).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in WAITING
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


def test_no_file_waits_that_is_gone() -> None:
    assert [name for name in sorted(WAITING) if not (ROOT / name).exists()] == []


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


def _silent(struct: ast.ClassDef, lines: list[str]) -> list[str]:
    doc = ast.get_docstring(struct) or ""
    found = []
    for field in struct.body:
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        name = field.target.id
        if name.startswith("_") or "ClassVar" in ast.unparse(field.annotation) or f"`{name}`" in doc:
            continue
        own = lines[field.lineno - 1 : field.end_lineno]
        if not any("#" in line for line in own) and not lines[field.lineno - 2].strip().startswith("#"):
            found.append(name)
    return found
