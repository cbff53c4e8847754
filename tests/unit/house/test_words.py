"""Plain words: what an operator or a newcomer reads has no riddles, and each of a few verbs has one meaning.

Scanned are comments, docstrings and texts of the product, the documents, and the files under deploy/. Code between
backticks is not prose. Not scanned: migrations and golden files, which never change, and docs/decisions, which record
what was said then.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FLOORS = ("consumers", "finance", "ledger_core", "producers", "schemas")
# What is not written, and what is written instead.
BANNED = (
    (r"(?<!there )\b(?:is|are|was|were) (?-i:none)\b(?! of)", "say what it is not: 'is not a range proof'"),
    (
        r"(?<!there )\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|earlier\b|later\b|one\b)",
        "'is not a', 'are not'",
    ),
    (r"\bof (?:meanwhile|nobody)\b", "name the time or the person with a subject and a verb"),
    (r"\bof that moment\b", "'at that time'"),
    (r"\bhangs? on\b", "'depends on'"),
    (r"\bhigh[- ]watermark\b", "Kafka's word for where a partition ends: end offset"),
    (
        r"\b(?:another|earlier|later|newest|wanted|same) (?:life|lives)\b|\blife of (?:a|the) (?:cluster|database)\b",
        "Postgres's word is timeline; a period of a database is an epoch",
    ),
    (
        r"\b(?:tells?|telling|told)\b(?!.{0,40}\bapart\b)",
        "'tell' means to tell two things apart; else: report, log, say, show, announce, call",
    ),
    (
        r"\blook(?:s|ed|ing)?\b(?!-up| up\b|ups?\b| like\b|s? wrong, incident)",
        "'look' means to look something up, or to look like; else: check, read, search, seem",
    ),
    (
        r"\bhold(?:s|ing)? together\b|\bholds? (?:up|back|on to)\b|\b(?:signature|proof|everything) holds\b"
        r"|\b(?:does|do|did) not hold(?: together\b| is\b| stops\b|[.:;,])|\bwhat must hold\b",
        "'hold' means to keep or contain; else: is true, is sound, is right, delays",
    ),
)
CODE = re.compile(r"``.*?``|`[^`]*`")


def _fragments(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Texts of a tree, with {} for what is computed; single words and keys are no prose."""
    if isinstance(node, ast.JoinedStr):
        yield node.lineno, "".join(str(it.value) if isinstance(it, ast.Constant) else "{}" for it in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
        yield node.lineno, node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _fragments(child)


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Comments; lines of a block are joined, because a phrase may begin on one and end on the next."""
    block: list[str] = []
    begin = last = -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        alone = token.line.lstrip().startswith("#")
        if block and not (alone and token.start[0] == last + 1):
            yield begin, " ".join(block)
            block = []
        begin, last = (token.start[0] if not block else begin), token.start[0]
        block.append(token.string.lstrip("# "))
    if block:
        yield begin, " ".join(block)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    source = path.read_text("utf-8")
    if path.suffix == ".py":
        yield from _comments(source)
        yield from _fragments(ast.parse(source))
        return
    line = 1
    for paragraph in re.split(r"(\n[ \t]*\n)", source):
        yield line, paragraph
        line += paragraph.count("\n")


def faults(text: str) -> list[str]:
    plain = " ".join(CODE.sub("`…`", text).split())
    return [
        f"{match.group()!r} in '…{plain[max(0, match.start() - 30) : match.end() + 30]}…': {instead}"
        for pattern, instead in BANNED
        for match in re.finditer(pattern, plain, re.IGNORECASE)
    ]


def _scanned() -> list[Path]:
    patterns = [*(f"{floor}/**.py" for floor in FLOORS), "*.md", "docs/**.md", "deploy/**", "topology.yaml"]
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.splitlines() if not name.startswith(("tests/", "docs/decisions/"))]
    return [ROOT / name for name in names if (ROOT / name).exists() and name.endswith((".py", ".md", ".yaml"))]


def test_no_riddle_is_left_in_what_people_read() -> None:
    scanned = _scanned()
    assert len(scanned) > 400
    found = [
        f"{path.relative_to(ROOT)}:{line}: {fault}"
        for path in scanned
        for line, text in prose(path)
        for fault in faults(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "riddle",
    [
        "its proof is none",
        "the key is no key of ours",
        "a halt of meanwhile",
        "its end of that moment",
        "it hangs on the topic",
        "the high watermark",
        "another life of the cluster",
        "the log tells whom to trust",
        "look at that address",
        "what must hold",
        "a range that does not hold is named",
    ],
)
def test_the_scan_sees_a_riddle(riddle: str) -> None:
    assert len(faults(riddle)) == 1, riddle


@pytest.mark.parametrize(
    "plain",
    [
        "None when there is none",
        "it is no longer there",
        "the parts are told apart by name",
        "a key that looks like an integer is looked up once",
        "the lock is held; the archive does not hold it",
        "a parameter named `tell`",
    ],
)
def test_the_scan_leaves_plain_words_alone(plain: str) -> None:
    assert faults(plain) == []


def test_a_phrase_over_two_lines_is_one_phrase(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text('"""Its proof is\nnone."""\n# it hangs\n# on that\nX = f"{1} is none"\n')
    assert sum(len(faults(text)) for _, text in prose(path)) == 3
