"""The command line keeps its promises: help with examples, --json everywhere, an exit code for each kind of failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from finance.cli import main as cli_main
from finance.cli.findings import tell
from finance.cli.main import COMMANDS, cli, run
from finance.cli.operating.run import command as run_command
from ledger_core.errors import Corrupt, FinanceError, Refused, Rejected, RejectReason, Unavailable
from ledger_core.findings import Collector


def leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its path."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, (*path, name))
    else:
        yield path, command


ALL = list(leaves(cli, ()))
IDS = [" ".join(path) for path, _ in ALL]


@pytest.mark.parametrize(("path", "command"), ALL, ids=IDS)
def test_every_command_has_help_with_an_example_of_itself(path: tuple[str, ...], command: click.Command) -> None:
    text = command.help or ""
    examples = text.partition("Example")[2]
    assert f"finance {' '.join(path)}" in examples
    assert "\b" in text, "examples keep their lines with \\b"


@pytest.mark.parametrize(("path", "command"), ALL, ids=IDS)
def test_every_option_is_explained_and_json_is_there(path: tuple[str, ...], command: click.Command) -> None:
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert not [option.name for option in options if not option.help]
    assert "--json" in [text for option in options for text in option.opts]


def test_every_command_of_the_table_tells_what_its_module_tells() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name or isinstance(command, click.Group) or command.name == "command"


def test_run_names_every_process_of_the_topology() -> None:
    from schemas.topology.load import load_topology

    topology = load_topology(Path(__file__).parents[3] / "topology.yaml")
    assert set(run_command.commands) == {*topology.processes, "all"}


FAILURES: list[tuple[FinanceError, int, str]] = [
    (Refused("no bucket", remedy="make one"), 3, "refused"),
    (Unavailable("kafka", "no answer"), 4, "unavailable"),
    (Rejected(RejectReason.UNBALANCED, "off by 1"), 2, "rejected"),
    (Corrupt("a link is broken"), 1, "corrupt"),
]


@pytest.mark.parametrize(("error", "code", "kind"), FAILURES, ids=[kind for _, _, kind in FAILURES])
def test_each_kind_of_failure_has_its_exit_code_and_its_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: FinanceError, code: int, kind: str
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli_main.cli, "main", fail)
    assert run(["status"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"finance: {kind}: ")
    assert "Remedy: " in said.err
    assert said.err.count("\n") == 1
    assert run(["status", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert (told["error"]["kind"], told["error"]["exit_code"]) == (kind, code)
    assert told["error"]["remedy"]


def test_a_fault_of_the_program_is_not_mistaken_for_findings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(cli_main.cli, "main", fail)
    assert run(["status"]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nonsense"], ["migrate", "--nonsense"], ["halt"], ["balances", "--limit", "0"]])
def test_wrong_usage_exits_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run(arguments) == 2
    assert "usage" in capsys.readouterr().err.lower()
    assert run([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "usage"


def test_help_and_version_cost_no_heavy_import() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from finance.cli.main import run; assert run(['--help']) == run(['--version']) == 0; "
        "heavy = {'confluent_kafka', 'psycopg', 'boto3', 'rich'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_stands_in_events_and_objects_is_shown_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets are markup to the library that prints: one in an altered record would hide text, or end the command."""
    found = Collector()
    found.add("ledger.entry", "account '[/x]' is [bold]none", shard=0)
    with pytest.raises(click.exceptions.Exit):
        tell(found.report(), 1.0, as_json=False)
    assert "account '[/x]' is [bold]none" in capsys.readouterr().out
