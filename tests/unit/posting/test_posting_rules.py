"""Each rule of posting, each limit on both its sides, and the order in which rules are asked."""

from __future__ import annotations

import msgspec
import pytest

from consumers.posting.decision import decide
from ledger_core.books.entries import decode_entry
from ledger_core.books.event_rules import LINES_MAX, METADATA_PAIRS_MAX, OCCURRED_AT_US_MAX, TEXT_CHARACTERS_MAX
from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.books.settlements import LineFields, SettlementRecord
from ledger_core.errors import Rejected, RejectReason
from ledger_core.posting.plans import Decided, Draft
from ledger_core.posting.rules import (
    claimed_event_id,
    content_of,
    draft,
)
from ledger_core.posting.sequencing import sequence
from schemas.topology.load import load_topology
from tests.simulator.ledger import genesis
from tests.support.plain_ledger import lines_of, plain, written
from tests.support.settlements import TOPIC, event_id, record, sale, settlement
from tests.support.topics import TOPOLOGY

R = RejectReason


def _draft(fields: SettlementRecord) -> Draft:
    return draft(fields, fields.settlement_id.encode())


def _reason(fields: SettlementRecord) -> RejectReason:
    with pytest.raises(Rejected) as caught:
        _draft(fields)
    assert len(caught.value.detail) < 300, "details are read by people, and stored"
    return caught.value.reason


def _with_line(*, place: int = 1, **changes: object) -> SettlementRecord:
    """A sale with one line changed by name."""
    names = ("account", "side", "amount", "currency", "memo")
    lines: list[object] = list(sale())
    changed = dict(zip(names, sale()[place], strict=True)) | changes
    lines[place] = tuple(changed.values())
    return settlement(lines=lines)


def _changed(name: str, text: str) -> SettlementRecord:
    return msgspec.structs.replace(settlement(), **{name: text})


def _many(count: int, memo: str | None = None) -> list[LineFields]:
    debits: list[LineFields] = [("expense:x", "debit", 1, "USD", memo)] * (count - 1)
    return [*debits, ("asset:cash", "credit", count - 1, "USD", memo)]


def test_valid_event_becomes_a_draft_whose_content_is_that_of_its_entry() -> None:
    fields = settlement(1, metadata={"channel": "web"}, provider=("stripe", "ch_1", 10_000, "USD"))
    content = content_of(_draft(fields))
    assert written(content.lines) == plain("""
        dr asset:psp:stripe            100.00 USD
        cr liability:payable:seller-42  99.97 USD
        cr revenue:fees                  0.03 USD
    """)
    (posted,) = sequence(genesis(0, TOPIC), [decide(record(0, fields))], {}).posted
    assert content == content_of(decode_entry(posted.body))


@pytest.mark.parametrize("name", ["event_id", "reverses"])
@pytest.mark.parametrize(
    "text", ["", "x", event_id(1).upper(), event_id(1) + "\n", "{" + event_id(1) + "}", event_id(1)[:-1]]
)
def test_ids_are_lower_case_uuids(name: str, text: str) -> None:
    assert _reason(_changed(name, text)) is R.BAD_FIELD


@pytest.mark.parametrize("name", ["settlement_id", "order_id"])
@pytest.mark.parametrize("text", ["", "-x", "a b", "a\nb", "é", "x" * 129, "a\0"])
def test_names_are_1_to_128_safe_characters(name: str, text: str) -> None:
    assert _reason(_changed(name, text)) is R.BAD_FIELD
    _draft(_changed(name, "x" * 128))


@pytest.mark.parametrize("text", ["", "Settlement", "1a", "a-b", "x" * 65, "a\n"])
def test_event_type_is_a_lower_case_dotted_word(text: str) -> None:
    assert _reason(settlement(event_type=text)) is R.BAD_FIELD
    _draft(settlement(event_type="x" * 64))


@pytest.mark.parametrize("key", [None, b"", b"st-2", b"st-1 ", b"\xff"])
def test_key_must_be_the_settlement_id(key: bytes | None) -> None:
    with pytest.raises(Rejected) as caught:
        draft(settlement(1), key)
    assert caught.value.reason is R.KEY_MISMATCH


