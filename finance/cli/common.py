"""What every command shares: its settings, its output in words or JSON, its progress bar, and who is asking.

Guarantees: results go to stdout, everything else to stderr; progress bars show on a terminal only.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from schemas.topology.load import Topology

from finance.cli.terminal import printable
from finance.settings.deployment import Settings
from finance.telemetry.log_lines import log_to_stderr
from ledger_core.audit.admission import checked_reason

PIPE_WIDTH: Final = 240

F = TypeVar("F", bound=Callable[..., Any])

json_option: Callable[[F], F] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout instead of words."
)


def load_settings() -> Settings:
    """The settings of this environment. Raises Refused."""
    log_to_stderr()
    return Settings.from_env(os.environ, Path.cwd())


def load_topology_of(settings: Settings) -> Topology:
    """The topology of this deployment, topic prefix applied. Raises Refused."""
    from schemas.topology.load import load_topology  # here, so that commands without topics start sooner

    return load_topology(settings.topology_path, topic_prefix=settings.topic_prefix)


def operator(settings: Settings) -> str:
    """Who stands on the audit chain for what an operator does: `operator:<name>`. Raises Refused."""
    from finance.settings.operators import operator_name  # here, so that commands without an operator start sooner

    return f"operator:{operator_name(settings)}"


def for_the_chain(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """A click callback: words that will stand on the audit chain, before anything is done. Raises Refused."""
    return checked_reason(value) if value else value


reason_option = click.option(
    "--reason", required=True, callback=for_the_chain, help="Why: one line, for the audit chain."
)


class _PlainConsole(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def stdout_console(*, soft_wrap: bool = False) -> Console:
    """For the result of a command, in words. `[...]` in them comes from events and objects, and is not our markup."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH  # a table cut off helps nobody behind a pipe
    return _PlainConsole(file=sys.stdout, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False, width=width)


def emit(as_json: bool, result: object, words: Callable[[Console], None]) -> None:
    """Say the result: as one JSON object, or in words by `words`, which are plain text."""
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(result, default=_plain, option=orjson.OPT_INDENT_2) + b"\n")
        sys.stdout.buffer.flush()
    else:
        words(stdout_console(soft_wrap=True))


def table(columns: Iterable[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A plain table; the columns named in `right` are right-aligned (numbers)."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def progress_on_terminal(unit: str) -> Progress:
    """A progress bar with a rate on stderr; on anything but a terminal it shows nothing."""
    console = Console(file=sys.stderr)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


@contextmanager
def counting(description: str, unit: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function that moves the bar on by a count. `total` None: not known beforehand."""
    with progress_on_terminal(unit) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def byte_progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function that moves a bar of bytes on, with its rate and, when the total is known, the time left."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)


class _RateColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {self._unit}/s" if speed else "")


def moment_of(text: str) -> dt.datetime:
    """Read a day (`2025-11-01`: its first moment, UTC) or an RFC 3339 time; without a zone it is UTC.

    Raises click.BadParameter.
    """
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a day (2025-11-01) nor a time (2025-11-01T12:00:00Z)") from None
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def is_day(text: str) -> bool:
    """Whether the text names a day and not a time."""
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True


class Moment(click.ParamType[dt.datetime]):
    """An option that is a day (its first moment, UTC) or a time."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        if isinstance(value, dt.datetime):
            return value
        try:
            return self.moment(str(value))
        except click.BadParameter as error:
            return self.fail(error.message, param, ctx)

    def moment(self, text: str) -> dt.datetime:
        """The moment that the text names. Raises click.BadParameter."""
        return moment_of(text)


class EndMoment(Moment):
    """An option that ends a stretch of time: a day is included, as people mean it; a time is not included.

    So `--from 2025-11-01 --to 2025-11-30` is the whole of November, and `--to 2025-12-01T00:00:00Z` says the same.
    """

    def moment(self, text: str) -> dt.datetime:
        """The first moment that does not belong to the stretch. Raises click.BadParameter."""
        moment = moment_of(text)
        if not is_day(text):
            return moment
        try:
            return moment + dt.timedelta(days=1)
        except OverflowError:
            raise click.BadParameter(f"{text!r} has no day after it") from None


def utc(moment: dt.datetime) -> str:
    """RFC 3339, UTC, seconds."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _plain(value: object) -> object:
    """What orjson does not know: bytes as lower-case hex, exact numbers and paths as text."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)
