"""What others wrote does nothing to an operator's terminal but stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from finance.cli.common import emit, table
from finance.cli.terminal import one_line, printable

ROOT = Path(__file__).parents[3]
HOSTILE = {
    "\x1b[2J": r"\x1b[2J",
    "\x9b31m": r"\x9b31m",
    "a\rb": r"a\rb",
    "\x07\x08": r"\x07\x08",
    "\x7f": r"\x7f",
    "\u202egnp.exe": r"\u202egnp.exe",
    "ad\u200ba": r"ad\u200ba",
    "[bold]x[/bold]": "[bold]x[/bold]",
    "asset:bank:main :x:": "asset:bank:main :x:",
    "Zoë ü ｆ": "Zoë ü ｆ",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_are_spelled(text: str) -> None:
    assert printable(text) == HOSTILE[text]


def test_words_in_a_line_of_ours_begin_no_other() -> None:
    assert one_line("ok\nposting   goes on\tx") == r"ok\nposting   goes on\tx"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_command_prints_them_raw_in_words_or_in_a_table(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    emit(False, {}, lambda console: console.print(text))
    emit(False, {}, lambda console: console.print(table((text,), [(text,)])))
    out = capsys.readouterr().out
    assert out.count(HOSTILE[text]) == 3
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out) is None


def test_the_words_of_every_command_go_through_one_console() -> None:
    makers = {
        path.name for path in (ROOT / "finance" / "cli").rglob("*.py") if "Console(file=sys.stdout" in path.read_text()
    }
    assert makers == {"common.py"}
