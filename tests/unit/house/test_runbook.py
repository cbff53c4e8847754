"""The runbook is read under stress: numbered steps, one command a step, what it prints; and it names what exists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SHEET = ROOT / "RUNBOOK.md"
PAGES = sorted((ROOT / "docs" / "runbook").glob("*.md"))
FLOORS = ("consumers", "finance", "ledger_core", "producers")
SOURCE = "\n".join(path.read_text("utf-8") for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py")))
SHEET_LINES_MAX = 100
PAGE_LINES_MAX = 300
STEP = re.compile(r"^(\d+)\. ")
FENCE = re.compile(r"^( *)```(\w*)$")
PRINTS_NOTHING = "prints nothing"
MESSAGES = "| the message says |"
NO_EVENTS = {"access.signing"}  # of topology.yaml
FILES = (".crt", ".key", ".pem", ".yaml", ".json", ".txt")
WORDS = re.compile(r"[a-zA-Z][a-zA-Z ,:;'`_-]+")
NOT_OURS = {"server started", "halted: False"}  # pg_ctl says the one; the other is a name and a value
NAMED_SECTION = re.compile(r"RUNBOOK(?:\.md)?,? (?:section )?(\d+)(?: ([A-F])\b)?")


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step of a procedure: its number, its lines, and whether a line of it stands outside its indent."""

    number: int
    lines: tuple[str, ...]

    def blocks(self, language: str) -> list[list[str]]:
        """The fenced blocks of that language, each as its lines."""
        found: list[list[str]] = []
        inside: str | None = None
        for line in self.lines:
            fence = FENCE.match(line)
            if fence:
                inside = None if inside is not None else fence.group(2)
                if inside == language:
                    found.append([])
            elif inside == language:
                found[-1].append(line.strip())
        return found


def procedures(text: str) -> dict[str, list[Step]]:
    """The steps below each heading."""
    found: dict[str, list[Step]] = {}
    lines: list[str] = []
    heading, fenced, number = "", False, 0

    def close() -> None:
        if number:
            found.setdefault(heading, []).append(Step(number, tuple(lines)))

    for line in text.splitlines():
        fenced ^= FENCE.match(line) is not None
        step = None if fenced else STEP.match(line)
        ends = not fenced and line and not line.startswith(" ") and FENCE.match(line) is None
        if step or (ends and number):
            close()
            lines, number = [], int(step.group(1)) if step else 0
        if not fenced and line.startswith("#"):
            heading = line.lstrip("# ")
        lines.append(line)
    close()
    return found


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_the_steps_of_a_procedure_are_numbered_from_one(path: Path) -> None:
    for heading, steps in procedures(path.read_text("utf-8")).items():
        assert [step.number for step in steps] == list(range(1, len(steps) + 1)), heading


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_every_command_stands_in_a_step_alone_with_what_it_prints(path: Path) -> None:
    text = path.read_text("utf-8")
    commands = 0
    for heading, steps in procedures(text).items():
        for step in steps:
            where = f"{heading}, step {step.number}"
            blocks = step.blocks("bash")
            commands += len(blocks)
            assert len(blocks) <= 1, f"{where}: one command a step"
            for block in blocks:
                assert len("\n".join(block).replace("\\\n", " ").splitlines()) == 1, f"{where}: one command a block"
                assert not re.search(r"&&|;|#", " ".join(block)), f"{where}: one command, without a remark"
                prints = step.blocks("text") or PRINTS_NOTHING in " ".join(step.lines)
                assert prints, f"{where}: show what the command prints"
    assert commands == len(re.findall(r"^ *```bash$", text, re.MULTILINE)), "a command stands outside of a step"


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_a_page_is_short_and_bears_the_number_of_its_section(path: Path) -> None:
    text = path.read_text("utf-8")
    number, letter = re.match(r"0?(\d+)([a-f]?)-", path.name).groups()  # type: ignore[union-attr]
    assert text.startswith(f"# {number}{' ' + letter.upper() if letter else ''}. ")
    assert len(text.splitlines()) <= PAGE_LINES_MAX


def test_the_on_call_sheet_is_one_page_and_leads_to_every_other() -> None:
    text = SHEET.read_text("utf-8")
    assert len(text.splitlines()) <= SHEET_LINES_MAX
    assert text.index("## On-call sheet") < text.index("## Index")
    linked = set(re.findall(r"\]\(docs/runbook/([\w.-]+)\)", text.split("## Index")[1]))
    assert linked == {path.name for path in PAGES}


def test_every_section_that_a_message_names_has_a_page() -> None:
    sections = {re.match(r"# (\d+)(?: ([A-F]))?\.", path.read_text("utf-8")).groups() for path in PAGES}  # type: ignore[union-attr]
    numbers = {number for number, _ in sections}
    named = {(number, letter or None) for number, letter in NAMED_SECTION.findall(SOURCE)}
    assert len(named) > 4
    assert {(n, letter) for n, letter in named if (n, letter) not in sections and (letter or n not in numbers)} == set()


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_every_log_event_named_is_logged(path: Path) -> None:
    text = path.read_text("utf-8")
    events = re.findall(r'"event":"([a-z_.]+)"', text) + re.findall(r"`([a-z]+\.[a-z_]+)`", text)
    unknown = {event for event in events if f'"{event}"' not in SOURCE and not event.startswith("finance.")}
    assert sorted(name for name in unknown - NO_EVENTS if not name.endswith(FILES)) == []


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_every_message_that_a_table_explains_is_said(path: Path) -> None:
    rows: list[str] = []
    inside = False
    for line in path.read_text("utf-8").splitlines():
        inside = line.startswith(MESSAGES) or (inside and line.startswith("|"))
        if inside and not line.startswith((MESSAGES, "|---")):
            rows.append(line.split("|")[1])
    phrases = [phrase for row in rows for phrase in re.findall(r'"([^"]+)"', row)]
    assert [phrase for phrase in phrases if phrase not in SOURCE] == []


@pytest.mark.parametrize("path", [SHEET, *PAGES], ids=[path.stem for path in [SHEET, *PAGES]])
def test_what_a_command_prints_is_printed_in_these_words(path: Path) -> None:
    """Lines without a figure: sentences, and the heads of tables, cell by cell. Figures are those of one day."""
    lines = [
        line.strip()
        for block in re.findall(r"^ *```text\n(.*?)^ *```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        for line in block.replace("operator:root", "").splitlines()
    ]
    worded = [line for line in lines if WORDS.fullmatch(line) and " " in line]
    said = [cell for line in worded for cell in re.split(r" {2,}", line)]
    assert [cell for cell in said if cell not in SOURCE and cell not in NOT_OURS] == []