def test_times_are_within_1970_and_2199() -> None:
    for fine in (0, OCCURRED_AT_US_MAX):
        _draft(settlement(occurred_at_us=fine))
    for wrong in (-1, OCCURRED_AT_US_MAX + 1):
        assert _reason(settlement(occurred_at_us=wrong)) is R.BAD_FIELD


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        ("cash", R.UNKNOWN_ACCOUNT), ("assets:x", R.UNKNOWN_ACCOUNT), ("Asset:x", R.UNKNOWN_ACCOUNT),
        ("", R.UNKNOWN_ACCOUNT),
        ("asset", R.BAD_FIELD), ("asset:", R.BAD_FIELD), ("asset:X", R.BAD_FIELD), ("asset:a::b", R.BAD_FIELD),
        ("asset:a\n", R.BAD_FIELD), ("asset:" + "x" * 123, R.BAD_FIELD), ("asset:\u0661", R.BAD_FIELD),
    ],
)  # fmt: skip
def test_accounts_need_a_known_type_and_a_proper_form(account: str, reason: RejectReason) -> None:
    assert _reason(_with_line(account=account)) is reason
    assert _reason(_with_line(account=account)) is reason, "the same answer from the cache of known accounts"
    _draft(_with_line(account="asset:" + "x" * 122))


@pytest.mark.parametrize("currency", ["usd", "US", "XXX", "", "USD ", "\0\0\0", "ZZZ"])
def test_currencies_are_iso_4217_codes_in_use(currency: str) -> None:
    assert _reason(_with_line(currency=currency)) is R.BAD_CURRENCY
    assert _reason(settlement(provider=("p", "r", 1, currency))) is R.BAD_CURRENCY


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MINOR_MAX + 1, -(2**63), 2**63 - 1])
def test_amounts_are_positive_and_bounded(amount: int) -> None:
    assert _reason(_with_line(amount=amount)) is R.BAD_AMOUNT
    assert _reason(settlement(provider=("p", "r", amount, "USD"))) is R.BAD_AMOUNT
    largest: list[LineFields] = [("asset:a", side, AMOUNT_MINOR_MAX, "USD", None) for side in ("debit", "credit")]
    _draft(settlement(lines=largest))


@pytest.mark.parametrize("name", ["", " ", "a b", "x" * 129, "\0"])
def test_provider_names_are_names(name: str) -> None:
    assert _reason(settlement(provider=(name, "r", 1, "USD"))) is R.BAD_FIELD
    assert _reason(settlement(provider=("p", name, 1, "USD"))) is R.BAD_FIELD


def test_every_currency_balances_by_itself() -> None:
    assert _reason(settlement(lines=[])) is R.UNBALANCED
    assert _reason(settlement(lines=sale()[:2])) is R.UNBALANCED
    crossed = """
        dr asset:a 0.05 USD
        cr asset:a 0.05 EUR
    """
    assert _reason(settlement(lines=lines_of(crossed))) is R.UNBALANCED
    _draft(settlement(lines=sale(currency="USD") + sale(currency="JPY")))


def test_lines_pairs_and_texts_are_limited() -> None:
    _draft(settlement(lines=_many(LINES_MAX)))
    assert _reason(settlement(lines=_many(LINES_MAX + 1))) is R.OVERSIZE
    pairs = {f"k{n}": "v" for n in range(METADATA_PAIRS_MAX + 1)}
    assert _reason(settlement(metadata=pairs)) is R.OVERSIZE
    pairs.popitem()
    _draft(settlement(metadata=pairs))
    _draft(_with_line(memo="x" * TEXT_CHARACTERS_MAX))
    assert _reason(_with_line(memo="x" * (TEXT_CHARACTERS_MAX + 1))) is R.OVERSIZE
    assert _reason(settlement(metadata={"k": "x" * (TEXT_CHARACTERS_MAX + 1)})) is R.OVERSIZE


