"""Checking the request log of a signing proxy: every line, its number, its link; its seals; where a known head stands.

Guarantees: a line that was changed, taken out, put in or moved is named by its number; a torn line is sound only when
the next record names it. With the key of the seals, the newest one is right: it is over the chain's head at that time,
so that everything before it is as it was sealed; and no stretch is longer than the proxy leaves unsealed. Reads as a
stream, in one pass. Does not: notice records cut off at the end, unless it is given a head that was noted elsewhere
(`GET /health` shows it): then it must still be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from finance.signing_proxy.log_seal import GAP_RECORDS_MAX, SEALED, Seal, seal_of
from finance.signing_proxy.request_log import NO_RECORD, TORN_BYTES_MAX, LogHead, Record, parse_line, torn_hash

FINDINGS_MAX: Final = 100


@dataclass(slots=True)
class LogReport:
    """What a log holds. `unfinished`: asked for, with no outcome on record (a crash in between): maybe signed.
    `sealed` is the newest seal, whose MAC is checked only where the key was given."""

    records: int = 0
    head: LogHead = NO_RECORD
    sealed: Seal | None = None
    events: Counter[str] = field(default_factory=Counter)
    unfinished: set[str] = field(default_factory=set)
    findings: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.findings

    def find(self, finding: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)


def verify_log(
    lines: Iterable[bytes],
    *,
    after: LogHead = NO_RECORD,
    known: LogHead | None = None,
    seal_holds: Callable[[Seal], bool] | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> LogReport:
    """Check every line (LF included) of parts that follow each other. `after` is the head of the part before them,
    `known` a head that must be in them; `seal_holds` asks the key of the seals."""
    report = LogReport(head=after)
    seals = _Seals(report, wanted=seal_holds is not None)
    broken: list[bytes] = []  # lines that are not records, and wait for the one that names them
    broken_bytes = 0
    known_found = known is None or known == after
    number, line = 0, b"\n"
    for number, line in enumerate(lines, 1):
        on_bytes(len(line))
        record = parse_line(line.removesuffix(b"\n"))
        if record is None or not line.endswith(b"\n"):
            broken.append(line.removesuffix(b"\n"))
            broken_bytes += len(line)
            if broken_bytes > TORN_BYTES_MAX:  # no crash left so much
                report.find(f"line {number}: more than {TORN_BYTES_MAX} bytes up to here contain no record")
                broken, broken_bytes = [], 0
            continue
        torn = record.get("torn_sha256") if record.get("event") == "recovered" else None
        if torn != (torn_hash(broken) if broken else None):
            _find_broken(report, number - len(broken), len(broken))
            if not broken:
                report.find(f"line {number}: names a torn line where there is none")
        broken, broken_bytes = [], 0
        _link(report, record, number)
        seals.take(record, number)
        known_found = known_found or report.head == known
    if not line.endswith(b"\n"):
        broken = broken[:-1]
        report.find(f"line {number}: has no end (torn by a crash; the next start names it, or it is being written)")
    _find_broken(report, number + 1 - len(broken) - (not line.endswith(b"\n")), len(broken))
    if not known_found and known is not None:
        report.find(f"the known head {known.seq}:{(known.hash or b'').hex()} is not in it: cut off, or written anew")
    seals.end()
    if seal_holds is not None and report.sealed is not None and not seal_holds(report.sealed):
        report.find(f"record {report.sealed.seq}: the seal was not made by that key")
    return report


class _Seals:
    """The seals of a chain as it is read: each over a head that is there, none too far from the one before."""

    def __init__(self, report: LogReport, *, wanted: bool) -> None:
        self._report, self._wanted = report, wanted
        self._heads: dict[int, LogHead] = {report.head.seq: report.head}  # that a seal may still be over
        self._sealed_to = report.head.seq

    def take(self, record: Record, number: int) -> None:
        head = self._report.head
        self._heads[head.seq] = head
        if len(self._heads) > GAP_RECORDS_MAX:
            self._heads.pop(next(iter(self._heads)))
        if record.get("event") != SEALED:
            return
        seal = seal_of(record)
        if seal is None or self._heads.get(seal.head.seq) != seal.head:
            self._report.find(f"line {number}: seals a head that is not there")
            return
        self._check_gap(seal.head.seq)
        self._report.sealed = seal
        self._sealed_to = seal.head.seq
        self._heads = {seq: held for seq, held in self._heads.items() if seq >= seal.head.seq}

    def end(self) -> None:
        if self._wanted and self._report.sealed is None:
            self._report.find("no seal is in it")
        elif self._wanted:
            self._check_gap(self._report.head.seq)

    def _check_gap(self, seq: int) -> None:
        if self._wanted and seq - self._sealed_to > GAP_RECORDS_MAX:
            self._report.find(f"records {self._sealed_to + 1} to {seq} have no seal, more than a proxy leaves unsealed")


def _link(report: LogReport, record: Record, number: int) -> None:
    seq = int(record["seq"])
    previous = report.head.hash
    if record.get("prev_hash") != (None if previous is None else previous.hex()):
        report.find(f"line {number}: record {seq} does not follow record {report.head.seq}")
    elif seq != report.head.seq + 1:
        report.find(f"line {number}: record {seq} comes after record {report.head.seq}")
    report.records += 1
    report.head = LogHead(seq, bytes.fromhex(record["hash"]))
    event = record.get("event", "")
    report.events[event] += 1
    if event == "asked":
        report.unfinished.add(record["seq"])
    report.unfinished.discard(record.get("asked_seq", ""))


def _find_broken(report: LogReport, first: int, count: int) -> None:
    for number in range(first, first + count):
        report.find(f"line {number}: no record, or its hash does not fit")
