"""The ordinary entry as a regular expression: a block of them is checked without making an object of each.

Guarantees: what matches is a canonical entry of that shard and topic (so decoding and encoding it again would give
the same bytes) whose names, accounts and times keep the rules of posting; `read_ordinary` further checks currencies,
metadata, amounts, balance and sequence. It speaks of ordinary entries only: up to LEGS_MAX legs of one currency, plain
ASCII texts, accounts of up to three words after their type (of lengths that keep them under ACCOUNT_CHARS_MAX).
Anything else is not an error here but a None: `entry_checks` then decodes the block. A property test compares both
ways.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from operator import add, sub
from typing import Final, NamedTuple

import msgspec
import orjson

from ledger_core.books.accounts import AccountType
from ledger_core.books.entry_rules import OCCURRED_AT_FORM, RECORDED_AT_FORM
from ledger_core.books.event_rules import (
    EVENT_TYPE_FORM,
    NAME_FORM,
    TEXT_CHARACTERS_MAX,
    UUID_FORM,
    check_currency,
    check_metadata,
)
from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.books.rule_versions import FIRST_RULES, VERSIONS, RuleSet
from ledger_core.errors import Rejected

LEGS_MAX: Final = 8
_TEXT: Final = rb'"[ !#-\[\]-~]*+"'  # printable ASCII that needs no escape
_MEMO: Final = rb'"[ !#-\[\]-~]{0,%d}+"' % TEXT_CHARACTERS_MAX
_WORDS: Final = rb":[a-z0-9][a-z0-9_.-]{0,19}+(?::[a-z0-9][a-z0-9_.-]{0,47}+(?::[a-z0-9][a-z0-9_.-]{0,47}+)?+)?+"
_ACCOUNT: Final = b'"(?:%b)%b"' % ("|".join(AccountType).encode(), _WORDS)
_PAIRS: Final = rb"\{(?:%(t)b:%(t)b(?:,%(t)b:%(t)b)*+)?+\}" % {b"t": _TEXT}
_LEG: Final = (
    rb'\{"account":%(a)b,"amount_minor":"([1-9][0-9]{0,15}+)","currency":"%(c)b",(?:"memo":%(m)b,)?+'
    rb'"side":"([cd])(?:redit|ebit)"\}'
)
_ENTRY: Final = (
    rb'(?:\{"event_id":"%(id)b","event_type":"%(type)b","lines":\[%(legs)b\],"metadata":(%(pairs)b),'
    rb'"occurred_at":"%(occurred)b","order_id":"%(name)b",(?:"pii_digest":"[0-9a-f]{64}",)?+'
    rb'(?:"provider":\{"amount_minor":"(?:10{15}|[1-9][0-9]{0,14}+)","currency":"([A-Z]{3})","name":"%(name)b",'
    rb'"reference":"%(name)b"\},)?+'
    rb'"recorded_at":"(%(recorded)b)",(?:"reverses":"%(id)b",)?+%(rules)b"seq":"([1-9][0-9]*+)","settlement_id":"%(name)b",'
    rb'"shard":%(shard)d,"source":\{"offset":"(0|[1-9][0-9]*+)","partition":%(shard)d,"topic":"%(topic)b",'
    rb'"value_sha256":"[0-9a-f]{64}"\},"version":1\}|([^\n]*+))\n'
)
_RULES: Final = re.compile(rb'"rules":([1-9][0-9]{0,8}),"seq":"')  # a text has its quotes escaped: it cannot match
_PARTS: Final = {
    b"id": UUID_FORM.encode(),
    b"type": EVENT_TYPE_FORM.encode(),
    b"name": NAME_FORM.encode(),
    b"occurred": OCCURRED_AT_FORM.encode(),
    b"recorded": RECORDED_AT_FORM.encode(),
    b"pairs": _PAIRS,
}
# Groups: of the first leg amount, currency, side; of each other one amount, side.
_SIDE_GROUPS: Final = ((0, 2), *((3 + 2 * leg, 4 + 2 * leg) for leg in range(LEGS_MAX - 1)))
_CURRENCY: Final = 1
_METADATA, _PROVIDER_CURRENCY, _RECORDED_AT, _SEQ, _OFFSET, _OTHER = range(-6, 0)

_pairs_decoder = msgspec.json.Decoder(dict[str, str])
_pairs_encoder = msgspec.json.Encoder(order="deterministic")


class Ordinary(NamedTuple):
    """What a block of ordinary entries says; `totals` are debits (= credits) by currency in minor units."""

    offsets: list[int]  # source offsets, one an entry
    totals: dict[str, int]
    from_ts: str  # least recorded_at
    to_ts: str  # greatest recorded_at, inclusive
    rules: int  # version of the rules that all of them name


def read_ordinary(data: bytes, count: int, shard: int, topic: str, first_seq: int) -> Ordinary | None:
    """Read `count` lines, each ended by LF, as sound ordinary entries first_seq, first_seq + 1, ...

    None when they are not all ordinary and sound: then somebody has to read it closely.
    """
    named = _RULES.search(data, 0, data.find(b"\n"))
    rules = VERSIONS.get(FIRST_RULES if named is None else int(named[1]))
    if rules is None:
        return None
    rows = _pattern(shard, topic, rules.number).findall(data)
    if len(rows) != count or not rows:
        return None
    columns = list(zip(*rows, strict=True))
    currencies = set(columns[_CURRENCY])
    if any(columns[_OTHER]) or len(currencies) > 1:
        return None
    try:
        if not _are_sound(set(columns[_METADATA]), rules):
            return None
        for currency in currencies | set(columns[_PROVIDER_CURRENCY]) - {b""}:
            check_currency(currency.decode(), rules)
        total = _balanced_total(columns)
        offsets = _integers(columns[_OFFSET])
        if total is None or _integers(columns[_SEQ]) != list(range(first_seq, first_seq + count)):
            return None
    except (ValueError, Rejected):
        return None
    times = columns[_RECORDED_AT]
    from_ts, to_ts = min(times).decode(), max(times).decode()
    return Ordinary(offsets, {currencies.pop().decode(): total}, from_ts, to_ts, rules.number)


def _balanced_total(columns: Sequence[Sequence[bytes]]) -> int | None:
    """The sum of all debits when each entry's legs add up to zero: leg by leg for all entries at once."""
    balances = [0] * len(columns[0])
    gross = 0
    for amount_group, side_group in _SIDE_GROUPS:
        texts = columns[amount_group]
        if not any(texts):
            break  # no entry has a leg more
        amounts = _integers(texts if all(texts) else [text or b"0" for text in texts])
        if max(amounts) > AMOUNT_MINOR_MAX:
            return None
        gross += sum(amounts)
        sides = columns[side_group]
        kinds = set(sides)
        if kinds == {b"d"}:  # a publisher's legs mostly stand in one order: the first all debits, the next all credits
            balances = list(map(add, balances, amounts))
        elif kinds == {b"c"}:
            balances = list(map(sub, balances, amounts))
        else:
            signed = [amount if side == b"d" else -amount for amount, side in zip(amounts, sides, strict=True)]
            balances = list(map(add, balances, signed))
    return None if any(balances) else gross // 2


