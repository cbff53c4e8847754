"""`finance dev`: the development stack of real servers, by name, side by side with others.

State lies in `.finance/<name>/` below the current directory; every command works on one stack, or with --all on all.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

from finance.cli.common import emit, json_option, table
from finance.settings.extras import install_command
from ledger_core.errors import Refused

if TYPE_CHECKING:
    from finance.workshop.devstack import ServiceStatus, Stack

F = TypeVar("F", bound=Callable[..., Any])
_ROOT = Path(".finance")

name_option: Callable[[F], F] = click.option(
    "--name", default="dev", envvar="FINANCE_STACK", show_envvar=True, show_default=True, help="Which stack."
)
all_option: Callable[[F], F] = click.option("--all", "every", is_flag=True, help="Every stack of this checkout.")


@click.group()
def command() -> None:
    """Start, stop and show the development stack: Postgres, Kafka, S3 with Object Lock, and the KMS API.

    Real servers from ordinary packages, on 127.0.0.1 only. They run on until `finance dev down`.

    \b
    Examples:
      finance dev up
      finance dev status
      eval "$(finance dev env)"
      finance dev down --all
    """


@command.command()
@name_option
@click.option("--services", default="", help="Only these, by commas: postgres,kafka,s3,kms. Default: all four.")
@click.option("--secure", is_flag=True, help="Mutual TLS on every port; kept for the life of the stack.")
@json_option
def up(name: str, services: str, secure: bool, as_json: bool) -> None:
    """Start what does not run yet, and wait until it is ready. Ports and data are those of the last time.

    With --secure a throw-away certificate authority is made below .finance/NAME/tls: every server asks for a client
    certificate, Kafka for ACLs too (finance topics apply), Postgres maps the certificate's name to its role.

    \b
    Examples:
      finance dev up --name mine --services postgres,kafka
      finance dev up --name safe --secure
    """
    devstack = _devstack()
    began = time.monotonic()
    wanted = [service.strip() for service in services.split(",") if service.strip()]
    stack = devstack.Stack.up(name, _ROOT, wanted or devstack.SERVICES, say=_progress, secure=secure)
    seconds = round(time.monotonic() - began, 1)

    def words(console: Console) -> None:
        console.print(f"stack {name!r} is ready after {seconds} s; its settings are in {stack.place.env_file}")

    emit(as_json, {"ok": True, "name": name, "ready_seconds": seconds, "services": _services(stack)}, words)


@command.command()
@name_option
@all_option
@json_option
def down(name: str, every: bool, as_json: bool) -> None:
    """Stop the servers cleanly. Data and ports stay for the next `up`.

    \b
    Example:
      finance dev down --all
    """
    stacks = _stacks(name, every)
    for stack in stacks:
        stack.down()
    _tell_stacks(stacks, "stopped", as_json)


@command.command()
@name_option
@all_option
@json_option
def status(name: str, every: bool, as_json: bool) -> None:
    """Show each server: pid, port, uptime, memory, and whether it answers. Exit 1 when one does not.

    \b
    Example:
      finance dev status --json
    """
    shown = {stack.name: stack.status() for stack in _stacks(name, every)}
    healthy = all(server.healthy for servers in shown.values() for server in servers) and (every or bool(shown[name]))

    def words(console: Console) -> None:
        rows = [(stack, *_row(server)) for stack, servers in shown.items() for server in servers]
        columns = ("stack", "service", "pid", "port", "uptime", "memory", "health")
        if rows:
            console.print(table(columns, rows, right=("pid", "port", "uptime", "memory")))
        else:
            console.print("there is no stack" if every else f"there is no stack {name!r}: finance dev up --name {name}")

    result = {stack: [asdict(server) for server in servers] for stack, servers in shown.items()}
    emit(as_json, {"ok": healthy, "stacks": result}, words)
    if not healthy:
        raise click.exceptions.Exit(1)


@command.command()
@name_option
@all_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def reset(name: str, every: bool, yes: bool, as_json: bool) -> None:
    """Stop the servers and wipe all their data, keys and logs.

    \b
    Example:
      finance dev reset --name mine --yes
    """
    stacks = _stacks(name, every)
    if not yes:
        click.confirm(f"Wipe {', '.join(stack.name for stack in stacks) or 'nothing'}?", abort=True, err=True)
    for stack in stacks:
        stack.remove()
    _tell_stacks(stacks, "wiped", as_json)


@command.command()
@name_option
@json_option
def env(name: str, as_json: bool) -> None:
    """Print the stack's settings as shell exports: for programs that do not read them from the stack themselves.

    \b
    Example:
      eval "$(finance dev env)"
    """
    (stack,) = _stacks(name, every=False)
    if not stack.place.env_file.exists():
        raise Refused(f"stack {name!r} is not up", remedy=f"run `finance dev up --name {name}`")
    settings = stack.env

    def words(_console: Console) -> None:
        for key, value in settings.items():
            click.echo(f"export {key}={shlex.quote(value)}")

    emit(as_json, settings, words)


def _devstack() -> Any:
    """The package is imported late: a production image has no servers in it, and says so instead of failing."""
    try:
        from finance.workshop import devstack
    except ModuleNotFoundError as error:
        raise Refused(
            f"the development stack is not installed ({error.name} is missing)",
            remedy=install_command("devstack"),
        ) from error
    return devstack


def _stacks(name: str, every: bool) -> list[Stack]:
    devstack = _devstack()
    return [devstack.Stack(each, _ROOT, say=_progress) for each in (devstack.names(_ROOT) if every else [name])]


def _services(stack: Stack) -> list[dict[str, object]]:
    return [asdict(server) for server in stack.status()]


def _tell_stacks(stacks: list[Stack], done: str, as_json: bool) -> None:
    names = [stack.name for stack in stacks]

    def words(console: Console) -> None:
        console.print(f"{done}: {', '.join(names) or 'there is no stack'}")

    emit(as_json, {"ok": True, done: names}, words)


def _progress(message: str) -> None:
    click.echo(message, err=True)


def _row(server: ServiceStatus) -> tuple[object, ...]:
    health = "healthy" if server.healthy else "NOT HEALTHY"
    uptime, memory = _uptime(server.uptime_seconds), _mib(server.memory_bytes)
    return server.service, server.pid or "-", server.port, uptime, memory, health


def _uptime(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m{rest:02d}s"


def _mib(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / 2**20:.0f} MiB"


if __name__ == "__main__":
    command(prog_name="finance dev")
