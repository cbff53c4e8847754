"""How the demo prints its story: headings and tables on stdout, progress on stderr, nothing but JSON with `--json`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from finance.workshop.demo.model import Cheat, DemoCheck, Stage, Summary
from finance.workshop.demo.route import STAGES, OnLook
from ledger_core.books.money import Money, format_major

CURRENCY: Final = "USD"
PIPE_WIDTH: Final = 200
WIDE: Final = 110  # columns from which five of a table can be read


class Teller:
    """Prints while it happens. `quiet`: only progress and notes, on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        self._out = Console(file=sys.stdout, highlight=False, quiet=quiet, width=width)
        self._err = Console(file=sys.stderr, highlight=False)

    def heading(self, text: str) -> None:
        self._out.print(f"\n[bold]{escape(text)}[/]")

    def say(self, text: str) -> None:
        self._out.print(f"  {escape(text)}", soft_wrap=True)

    def note(self, text: str) -> None:
        """A step of setting up, dimmed."""
        self._err.print(f"  [dim]{escape(text)}[/]", soft_wrap=True)

    @contextmanager
    def bars(self, entries: int) -> Iterator[OnLook]:
        """One bar a stage, each with its rate; on anything but a terminal, nothing."""
        with _progress(self._err) as progress:
            tasks = {name: progress.add_task(name, total=entries, unit=unit) for name, unit in STAGES.items()}

            def on_look(counts: Mapping[str, int], known_audit_events: int) -> None:
                for name, count in counts.items():
                    total = max(known_audit_events, 1) if name == "notarised" else entries
                    progress.update(tasks[name], completed=count, total=total)

            yield on_look

    @contextmanager
    def working(self, what: str) -> Iterator[Callable[[str], None]]:
        """A spinner that says what is being tried; on anything but a terminal, nothing."""
        with self._err.status(what) if self._err.is_terminal else _nothing() as status:
            yield (lambda text: status.update(escape(text))) if status is not None else (lambda _text: None)

    def summary(self, summary: Summary) -> None:
        """What a person can check."""
        for table in (_stages(summary.stages), _comparisons(summary), _trial_balance(summary), _shards(summary)):
            self._out.print(table)
            self._out.print()
        self.say(f"{summary.audit_events:,} audit events, signed and chained, on audit_events and finance.audit")

    def cheats(self, cheats: Sequence[Cheat]) -> None:
        """One row each; on a narrow terminal three lines each."""
        if self._out.width < WIDE:
            for cheat in cheats:
                code = "" if cheat.exit_code is None else f", exit {cheat.exit_code}"
                told = Table.grid(padding=(0, 0, 0, 2), pad_edge=True)
                told.add_row(_mark(cheat.caught), escape(cheat.tried))
                told.add_row("", f"[dim]caught by {escape(cheat.caught_by)}{code}[/]")
                told.add_row("", escape(cheat.finding))
                self._out.print(told)
            return
        table = _table("", "tried", "caught by", "exit", "finding", right=("exit",))
        table.columns[1].ratio, table.columns[4].ratio = 5, 8
        table.columns[2].min_width, table.columns[4].overflow = 13, "fold"  # an object's key is one long word
        for cheat in cheats:
            code = "-" if cheat.exit_code is None else str(cheat.exit_code)
            table.add_row(_mark(cheat.caught), *map(escape, (cheat.tried, cheat.caught_by, code, cheat.finding)))
        self._out.print(table)

    def checks(self, checks: Sequence[DemoCheck]) -> None:
        table = _table("", "command", "exit", "checked", right=("exit",))
        for check in checks:
            table.add_row(
                _mark(check.exit_code == 0), escape(check.command), str(check.exit_code), escape(check.looked_at)
            )
        self._out.print(table)

    def lines(self, steps: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Command lines, unwrapped, so that they can be copied."""
        for title, lines in steps:
            self._out.print(f"  [dim]# {escape(title)}[/]", soft_wrap=True)
            for line in lines:
                self._out.print(f"  {escape(line)}", soft_wrap=True)

    def ending(self, failures: Sequence[str], seconds: float) -> None:
        if failures:
            self._out.print(f"\n[bold red]{len(failures)} expectations failed[/] after {seconds:.0f} s")
            for failure in failures:
                self.say(failure)
        else:
            self._out.print(f"\n[bold green]Every check passed[/], in {seconds:.0f} s")


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description:10}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "")


def _table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 0, 0, 2))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    return table


def _mark(good: bool) -> str:
    return "[green]✓[/]" if good else "[bold red]✗[/]"


def _stages(stages: Sequence[Stage]) -> Table:
    table = _table("stage", "count", "unit", "done after", "rate", right=("count", "done after", "rate"))
    for stage in stages:
        rate = "-" if stage.per_second is None else f"{stage.per_second:,.0f}/s"
        table.add_row(stage.name, f"{stage.count:,}", stage.unit, f"{stage.done_seconds:.1f} s", rate)
    return table


def _comparisons(summary: Summary) -> Table:
    table = _table("", "computed anew from the sales data", "data", "ledger", right=("data", "ledger"))
    for line in summary.comparisons:
        show = _money if line.is_money else "{:,}".format
        table.add_row(_mark(line.equal), line.what, show(line.from_data), show(line.from_ledger))
    return table


def _trial_balance(summary: Summary) -> Table:
    table = _table("trial balance", "accounts", "debits", "credits", right=("accounts", "debits", "credits"))
    for line in summary.trial_balance:
        table.add_row(line.type, f"{line.accounts:,}", _money(line.debits), _money(line.credits))
    sums = [sum(getattr(line, name) for line in summary.trial_balance) for name in ("accounts", "debits", "credits")]
    table.add_row("total", f"{sums[0]:,}", _money(sums[1]), _money(sums[2]), style="bold")
    return table


def _shards(summary: Summary) -> Table:
    numbers = ("shard", "entries", "dup", "rejected", "proofs", "objects")
    table = _table(*numbers, "lock", "until", "head", right=numbers)
    table.columns[6].no_wrap = table.columns[7].no_wrap = True
    table.columns[8].overflow = "ellipsis"
    for shard in summary.shards:
        counts = (shard.shard, shard.entries, shard.duplicates, shard.rejected, shard.proofs, shard.objects)
        until = shard.retain_until.strftime("%Y-%m-%d") if shard.retain_until else "-"
        table.add_row(*(f"{n:,}" for n in counts), ", ".join(summary.modes), until, f"{shard.head_hash[:24]}…")
    return table


def _money(cents: int) -> str:
    """Dollars with separators."""
    whole, _, rest = format_major(Money(abs(cents), CURRENCY)).partition(".")
    return f"{'-' if cents < 0 else ''}{int(whole):,}.{rest}"
