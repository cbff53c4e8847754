"""What a check found, in words or JSON, with its exit code: every command that verifies ends here."""

from __future__ import annotations

from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table

from finance.cli.common import emit, table
from ledger_core.findings import Finding, Report

FINDINGS_SHOWN_MAX = 10  # of each code: one edit may contradict thousands of rows


def _first_of_each_code(report: Report) -> list[Finding]:
    """What a person can read: the first few of each code, in the order they were found."""
    seen: dict[str, int] = {}
    shown = []
    for finding in report.findings:
        seen[finding.code] = seen.get(finding.code, 0) + 1
        if seen[finding.code] <= FINDINGS_SHOWN_MAX:
            shown.append(finding)
    return shown


def findings_table(report: Report) -> Table:
    """The first few findings of each code."""
    rows = [(f.code, f.shard, f.seq, f.field, f.message, f.place) for f in _first_of_each_code(report)]
    return table(("finding", "shard", "seq", "field", "what", "in"), rows, right=("shard", "seq"))


def tell(
    report: Report,
    seconds: float,
    as_json: bool,
    more: Callable[[Console], None] = lambda _console: None,
    **fields: object,
) -> None:
    """The report in words or JSON, and `more` before its last word, or these fields. Raises Exit(1) on findings."""
    entries = report.counts.get("entries", 0)

    def words(console: Console) -> None:
        counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in report.counts.items()) or "nothing"
        rate = f", {entries / seconds:,.0f} entries/s" if entries and seconds > 0 else ""
        console.print(f"checked: {counts} in {seconds:.2f} s{rate}")
        more(console)
        if report.sound:
            console.print("sound: no findings", style="green")
            return
        shown = _first_of_each_code(report)
        console.print(findings_table(report))
        total = len(report.findings) + report.findings_beyond_max
        console.print(
            f"{total:,} findings"
            + (f", {len(shown)} shown; --json has the first thousand" if total > len(shown) else "")
        )

    result = {"ok": report.sound, **report.to_json(), **fields, "seconds": round(seconds, 3)}
    emit(as_json, result, words)
    if not report.sound:
        raise click.exceptions.Exit(1)
