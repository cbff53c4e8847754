"""What every attempt to cheat shares: asking `finance verify` and judging its answer."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from finance.workshop.demo.ledger import DemoAnswer, DemoLedger, FindingReport
from finance.workshop.demo.model import Cheat, DemoCheck
from ledger_core.books.entries import JournalEntry, encode_entry

EXIT_FINDINGS = 1


def by_verification(
    tried: str, ledger: DemoLedger, arguments: tuple[str, ...], names: Callable[[FindingReport], bool]
) -> Cheat:
    """Ask `finance verify ARGUMENTS`: caught when it ends 1 and a finding names what was done (`names`)."""
    answer = ledger.finance("verify", *arguments)
    named = [finding for finding in answer.told.findings if names(finding)]
    shown = named or answer.told.findings
    text = words_of(shown[0]) if shown else _nothing(answer)
    caught = answer.exit_code == EXIT_FINDINGS and bool(named)
    return Cheat(tried, f"finance verify {arguments[0]}", answer.exit_code, text, caught)


def check(ledger: DemoLedger, *arguments: str) -> DemoCheck:
    """A verification that must find nothing."""
    answer = ledger.finance("verify", *arguments)
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in answer.told.counts.items())
    findings = "; ".join(words_of(finding) for finding in answer.told.findings[:3])
    return DemoCheck(
        answer.command, answer.exit_code, findings or (counts if answer.exit_code == 0 else _nothing(answer))
    )


def dearer(entry: JournalEntry) -> bytes:
    """The canonical bytes of the same entry with a hundred dollars more on both sides: balanced, and wrong."""
    lines = list(entry.lines)
    for side in ("debit", "credit"):
        number = next(n for n, line in enumerate(lines) if line.side == side)
        raised = str(int(lines[number].amount_minor) + 100_00)
        lines[number] = msgspec.structs.replace(lines[number], amount_minor=raised)
    return encode_entry(msgspec.structs.replace(entry, lines=tuple(lines)))


def words_of(finding: FindingReport) -> str:
    """One line: what, then where."""
    where = (("shard", finding.shard), ("seq", finding.seq), ("field", finding.field), ("in", finding.place))
    named = ", ".join(f"{name} {value}" for name, value in where if value is not None)
    return f"{finding.code}: {finding.message}" + (f" ({named})" if named else "")


def _nothing(answer: DemoAnswer) -> str:
    return answer.told.error.message if answer.told.error is not None else "no finding"