@pytest.mark.parametrize("text", ["a\0b", "e\u0301", "\ud800", "\x1b[2J", "\r", "\x7f", "\x85", "\u212b"])
def test_texts_are_nfc_without_control_characters_and_surrogates(text: str) -> None:
    assert _reason(_with_line(memo=text)) is R.BAD_FIELD
    assert _reason(settlement(metadata={"k": text})) is R.BAD_FIELD


@pytest.mark.parametrize("text", ["", "tab\there", "line\nfeed", "Zoë", "\U0001f4b8", "\u2028", "\u00a0", "\u202e"])
def test_harmless_texts_are_taken_as_they_are(text: str) -> None:
    assert _draft(_with_line(memo=text)).lines[1][4] == text


@pytest.mark.parametrize("key", ["", "1a", "Key", "a b", "é", "x" * 65])
def test_keys_of_maps_are_lower_case_words(key: str) -> None:
    assert _reason(settlement(metadata={key: "v"})) is R.BAD_FIELD


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "Zoe Miller"])
def test_a_digest_is_a_hash_and_nothing_else(digest: str) -> None:
    """Or whoever has a name to say would say it there."""
    assert _reason(settlement(pii_digest=digest)) is R.BAD_FIELD
    assert _draft(settlement(pii_digest="0" * 64)).pii_digest == "0" * 64


def test_rules_are_asked_in_a_fixed_order() -> None:
    """Names, key, time, metadata, lines, balance, the rest: the first one broken is the reason, at every replay."""
    broken = settlement(
        event_id="x", occurred_at_us=-1, metadata={str(n): "" for n in range(33)}, reverses="x",
        lines=[("cash", "debit", 0, "usd", None)], provider=("", "", 0, ""),
    )  # fmt: skip
    mended: list[tuple[dict[str, object], RejectReason]] = [
        ({}, R.BAD_FIELD),
        ({"event_id": event_id(1)}, R.KEY_MISMATCH),
        ({"settlement_id": "key"}, R.BAD_FIELD),
        ({"occurred_at_us": 0}, R.OVERSIZE),
        ({"metadata": {}}, R.UNKNOWN_ACCOUNT),
        ({"lines": [("asset:a", "debit", 0, "usd", None)]}, R.BAD_CURRENCY),
        ({"lines": [("asset:a", "debit", 0, "USD", None)]}, R.BAD_AMOUNT),
        ({"lines": [("asset:a", "debit", 1, "USD", None)]}, R.UNBALANCED),
        ({"lines": sale()}, R.BAD_FIELD),
        ({"reverses": None}, R.BAD_FIELD),
        ({"provider": ("p", "r", 0, "usd")}, R.BAD_CURRENCY),
        ({"provider": ("p", "r", 0, "USD")}, R.BAD_AMOUNT),
    ]
    for change, reason in mended:
        broken = msgspec.structs.replace(broken, **change)
        with pytest.raises(Rejected) as caught:
            draft(broken, b"key")
        assert caught.value.reason is reason, change
    draft(msgspec.structs.replace(broken, provider=None), b"key")


def test_rejected_event_keeps_its_verdict_under_its_id_only_when_it_has_one() -> None:
    assert claimed_event_id(settlement(1, lines=[])) == event_id(1)
    assert claimed_event_id(settlement(1, event_id="no uuid")) is None


@pytest.mark.parametrize("character", ['"', "\\", "\n", "\t", "é", "\U0001f4b8"])
def test_largest_entry_fits_into_a_journal_record(character: str) -> None:
    """Else a posted entry could never be relayed, and its shard would stop for ever."""
    made = _draft(settlement(lines=_many(LINES_MAX, character * TEXT_CHARACTERS_MAX)))
    batch = [Decided(record(0, settlement()), made)]
    body = sequence(genesis(0, TOPIC), batch, {}).posted[0].body
    if len(character.encode()) == 1:  # the others meet the limit of the message's own bytes first
        assert len(body) + 200_000 < load_topology(TOPOLOGY).topics["journal"].message_bytes_max
    else:
        assert len(body) < len(made.lines) * (TEXT_CHARACTERS_MAX * 4 + 128)