def _integers(texts: Sequence[bytes]) -> list[int]:
    """The integers of texts that the pattern found to be decimal. Raises ValueError for an empty one."""
    numbers: list[int] = orjson.loads(b"[" + b",".join(texts) + b"]")
    return numbers


def _are_sound(metadata: set[bytes], rules: RuleSet) -> bool:
    """Whether each metadata object has its keys in order, each once, and keeps the rules. Raises Rejected."""
    for text in metadata:
        if text != b"{}":
            pairs = _pairs_decoder.decode(text)
            check_metadata(pairs, rules)
            if _pairs_encoder.encode(pairs) != text:
                return False
    return True


@lru_cache(maxsize=64)
def _pattern(shard: int, topic: str, rules: int) -> re.Pattern[bytes]:
    parts = {b"a": _ACCOUNT, b"m": _MEMO}
    legs = b""
    for _ in range(LEGS_MAX - 1):
        legs = b"(?:," + _LEG % {**parts, b"c": rb"\2"} + legs + b")?+"
    first = _LEG % {**parts, b"c": b"([A-Z]{3})"}
    source = {b"shard": shard, b"topic": re.escape(topic.encode())}
    named = b"" if rules == FIRST_RULES else b'"rules":%d,' % rules
    return re.compile(_ENTRY % {**_PARTS, b"legs": first + legs, b"rules": named, **source})
