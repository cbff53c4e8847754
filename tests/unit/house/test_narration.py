"""The order of side effects can be read where it happens: each numbered step of a service's docstring is a comment."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# Every module that tells its side effects as numbered steps. A new service is entered here, or the last test fails.
NARRATED = (
    "consumers/archive/archiver.py",
    "consumers/archive/manifest_lister.py",
    "consumers/audit/exporter.py",
    "consumers/audit/notary.py",
    "consumers/audit/restore.py",
    "consumers/personal/keeper.py",
    "consumers/reading/follower.py",
    "consumers/posting/poster.py",
    "consumers/posting/relay.py",
    "consumers/proving/live_checkpoints.py",
    "consumers/proving/prover.py",
    "consumers/reading/projector.py",
    "consumers/reading/rebuild.py",
    "consumers/recovery/rebuild.py",
    "consumers/recovery/replay.py",
    "finance/recovery/backup/base/create.py",
    "finance/recovery/backup/base/restore.py",
    "finance/recovery/backup/streaming/spool.py",
    "finance/recovery/backup/streaming/wal_signing.py",
    "finance/recovery/drill/run.py",
    "finance/recovery/rebuild.py",
    "finance/recovery/replay_into.py",
)
STEP = re.compile(r"^\s+(\d+)\. ([A-Z]{2,})\b", re.MULTILINE)
COMMENT = re.compile(r"^# (\d+)\. ([A-Z]{2,})\. \S")


def steps(source: str) -> list[tuple[int, str]]:
    docstring = ast.get_docstring(ast.parse(source), clean=False) or ""
    return [(int(number), word) for number, word in STEP.findall(docstring)]


def comments(source: str) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = (COMMENT.match(token.string) for token in tokens if token.type == tokenize.COMMENT)
    return sorted((int(match[1]), match[2]) for match in found if match)


@pytest.mark.parametrize("name", NARRATED)
def test_each_step_of_the_docstring_is_a_comment_where_it_happens(name: str) -> None:
    source = (ROOT / name).read_text()
    told = steps(source)
    assert [number for number, _ in told] == list(range(1, len(told) + 1))
    assert told
    assert comments(source) == told


def test_every_service_tells_its_steps() -> None:
    """A service is a class of `consumers` with a name and a step (`consumers.service.Service`)."""
    services = set()
    for path in sorted((ROOT / "consumers").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            named = any(isinstance(it, ast.Assign) and ast.unparse(it.targets[0]) == "name" for it in node.body)
            if named and any(isinstance(it, ast.FunctionDef) and it.name == "step" for it in node.body):
                services.add(str(path.relative_to(ROOT)))
    assert len(services) >= 4
    assert services - set(NARRATED) == set()


def test_whoever_tells_of_a_commit_point_numbers_the_steps_to_it() -> None:
    telling = {
        str(path.relative_to(ROOT))
        for room in ("consumers", "finance/recovery")
        for path in (ROOT / room).rglob("*.py")
        if "commit point" in (ast.get_docstring(ast.parse(path.read_text())) or "").lower()
    }
    assert telling - set(NARRATED) == set()
