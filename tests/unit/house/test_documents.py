"""What the documents say can be done, can be done: commands, options, variables and metrics named in them exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from finance.cli.main import cli
from finance.settings.variables import VARIABLES
from finance.telemetry.metric_list import METRICS
from ledger_core.errors import RejectReason

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if "finance " in path.read_text("utf-8")
)
RUNBOOK = [ROOT / "RUNBOOK.md", *sorted((ROOT / "docs" / "runbook").glob("*.md"))]
BLOCK = re.compile(r"^ *```(?:bash|sh|console)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(finance [a-z][^`\n]*)`")
PLACEHOLDER = re.compile(r"[<|…]|\.\.\.")


def command_lines(text: str) -> Iterator[str]:
    """Every `finance ...` in code blocks of a shell, and between backquotes."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||[|;&]|\$\(", line.strip().removeprefix("$ ")):
                words = part.strip().removeprefix("python -m ").removeprefix(".venv/bin/")
                if words.startswith("finance "):
                    yield re.sub(r'\)"?$', "", words)  # the end of "$(finance ...)"
    for inline in INLINE.findall(text):
        if not PLACEHOLDER.search(inline):
            yield inline


NAMED = sorted({(path.name, line) for path in DOCUMENTS for line in command_lines(path.read_text("utf-8"))})


def find(words: list[str]) -> tuple[click.Command, click.Context, list[str]]:
    """The command that the words name, and what follows it."""
    command: click.Command = cli
    context = click.Context(cli, info_name="finance")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        context = click.Context(found, info_name=words[0], parent=context)
        command, words = found, words[1:]
    return command, context, words


@pytest.mark.parametrize(("document", "line"), NAMED, ids=[f"{document}: {line}" for document, line in NAMED])
def test_every_command_named_in_a_document_exists_with_its_options(document: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command, context, rest = find(words)
    values, _, _ = command.make_parser(context).parse_args(list(rest))
    if rest:
        missing = [
            p.name for p in command.params if p.required and isinstance(p, click.Option) and not values.get(p.name)
        ]
        assert not missing, f"{document}: {line} needs {missing}"


def test_the_runbook_is_looked_at() -> None:
    names = {path.name for path in RUNBOOK}
    assert len([line for document, line in NAMED if document in names]) > 60


@pytest.mark.parametrize("path", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_every_metric_named_in_a_document_is_exported(path: Path) -> None:
    known = {metric.name for metric in METRICS}
    roles = {
        f"finance_{role}"
        for role in (
            "migrator",
            "poster",
            "prover",
            "archiver",
            "notary",
            "keeper",
            "projector",
            "reading",
            "api",
            "auditor",
            "backup",
        )
    }
    named = set(re.findall(r"\bfinance_[a-z_]+\b", path.read_text("utf-8")))
    assert {name for name in named if name not in roles and "_ledger-" not in name} <= known


def test_every_reason_an_alert_names_is_a_reason() -> None:
    named = {name for path in RUNBOOK for name in re.findall(r'reason="([a-z_]+)"', path.read_text("utf-8"))}
    assert named
    assert named <= {*RejectReason}


def test_every_variable_named_in_the_runbook_is_in_the_table_or_said_not_to_be_there_yet() -> None:
    text = "\n\n".join(path.read_text("utf-8") for path in RUNBOOK)
    name = re.compile(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?=[=`])")
    not_yet = set(name.findall(" ".join(re.findall(r"\*\*Not yet\*\*.*?(?:\n\n|\Z)", text, re.DOTALL))))
    known = {variable.name for variable in VARIABLES} | not_yet | {"RSA_2048", "HMAC_256", "GENERATE_VERIFY_MAC"}
    assert set(name.findall(text)) <= known
