"""Reports of each format: rows and faults with line and column; what is cut off or hostile is refused where it is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from schemas.provider_reports.csv_rows import COLUMNS_MAX, LINE_CHARS_MAX
from schemas.provider_reports.formats import Format, ReportOptions, read_report
from schemas.provider_reports.mapped import MappedColumns, MappedSign, Mapping
from schemas.provider_reports.model import BadReport, ReportRow, RowFault

STRIPE = """\
balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,payment_intent_id,automatic_payout_id
txn_1,2025-11-01 12:00:00,usd,100.00,2.90,97.10,charge,pi_1,po_1
txn_2,2025-11-02 12:00:00,usd,-80.00,15.00,-95.00,dispute,pi_2,po_1
txn_3,2025-11-02 12:00:00,jpy,1200,0,1200,charge,pi_3,po_2
txn_4,2025-11-03 12:00:00,usd,-97.10,0.00,-97.10,payout,,po_1
txn_5,2025-11-03 12:00:00,usd,1.00,0.00,1.00,a_new_category,,po_1
"""
ADYEN = """\
Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Creation Date,TimeZone,Type,\
Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC),Exchange Rate,Net Currency,Net Debit (NC),\
Net Credit (NC),Commission (NC),Markup (NC),Scheme Fees (NC),Interchange (NC),Batch Number
C,M,PSP1,order-1,visa,2025-11-01 12:00:00,CET,Settled,MOD1,USD,,5.00,1,USD,,4.88,,0.04,0.01,0.07,7
C,M,PSP1,order-1,visa,2025-11-02 12:00:00,CET,Chargeback,MOD2,USD,349.99,,1,USD,357.49,,7.50,,,,7
C,M,,,,2025-11-03 12:00:00,CET,MerchantPayout,"TX1XT batch 7, M",USD,,,,USD,4.88,,,,,,7
"""
PAYPAL = """\
"RH","2025/11/02 00:00:00 -0800","A","M","009"
"FH","01"
"SH","2025/11/01 00:00:00 -0800","2025/11/01 23:59:59 -0800","M",""
"CH","Transaction ID","Invoice ID","PayPal Reference ID","Transaction Event Code","Transaction Completion Date",\
"Transaction  Debit or Credit","Gross Transaction Amount","Gross Transaction Currency","Fee Debit or Credit",\
"Fee Amount","Fee Currency"
"SB","9AB","inv-1","","T0006","2025/11/01 08:00:00 -0800","CR","10000","USD","DR","320","USD"
"SB","9AC","inv-2","9AB","T1107","2025/11/01 09:00:00 -0800","DR","5000","JPY","","",""
"SC","2"
"FF","2"
"""
CAMT = """\
<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt><Id>S1</Id>
<Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="CHF">100.00</Amt><CdtDbtInd>CRDT</CdtDbtInd></Bal>
<Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="CHF">1626.00</Amt><CdtDbtInd>CRDT</CdtDbtInd></Bal>
<Ntry><Amt Ccy="CHF">000001526.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>
<BookgDt><Dt>2025-11-03</Dt></BookgDt><AcctSvcrRef>B1</AcctSvcrRef><NtryDtls><TxDtls><Refs>
<EndToEndId>po_1</EndToEndId></Refs><Amt Ccy="CHF">1500.00</Amt></TxDtls><TxDtls><Refs>
<EndToEndId>NOTPROVIDED</EndToEndId></Refs><RmtInf><Ustrd>STRIPE PAYOUT</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>
<Ntry><Amt Ccy="CHF">5.00</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts><Cd>PDNG</Cd></Sts></Ntry>
</Stmt></BkToCstmrStmt></Document>
"""
CSV = """\
Nr;Wann;Typ;Betrag;Gebuehr;Order
1;03.11.2025 10:00:00;S;1.234,50;12,00;o-1
2;03.11.2025 11:00:00;R;34,50;;o-1
"""
MAPPING = Mapping(
    columns=MappedColumns(key="Nr", amount="Betrag", at="Wann", kind="Typ", reference="Order", fee="Gebuehr"),
    time="%d.%m.%Y %H:%M:%S",
    zone="Europe/Zurich",
    kinds={"S": "payment", "R": "refund"},
    currency="CHF",
    sign=MappedSign("Typ", ("R",)),
)
FILES: dict[Format, str] = {"stripe": STRIPE, "adyen": ADYEN, "paypal": PAYPAL, "camt053": CAMT, "csv": CSV}


def read(form: Format, data: bytes | str, options: ReportOptions | None = None) -> list[ReportRow | RowFault]:
    raw = data.encode() if isinstance(data, str) else data
    return list(read_report(raw.splitlines(keepends=True), form, "f", options or ReportOptions(mapping=MAPPING)))


def short(found: Sequence[ReportRow | RowFault]) -> list[tuple[object, ...]]:
    return [
        (it.line, it.kind, it.references[:1], it.amount_minor, it.fee_minor, it.currency, it.batch)
        if isinstance(it, ReportRow)
        else it
        for it in found
    ]


def test_stripe() -> None:
    assert short(read("stripe", STRIPE)) == [
        (2, "payment", ("pi_1",), 10_000, 290, "USD", "po_1"),
        (3, "dispute", ("pi_2",), -8_000, 1_500, "USD", "po_1"),
        (4, "payment", ("pi_3",), 1_200, 0, "JPY", "po_2"),
        (5, "payout", ("txn_4",), -9_710, 0, "USD", "po_1"),
        (6, "other", ("txn_5",), 100, 0, "USD", "po_1"),
    ]


def test_adyen() -> None:
    assert short(read("adyen", ADYEN)) == [
        (2, "payment", ("PSP1",), 500, 12, "USD", "7"),
        (3, "dispute", ("PSP1",), -34_999, 750, "USD", "7"),
        (4, "payout", ("TX1XT batch 7, M",), -488, 0, "USD", "7"),
    ]
    keys = [it.key for it in read("adyen", ADYEN) if isinstance(it, ReportRow)]
    assert len(set(keys)) == 3
    behind = "Report,x\nRun,y\n" + ADYEN.replace(",Type,", ",Journal Type,")
    assert [it[1:] for it in short(read("adyen", behind))] == [it[1:] for it in short(read("adyen", ADYEN))]


def test_paypal() -> None:
    assert short(read("paypal", PAYPAL)) == [
        (5, "payment", ("inv-1",), 10_000, 320, "USD", ""),
        (6, "refund", ("9AB",), -5_000, 0, "JPY", ""),
    ]


def test_camt053() -> None:
    (row,) = read("camt053", CAMT)
    assert isinstance(row, ReportRow)
    assert (row.amount_minor, row.currency, row.batch, row.key, row.is_day) == (152_600, "CHF", "S1", "S1/B1", True)
    assert row.references == ("B1", "po_1", "STRIPE PAYOUT")


@pytest.mark.parametrize("version", ["02", "04", "06", "13"])
def test_other_versions_of_camt053(version: str) -> None:
    text = CAMT.replace("001.08", f"001.{version}")
    if version < "07":
        text = text.replace("<Sts><Cd>BOOK</Cd></Sts>", "<Sts>BOOK</Sts>").replace(
            "<Sts><Cd>PDNG</Cd></Sts>", "<Sts>PDNG</Sts>"
        )
    assert len(read("camt053", text)) == 1


def test_a_mapped_file_with_its_own_signs_marks_and_zone() -> None:
    assert short(read("csv", CSV)) == [
        (2, "payment", ("o-1",), 123_450, 1_200, "CHF", ""),
        (3, "refund", ("o-1",), -3_450, 0, "CHF", ""),
    ]


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "crlf"])
def test_encodings_and_line_ends_change_nothing(form: Format, encoding: str) -> None:
    text = FILES[form]
    data = text.replace("\n", "\r\n").encode() if encoding == "crlf" else text.encode(encoding)
    if form == "camt053" and encoding == "utf-16":
        data = text.replace("UTF-8", "UTF-16").encode(encoding)
    lines = [data[at : at + 100] for at in range(0, len(data), 100)]  # in pieces that end anywhere
    found = list(read_report(lines, form, "f", ReportOptions(mapping=MAPPING)))
    assert [it[1:] for it in short(found)] == [it[1:] for it in short(read(form, text))]


FAULTS: dict[str, tuple[Format, str, RowFault]] = {
    "net": ("stripe", STRIPE.replace("97.10,charge", "97.11,charge"), RowFault(2, "net", "not gross less fee")),
    "decimals": ("stripe", STRIPE.replace("1200,0,1200", "12.5,0,12.5"), RowFault(4, "gross", "more decimals")),
    "a cell too few": ("stripe", STRIPE.replace(",pi_2,po_1", ",pi_2"), RowFault(3, "", "8 cells")),
    "the header again": ("stripe", STRIPE + STRIPE, RowFault(7, "", "the header stands there again")),
    "formula": ("stripe", STRIPE.replace("100.00", "=1+1"), RowFault(2, "gross", "not a decimal number")),
    "zone": ("adyen", ADYEN.replace("CET,Settled", "XX,Settled"), RowFault(2, "timezone", "not a time zone")),
    "side": ("paypal", PAYPAL.replace('"CR"', '"XX"'), RowFault(5, "transaction debit or credit", "neither")),
    "balance": ("camt053", CAMT.replace("1626.00", "1600.00"), RowFault(2, "Bal", "do not come to")),
    "no balance": ("camt053", CAMT.replace("CLBD", "ITBD"), RowFault(2, "Bal", "no closing balance")),
    "no side": (
        "camt053",
        CAMT.replace("CRDT</CdtDbtInd><Sts>", "X</CdtDbtInd><Sts>"),
        RowFault(5, "CdtDbtInd", "neither"),
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_bad_row_is_named_and_the_others_are_read(kind: str) -> None:
    form, text, wanted = FAULTS[kind]
    found = read(form, text)
    faults = [it for it in found if isinstance(it, RowFault)]
    assert [(it.line, it.column) for it in faults][:1] == [(wanted.line, wanted.column)]
    assert wanted.message.partition("not ")[2] in faults[0].message
    assert len(found) >= len(read(form, FILES[form])) - (form == "camt053")


BOMB = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
MANY = ",".join([*STRIPE.split("\n")[0].split(","), *map(str, range(COLUMNS_MAX))])
HOSTILE: dict[str, tuple[Format, bytes]] = {
    "empty": ("stripe", b""),
    "no header": ("stripe", b"a,b\n1,2\n"),
    "a quote that is never closed": ("stripe", STRIPE.replace("txn_2", '"txn_2').encode()),
    "NUL": ("stripe", STRIPE.replace("pi_2", "pi\0").encode()),
    "another encoding": ("stripe", STRIPE.replace("pi_2", "pi_ä").encode("latin-1")),
    "half a character": ("stripe", STRIPE.replace("pi_2", "pi_ä").encode()[:-1] + b"\xc3"),
    "a line without an end": ("stripe", b"x" * (LINE_CHARS_MAX + 2)),
    "too many columns": ("stripe", MANY.encode()),
    "a column twice": ("stripe", STRIPE.replace("payment_intent_id", "gross").encode()),
    "two decimal marks": ("stripe", STRIPE.replace("1200,0,1200", '"12,0",0,"12,0"').encode()),
    "cut off": ("paypal", PAYPAL.rpartition('"FF"')[0].encode()),
    "rows lost": ("paypal", PAYPAL.replace('"SC","2"', '"SC","3"').encode()),
    "no settlement report": ("paypal", b'"XX"\n'),
    "a document type": ("camt053", CAMT.replace("<Document", "<!DOCTYPE Document><Document").encode()),
    "an external entity": (
        "camt053", CAMT.replace("<Document", '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><Document').encode(),
    ),
    "billion laughs": ("camt053", CAMT.replace("<Document", f"<!DOCTYPE d [{BOMB}]><Document").encode()),
    "cut off XML": ("camt053", CAMT[:-30].encode()),
    "nested": ("camt053", CAMT.replace("<Stmt>", "<Stmt>" + "<a>" * 100).encode()),
    "another message": ("camt053", CAMT.replace("camt.053", "camt.052").encode()),
    "a version of tomorrow": ("camt053", CAMT.replace("001.08", "001.99").encode()),
    "empty XML": ("camt053", b""),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_cannot_be_read_on_is_refused_with_its_line(kind: str) -> None:
    form, data = HOSTILE[kind]
    with pytest.raises(BadReport, match=r"f, line [0-9]+"):
        read(form, data)


def test_amounts_that_leave_the_mark_open_want_it_declared() -> None:
    text = STRIPE.splitlines()[0] + '\ntxn_1,2025-11-01 12:00:00,usd,"1,234",0,"1,234",charge,pi_1,po_1\n'
    with pytest.raises(BadReport, match="declare --decimal-mark"):
        read("stripe", text)
    (row,) = read("stripe", text, ReportOptions(decimal_mark="."))
    assert isinstance(row, ReportRow)
    assert row.amount_minor == 123_400


def test_a_csv_file_needs_its_mapping() -> None:
    with pytest.raises(BadReport, match="mapping"):
        read("csv", CSV, ReportOptions())
