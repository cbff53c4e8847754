"""Every rule of posting is a rule on the entries of an archive: broken alone, under a registered key, it is named."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType

import msgspec
import pytest

from ledger_core.books import accounts, event_rules
from ledger_core.books.entries import EntryFields, decode_entry
from ledger_core.books.entry_checks import read_sound
from ledger_core.books.entry_pattern import read_ordinary
from ledger_core.books.entry_rules import entry_faults
from ledger_core.books.event_rules import LINES_MAX, METADATA_PAIRS_MAX, TEXT_CHARACTERS_MAX
from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.chain import link
from ledger_core.errors import Corrupt
from ledger_core.posting import rules
from ledger_core.proving.open_range import OpenRange
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.verify.oracle import verify_archive, verify_ledger
from tests.simulator.ledger import MemoryLedger
from tests.simulator.tiny_shards import add_shard
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of
from tests.support.journal_factory import TOPIC, TinyEntry, TinyShard

KEY = Key("ed25519")
PROVIDER = {"amount_minor": "103", "currency": "USD", "name": "stripe", "reference": "ch_1"}
LEG = {"account": "expense:x", "amount_minor": "1", "currency": "USD", "side": "debit"}
BACK = {"account": "asset:cash", "currency": "USD", "side": "credit"}

Fields = dict[str, object]
Break = Callable[[Fields], None]


def put(**changes: object) -> Break:
    return lambda fields: fields.update(changes)


def provider(**changes: str) -> Break:
    return lambda fields: fields.update(provider={**PROVIDER, **changes})


def leg(**changes: str) -> Break:
    """The second leg with something else in it."""

    def break_it(fields: Fields) -> None:
        lines = fields["lines"]
        assert isinstance(lines, list)
        lines[1] = {**lines[1], **changes}

    return break_it


def currencies(code: str) -> Break:
    def break_it(fields: Fields) -> None:
        lines = fields["lines"]
        assert isinstance(lines, list)
        fields["lines"] = [{**line, "currency": code} for line in lines]

    return break_it


def many_lines(fields: Fields) -> None:
    fields["lines"] = [LEG] * LINES_MAX + [{**BACK, "amount_minor": str(LINES_MAX)}]


def huge_amount(fields: Fields) -> None:
    amount = str(AMOUNT_MINOR_MAX + 1)
    fields["lines"] = [{**LEG, "amount_minor": amount}, {**BACK, "amount_minor": amount}]


FORM, RULE = "entry.form", "entry.rule"
# (what is broken, how, code of the finding, field, words that name the rule)
SOURCE = {"offset": "3", "partition": 0, "topic": "finance.settlements", "value_sha256": "5e" * 32}
ROWS: list[tuple[str, Break, str, str, str]] = [
    ("event id", put(event_id="sale-1"), RULE, "event_id", "event_id is not a lower-case uuid"),
    ("event id, upper case", put(event_id="0B6F5B5E-7A1C-8D3F-9E00-5A7D3C1F0001"), RULE, "event_id", "lower-case uuid"),
    ("event type", put(event_type="Sale"), RULE, "event_type", "event_type is not a lower-case dotted word"),
    ("event type, long", put(event_type="x" * 65), RULE, "event_type", "event_type is not"),
    ("settlement id", put(settlement_id="st 1"), RULE, "settlement_id", "settlement_id is not 1 to 128"),
    ("settlement id, long", put(settlement_id="x" * 129), RULE, "settlement_id", "settlement_id is not 1 to 128"),
    ("order id", put(order_id=""), RULE, "order_id", "order_id is not 1 to 128"),
    ("line feed in a name", put(order_id="a\nb"), RULE, "order_id", "order_id is not 1 to 128"),
    ("occurred at, form", put(occurred_at="yesterday"), RULE, "occurred_at", "not a time in the form"),
    ("occurred at, no such day", put(occurred_at="2025-02-30T00:00:00.000000Z"), RULE, "occurred_at", "day"),
    ("occurred at, hour 24", put(occurred_at="2025-02-20T24:00:00.000000Z"), RULE, "occurred_at", "time"),
    ("occurred at, range", put(occurred_at="1969-12-31T23:59:59.999999Z"), RULE, "occurred_at", "outside the years"),
    ("recorded at, form", put(recorded_at="2025-11-01T00:00:01"), RULE, "recorded_at", "not a time in the form"),
    ("recorded at, range", put(recorded_at="1999-12-31T23:59:59.999000Z"), RULE, "recorded_at", "timestamp"),
    ("occurred at, far", put(occurred_at="2200-01-01T00:00:00.000000Z"), RULE, "occurred_at", "years 1970 to 2199"),
    ("recorded at, far", put(recorded_at="9999-12-31T23:59:59.000000Z"), RULE, "recorded_at", "years 2000 to 2199"),
    ("recorded at, no broker's", put(recorded_at="2025-11-01T00:00:00.000001Z"), RULE, "recorded_at", "milliseconds"),
    ("metadata pairs", put(metadata={f"k{n:02}": "" for n in range(METADATA_PAIRS_MAX + 1)}), RULE, "metadata",
     "metadata pairs"),
    ("metadata key", put(metadata={"Key": "x"}), RULE, "metadata", "metadata key 'Key' is not a lower-case word"),
    ("metadata value", put(metadata={"key": "\x1b[2J"}), RULE, "metadata", "metadata value holds a control character"),
    ("metadata value, long", put(metadata={"key": "x" * (TEXT_CHARACTERS_MAX + 1)}), RULE, "metadata",
     "metadata value has 513 characters"),
    ("no lines", put(lines=[]), FORM, "body", "an entry needs lines"),
    ("too many lines", many_lines, RULE, "lines", "1001 lines, more than 1000"),
    ("account type", leg(account="cash:till"), RULE, "lines[2].account", "its first word must be one of"),
    ("account word", leg(account="asset:Till"), RULE, "lines[2].account", "words of a-z, 0-9"),
    ("account without words", leg(account="asset"), RULE, "lines[2].account", "a type alone is not an account"),
    ("account, long", leg(account="asset:" + "x" * 123), RULE, "lines[2].account", "account of 129 characters"),
    ("currency", currencies("XXX"), RULE, "lines[1].currency", "'XXX' is not an ISO 4217 code in use"),
    ("amount", huge_amount, FORM, "body", "amount_minor"),
    ("amount, zero", leg(amount_minor="0"), FORM, "body", "amount_minor"),
    ("memo", leg(memo="a\x07b"), RULE, "lines[2].memo", "memo holds a control character"),
    ("memo, long", leg(memo="x" * (TEXT_CHARACTERS_MAX + 1)), RULE, "lines[2].memo", "memo has 513 characters"),
    ("memo, no form C", leg(memo="e\u0301"), FORM, "body", "Unicode"),
    ("balance", leg(amount_minor="7"), FORM, "body", "unbalanced in USD"),
    ("reverses", put(reverses="st-1"), RULE, "reverses", "reverses is not a lower-case uuid"),
    ("provider name", provider(name="a b"), RULE, "provider", "provider name is not 1 to 128"),
    ("provider reference", provider(reference="x" * 129), RULE, "provider", "provider reference is not 1 to 128"),
    ("provider currency", provider(currency="usd"), RULE, "provider", "provider currency 'usd' is not"),
    ("provider amount", provider(amount_minor="0"), RULE, "provider", "provider amount_minor"),
    ("provider amount, range", provider(amount_minor=str(AMOUNT_MINOR_MAX + 1)), RULE, "provider", "amount_minor"),
    ("provider amount, form", provider(amount_minor="01"), RULE, "provider", "decimal"),
    ("pii digest", put(pii_digest="none"), RULE, "pii_digest", "64 lower-case hex digits"),
    ("value hash", put(source=SOURCE | {"value_sha256": "5E" * 32}), RULE, "source.value_sha256", "64 lower-case hex"),
    ("topic", put(source=SOURCE | {"topic": "a b"}), RULE, "source.topic", "not the name of a topic"),
]  # fmt: skip
IDS = [row[0] for row in ROWS]

# Rules on what an entry does not hold: nobody can ask them of it again.
NOT_IN_AN_ENTRY = {
    "the record's time is its publisher's": "the kind of the record's time",
    "the message key must be the settlement_id": "the key of the record",
    "pii_salt has ": "personal data",
    " pii pairs, more than ": "personal data",
    "a pii key is not a lower-case word": "personal data",
    " holds a lone surrogate": "no UTF-8 text can hold one: decoding refuses it",
    " is not in Unicode normal form C": "canonical form asks it of the whole line first",
    "amount_minor  is not within 1 to ": "an entry cannot be constructed with such an amount",
    ": debits - credits =  minor units": "an entry cannot be constructed unbalanced",
    "an event needs lines": "an entry cannot be constructed without lines",
}


def with_changed(change: Break, at: int = 4) -> TinyShard:
    """A shard whose entry `at` was broken before it was chained."""
    shard, changed = TinyShard().post(3).post(2, seconds=1).post(1, seconds=2), TinyShard().post(6)
    changed.entries, head = [], None
    for item in shard.entries:
        body = item.body
        if item.seq == at:
            fields = msgspec.json.decode(body)
            change(fields)
            body = msgspec.json.encode(fields, order="sorted")
        head = link(body, head)
        entry = msgspec.json.decode(body, type=EntryFields)
        changed.entries.append(TinyEntry(item.seq, body, head, item.offset, entry))  # type: ignore[arg-type]
    changed.head = head
    return changed


def findings(shard: TinyShard) -> list[tuple[str, int | None, str | None, str]]:
    store = MemoryStore()
    archive_of(shard, [(6, 6)], KEY, store)
    report = verify_archive(store, ENV, KEY.registry)
    return [(found.code, found.seq, found.field, found.message) for found in report.findings]


@pytest.mark.parametrize(("what", "change", "code", "field", "words"), ROWS, ids=IDS)
def test_an_archive_with_one_rule_broken_under_a_registered_key_gives_its_finding(
    what: str, change: Break, code: str, field: str, words: str
) -> None:
    found = findings(with_changed(change))
    about = [(message, f) for c, seq, f, message in found if (c, seq) == (code, 4)]
    assert about, found
    assert any(words in message and f == field for message, f in about), about
    assert all(seq in (4, 6) for _, seq, _, _ in found), "the entries beside it pass (6: what the range adds up to)"


# A row of the ledger has its time in a column, too, which holds no other text.
@pytest.mark.parametrize(
    ("what", "change", "code", "field", "words"), [row for row in ROWS if row[0] != "recorded at, form"]
)
def test_the_ledgers_own_bodies_are_held_to_the_same_rules(
    what: str, change: Break, code: str, field: str, words: str
) -> None:
    ledger = MemoryLedger()
    add_shard(ledger, with_changed(change), [(6, 6)], KEY)
    report = verify_ledger(ledger, KEY.registry)
    assert any(f.code == code and f.seq == 4 and words in f.message for f in report.findings), report.findings


@pytest.mark.parametrize(("what", "change", "code", "field", "words"), ROWS, ids=IDS)
def test_the_prover_proves_no_entry_that_breaks_a_rule(
    what: str, change: Break, code: str, field: str, words: str
) -> None:
    shard = with_changed(change)
    growing = OpenRange.resume(TinyShard().position(), None, RangeLimits(100, 3600))
    records = [(item.seq - 1, item.seq, item.body, item.entry_hash) for item in shard.entries]
    with pytest.raises(Corrupt, match=f"(?s)shard 0, seq 4: .*{re.escape(words)}"):
        list(growing.take_block(records))


def test_every_rule_of_posting_has_a_row_or_speaks_of_what_no_entry_holds() -> None:
    told = [message for row in ROWS for message in messages(row[1])]
    untested = [
        " ".join(words)
        for words in rejections(event_rules, rules, accounts)
        if not any(all(part in message for part in words) for message in told)
        and not any(known in "".join(words) for known in NOT_IN_AN_ENTRY)
    ]
    assert untested == []


def messages(change: Break) -> list[str]:
    (item,) = (item for item in with_changed(change).entries if item.seq == 4)
    return [fault.message for fault in entry_faults(item.entry)]


def rejections(*modules: ModuleType) -> Iterator[list[str]]:
    """The fixed words of every rejection that the rules can give, one list a place in the source."""
    for module in modules:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Rejected":
                detail = node.args[1]
                parts = detail.values if isinstance(detail, ast.JoinedStr) else [detail]
                yield [str(part.value) for part in parts if isinstance(part, ast.Constant)]


@pytest.mark.parametrize(("what", "change", "code", "field", "words"), ROWS, ids=IDS)
def test_neither_fast_way_passes_what_breaks_a_rule(
    what: str, change: Break, code: str, field: str, words: str
) -> None:
    lines = [item.body for item in with_changed(change).entries]
    data = b"".join(line + b"\n" for line in lines)
    assert read_ordinary(data, 6, 0, TOPIC, 1) is None
    assert read_sound(lines, 0, 1, data) is None


def test_what_keeps_every_rule_passes_both_fast_ways_and_the_slow_one() -> None:
    def whole(fields: Fields) -> None:
        leg(memo='tab\tand "quote"', account="asset:" + "x" * 122)(fields)
        fields.update(provider=PROVIDER, pii_digest="0" * 64, metadata={f"k{n:02}": "x" * 512 for n in range(32)})
        fields.update(occurred_at="1970-01-01T00:00:00.000000Z", order_id="x" * 128, event_type="x" * 64)

    def ordinary(fields: Fields) -> None:
        leg(memo="a memo")(fields)
        fields.update(provider=PROVIDER, pii_digest="0" * 64, metadata={"channel": "web"})
        fields.update(occurred_at="2024-12-31T23:59:59.999999Z")

    for change in (whole, ordinary):
        lines = [item.body for item in with_changed(change).entries]
        data = b"".join(line + b"\n" for line in lines)
        assert read_sound(lines, 0, 1, data) is not None
        assert entry_faults(decode_entry(lines[3])) == []
        assert findings(with_changed(change)) == []
    assert read_ordinary(data, 6, 0, TOPIC, 1) is not None
