"""README and CONTRIBUTING keep their word: links lead somewhere, targets exist, code runs, lines are CHECK.sh's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from finance.workshop.demo.check_script import steps
from ledger_core.books.sales import settlement_of
from ledger_core.books.settlements import record_from_event
from ledger_core.posting.rules import draft

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ARCHITECTURE.md", "RUNBOOK.md")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_links_lead_to_files_that_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"\b(docs/[A-Z_]+\.md)\b", text)
    assert not [name for name in linked if not (path.parent / name).exists()]
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("path", DOCUMENTS[:2], ids=["README.md", "CONTRIBUTING.md"])
def test_make_targets_named_exist(path: Path) -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", path.read_text("utf-8"), re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_the_readmes_sale_is_one_that_the_poster_would_post() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    before, published, _ = code.partition("with SettlementPublisher(")
    assert published
    names: dict[str, Any] = {}
    exec(compile(before, "README.md", "exec"), names)
    event = settlement_of(names["sale"])
    draft(record_from_event(event), event.settlement_id.encode())


def test_the_readmes_check_lines_are_those_of_the_script() -> None:
    lines = {line for _, group in steps("KID", "ed25519") for line in group}
    (block,) = re.findall(r"Its heart:\n\n```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert set(block.splitlines()) <= lines
    assert "openssl" in block
    assert "-pkeyopt digest:sha256" in " ".join(line for _, group in steps("KID", "rsa-sha256") for line in group)
