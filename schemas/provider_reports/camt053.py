"""ISO 20022 camt.053, bank to customer statement, versions .02 to .13 (and .14), read by local names.

A row is a booked entry (Ntry, Sts BOOK) of one statement: the line on the account, whatever details split it; the
references of its details are its references. `RvslInd` says that the entry takes an earlier one back: its own
`CdtDbtInd` is its direction, and is not turned. At the end of each statement the opening balance and its booked entries
must come to the closing one: a statement that does not is a fault, and its rows stand all the same.
Does not: read camt.052 or .054: intraday entries may never be booked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from schemas.provider_reports.amounts import currency_of, minor_of
from schemas.provider_reports.model import BadCell, BadReport, ReportRow, RowFault
from schemas.provider_reports.moments import day_us
from schemas.provider_reports.xml_events import XmlElement, elements

NAMESPACE: Final = re.compile(r"urn:iso:std:iso:20022:tech:xsd:camt\.053\.001\.(\d\d)", re.ASCII)
VERSIONS: Final = frozenset(f"{number:02}" for number in range(2, 15))
OPENING: Final = ("OPBD", "PRCD")
CLOSING: Final = "CLBD"
REFERENCES_MAX: Final = 200
NONE: Final = ("", "NOTPROVIDED", "NONREF")
REFERENCE_NAMES: Final = (
    "EndToEndId",
    "InstrId",
    "PmtInfId",
    "MsgId",
    "TxId",
    "AcctSvcrRef",
    "UETR",
    "ClrSysRef",
    "Ref",
)
SIDES: Final = {"CRDT": 1, "DBIT": -1}


@dataclass(slots=True)
class _Entry:
    line: int
    texts: dict[str, str] = field(default_factory=dict)  # path below Ntry -> text
    code: str = ""
    references: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class _Statement:
    line: int
    name: str = ""
    balances: dict[str, tuple[int, str]] = field(default_factory=dict)  # code -> signed minor units, currency
    balance: dict[str, str] = field(default_factory=dict)  # the one that is open
    booked: dict[str, int] = field(default_factory=dict)  # currency -> signed minor units
    count: int = 0


def rows(chunks: Iterable[bytes], place: str) -> Iterator[ReportRow | RowFault]:
    """The booked entries of every statement of a file. Raises BadReport."""
    statement: _Statement | None = None
    entry: _Entry | None = None
    is_checked = False
    for it in elements(chunks, place):
        if not is_checked:
            _check_namespace(it, place)
            is_checked = True
        name, below = it.path[-1], "/".join(it.path)
        if it.text is None:
            if name == "Stmt":
                statement = _Statement(it.line)
            elif name == "Ntry":
                entry = _Entry(it.line)
            continue
        if statement is None:
            continue
        if entry is not None:
            if name == "Ntry":
                yield from _finished(entry, statement)
                entry = None
            else:
                _add(entry, below.rpartition("/Ntry/")[2], it)
        elif name == "Stmt":
            yield from _checked(statement)
            statement = None
        elif "/Bal/" in below:
            statement.balance[below.rpartition("/Bal/")[2]] = it.text
            if name == "Amt":
                statement.balance["Ccy"] = it.attributes.get("Ccy", "")
        elif name == "Bal":
            _add_balance(statement)
        elif it.path[-2:] == ("Stmt", "Id"):
            statement.name = it.text
    if not is_checked:
        raise BadReport(place, 1, "", "the file is empty")


def _check_namespace(root: XmlElement, place: str) -> None:
    match = NAMESPACE.fullmatch(root.namespace)
    if match is None or match[1] not in VERSIONS:
        said = root.namespace or "no namespace"
        raise BadReport(place, root.line, "", f"it is {said:.80}, not camt.053.001.02 to .14")


def _add(entry: _Entry, below: str, it: XmlElement) -> None:
    name, text = it.path[-1], it.text or ""
    if "/" not in below or below in ("BookgDt/Dt", "BookgDt/DtTm", "Sts/Cd", "Sts/Prtry"):
        entry.texts[below] = text
        if below == "Amt":
            entry.code = it.attributes.get("Ccy", "")
    named = name in REFERENCE_NAMES and ("/Refs/" in below or "/CdtrRefInf/" in below or "/" not in below)
    if (named or below.endswith("/RmtInf/Ustrd")) and text not in NONE and len(entry.references) < REFERENCES_MAX:
        entry.references.setdefault(text)


def _add_balance(statement: _Statement) -> None:
    said, statement.balance = statement.balance, {}
    code = said.get("Tp/CdOrPrtry/Cd", "")
    try:
        currency = currency_of(said.get("Ccy", ""), "Bal/Amt/@Ccy")
        amount = minor_of(said.get("Amt", ""), currency, ".", "Bal/Amt") * SIDES[said.get("CdtDbtInd", "")]
    except (BadCell, KeyError):
        return  # the check at the end misses it, and says so
    statement.balances.setdefault(code, (amount, currency))


def _finished(entry: _Entry, statement: _Statement) -> Iterator[ReportRow | RowFault]:
    statement.count += 1
    said = entry.texts
    status = said.get("Sts/Cd") or said.get("Sts/Prtry") or said.get("Sts", "")
    if status != "BOOK":
        return
    try:
        yield _row(entry, said, statement)
    except BadCell as error:
        yield RowFault(entry.line, error.column, error.message)


def _row(entry: _Entry, said: dict[str, str], statement: _Statement) -> ReportRow:
    code = currency_of(entry.code, "Amt/@Ccy")
    side = SIDES.get(said.get("CdtDbtInd", ""))
    if side is None:
        raise BadCell("CdtDbtInd", f"{said.get('CdtDbtInd', '')!r:.20} is neither CRDT nor DBIT")
    amount = side * minor_of(said.get("Amt", ""), code, ".", "Amt")
    statement.booked[code] = statement.booked.get(code, 0) + amount
    day = said.get("BookgDt/Dt") or said.get("BookgDt/DtTm", "")[:10]
    own = said.get("AcctSvcrRef", "")
    return ReportRow(
        line=entry.line,
        key=f"{statement.name}/{own or statement.count}",
        kind="other",
        said="reversal" if said.get("RvslInd", "") in ("true", "1") else "entry",
        references=tuple(entry.references),
        amount_minor=amount,
        fee_minor=0,
        currency=code,
        at_us=day_us(day, "BookgDt"),
        is_day=True,
        batch=statement.name,
    )


def _checked(statement: _Statement) -> Iterator[RowFault]:
    opening = next((statement.balances[code] for code in OPENING if code in statement.balances), None)
    closing = statement.balances.get(CLOSING)
    if opening is None or closing is None:
        yield RowFault(
            statement.line, "Bal", "no opening or no closing balance: nothing says that all entries are here"
        )
        return
    booked = statement.booked.get(closing[1], 0)
    if opening[1] != closing[1] or set(statement.booked) - {closing[1]}:
        yield RowFault(statement.line, "Bal", "balances and entries of different currencies")
    elif opening[0] + booked != closing[0]:
        message = f"{opening[0]} and booked entries of {booked} do not come to the closing {closing[0]} (minor units)"
        yield RowFault(statement.line, "Bal", message)
