"""Checking the request log of a signing proxy: every line, its number, its link; and where a known head stands.

Guarantees: a line that was changed, taken out, put in or moved is named by its number; a torn line is sound only when
the next record names it. Reads as a stream, in one pass. Does not: notice records cut off at the end, unless it is
given a head that was noted elsewhere (`GET /health` tells it): then it must still be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from finance.signing_proxy.request_log import NO_RECORD, LogHead, parse_line, torn_hash

FINDINGS_MAX: Final = 100


@dataclass(slots=True)
class LogReport:
    """What a log holds. `unfinished`: asked for, with no outcome on record (a crash in between): maybe signed."""

    records: int = 0
    head: LogHead = NO_RECORD
    events: Counter[str] = field(default_factory=Counter)
    unfinished: set[str] = field(default_factory=set)
    findings: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.findings


def verify_log(
    lines: Iterable[bytes], *, known: LogHead | None = None, on_bytes: Callable[[int], None] = lambda _: None
) -> LogReport:
    """Check every line (LF included). `known` is a head that must be in it."""
    report = LogReport()
    broken: list[bytes] = []  # lines that are no records, and wait for the one that names them
    known_found = known is None
    number, line = 0, b"\n"
    for number, line in enumerate(lines, 1):
        on_bytes(len(line))
        record = parse_line(line.removesuffix(b"\n"))
        if record is None or not line.endswith(b"\n"):
            broken.append(line.removesuffix(b"\n"))
            continue
        torn = record.get("torn_sha256") if record.get("event") == "recovered" else None
        if torn != (torn_hash(broken) if broken else None):
            _find_broken(report, number - len(broken), len(broken))
            if not broken:
                _find(report, f"line {number}: names a torn line where there is none")
        broken = []
        _link(report, record, number)
        known_found = known_found or (known is not None and report.head == known)
    if not line.endswith(b"\n"):
        broken.pop()
        _find(report, f"line {number}: has no end (torn by a crash; the next start names it, or it is being written)")
    _find_broken(report, number + 1 - len(broken) - (not line.endswith(b"\n")), len(broken))
    if not known_found and known is not None:
        _find(report, f"the known head {known.seq}:{(known.hash or b'').hex()} is not in it: cut off, or written anew")
    return report


def _link(report: LogReport, record: dict[str, str], number: int) -> None:
    seq = int(record["seq"])
    previous = report.head.hash
    if record.get("prev_hash") != (None if previous is None else previous.hex()):
        _find(report, f"line {number}: record {seq} does not follow record {report.head.seq}")
    elif seq != report.head.seq + 1:
        _find(report, f"line {number}: record {seq} comes after record {report.head.seq}")
    report.records += 1
    report.head = LogHead(seq, bytes.fromhex(record["hash"]))
    event = record.get("event", "")
    report.events[event] += 1
    if event == "asked":
        report.unfinished.add(record["seq"])
    report.unfinished.discard(record.get("asked_seq", ""))


def _find_broken(report: LogReport, first: int, count: int) -> None:
    for number in range(first, first + count):
        _find(report, f"line {number}: no record, or its hash does not fit")


def _find(report: LogReport, finding: str) -> None:
    if len(report.findings) < FINDINGS_MAX:
        report.findings.append(finding)
