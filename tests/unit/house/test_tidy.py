"""The house rules that a machine can check, over every file git tracks: sizes, docstrings, nothing left behind."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 60
PRODUCT = ("consumers", "finance", "ledger_core", "producers", "schemas")
LEFT_BEHIND = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|breakpoint\(\)")
SKIPPED = re.compile(r"pytest\.(skip|xfail)|mark\.(skip|skipif|xfail)|importorskip")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).exists()]


def product_files() -> list[Path]:
    return [path for path in tracked("*.py") if path.relative_to(ROOT).parts[0] in PRODUCT]


def test_there_are_files_to_check() -> None:
    assert len(product_files()) > 100


def test_no_file_is_longer_than_can_be_read_whole() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in tracked("*.py", "*.sql")}
    assert {name: size for name, size in sizes.items() if size > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {}
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}


def test_every_module_opens_with_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT)) for path in product_files() if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


@pytest.mark.parametrize(("pattern", "where"), [(LEFT_BEHIND, PRODUCT), (SKIPPED, ("tests",))], ids=["left", "skipped"])
def test_nothing_is_left_unfinished_or_skipped(pattern: re.Pattern[str], where: tuple[str, ...]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked("*.py", "*.sql")
        if path.relative_to(ROOT).parts[0] in where and path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_what_is_compiled_exists_and_holds_no_struct() -> None:
    """A class that msgspec builds loses its options when compiled; the list of hot modules must not name one."""
    from finance.settings.compiled import HOT

    for source in HOT:
        assert "msgspec.Struct" not in (ROOT / source).read_text(), source


def test_nothing_names_the_machine_it_was_written_on() -> None:
    forbidden = re.compile(r"/(work|root|home/\w+)/")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked()
        if path != Path(__file__) and path.suffix not in {".parquet", ".bin"}
        for match in forbidden.finditer(path.read_text(errors="ignore"))
    ]
    assert found == []
