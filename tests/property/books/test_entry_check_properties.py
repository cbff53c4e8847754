"""Checking a block at once and line by line is one and the same judgement, on anything that might stand in a block."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_core.books.entries import decode_entry
from ledger_core.books.entry_checks import Block, check_block, check_each, check_lines, read_sound
from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.findings import Collector
from tests.support.journal_factory import TOPIC, TinyShard

BODIES = [item.body for item in TinyShard().post(3).post(3, currency="EUR").entries]

# What an attacker or a bug would write in place of something else.
SWAPS = [
    (b'"amount_minor":"3"', b'"amount_minor":"03"'),
    (b'"amount_minor":"3"', b'"amount_minor":" 3"'),
    (b'"amount_minor":"3"', b'"amount_minor":"+3"'),
    (b'"amount_minor":"3"', b'"amount_minor":"-3"'),
    (b'"amount_minor":"3"', b'"amount_minor":"3,0"'),
    (b'"amount_minor":"3"', b'"amount_minor":""'),
    (b'"amount_minor":"3"', b'"amount_minor":"0"'),
    (b'"amount_minor":"3"', b'"amount_minor":"true"'),
    (b'"amount_minor":"3"', b'"amount_minor":"3.0"'),
    (b'"amount_minor":"3"', b'"amount_minor":"1_0"'),
    (b'"amount_minor":"3"', '"amount_minor":"٣"'.encode()),
    (b'"amount_minor":"3"', b'"amount_minor":3'),
    (b'"amount_minor":"3"', b'"amount_minor":"4"'),
    (b'"amount_minor":"3"', b'"amount_minor":"%d"' % (AMOUNT_MINOR_MAX + 1)),
    (b'"currency":"USD"', b'"currency":"EUR"'),
    (b'"side":"debit"', b'"side":"credit"'),
    (b'"side":"debit"', b'"side":"Debit"'),
    (b'"seq":"', b'"seq":"0'),
    (b'"seq":"', b'"seq": "'),
    (b'"offset":"', b'"offset":"0'),
    (b'"offset":"', b'"offset":"x'),
    (b'"offset":"', b'"offset":"-'),
    (b'"shard":0', b'"shard":1'),
    (b'"partition":0', b'"partition":1'),
    (b'"version":1', b'"version":2'),
    (b'"metadata":{}', b'"metadata":{"b":"1","a":"2"}'),
    (b'"metadata":{}', b'"metadata":{"a":"1","a":"2"}'),
    (b'"metadata":{}', b'"metadata":{"a":"\\u0000"}'),
    (b'"metadata":{}', b'"metadata":{"a":"\\\\u0000"}'),
    (b'"metadata":{}', b'"metadata":{"a":"\\u0041"}'),
    (b'"metadata":{}', b'"metadata":{"a":"\\ud800"}'),
    (b'"metadata":{}', '"metadata":{"a":"e\u0301"}'.encode()),
    (b'"metadata":{}', '"metadata":{"a":"\u00e9"}'.encode()),
    (b'"metadata":{}', b'"metadata":{"a":"\xff"}'),
    (b'"metadata":{}', b'"metadata":{"a":"\x01"}'),
    (b'"metadata":{}', b'"metadata":{"7":"integer-like"}'),
    (b'"metadata":{}', '"metadata":{"ü":"not ascii"}'.encode()),
    (b'"metadata":{}', b'"metadata":{"a":"b"},"extra":1'),
    (b'"order_id":', b'"order_id":null,"order_id":'),
    (b"{", b""),
    (b"}", b"}\n"),
    (b"}", b"}\n{"),
]


def sound_alone(body: bytes, seq: int) -> bool:
    found = Collector()
    check_each([body], 0, seq, found)
    return len(found) == 0


def sound_at_once(lines: list[bytes]) -> bool:
    found = Collector()
    check_block(lines, 0, 1, found)
    if read_sound(lines, 0, 1, b"\n".join(lines) + b"\n") is not None:
        assert found.report().sound  # the fast way may pass a block on, never let a bad one pass
    ordinary = Collector()
    block = check_lines(lines, b"".join(line + b"\n" for line in lines), 0, TOPIC, 1, ordinary)
    assert ordinary.report() == found.report()
    assert (block.offsets, block.totals, block.from_ts, block.to_ts) == summary(check_block(lines, 0, 1, Collector()))
    return found.report().sound


def summary(block: Block) -> tuple[list[int], dict[str, int], str | None, str | None]:
    return block.offsets, block.totals, block.from_ts, block.to_ts


@settings(max_examples=600)
@given(st.integers(0, 5), st.sampled_from(SWAPS), st.integers(0, 3))
def test_a_block_is_sound_exactly_when_each_line_is(index: int, swap: tuple[bytes, bytes], which: int) -> None:
    parts = BODIES[index].split(swap[0])
    at = min(which + 1, len(parts) - 1)
    body = swap[0].join(parts[:at]) + swap[1] + swap[0].join(parts[at:])
    lines = [*BODIES[:index], body, *BODIES[index + 1 :]]
    assert sound_at_once(lines) is all(sound_alone(line, seq) for seq, line in enumerate(lines, 1))


@settings(max_examples=400)
@given(st.integers(0, 5), st.data())
def test_any_changed_byte_is_judged_alike(index: int, data: st.DataObject) -> None:
    body = bytearray(BODIES[index])
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    lines = [*BODIES[:index], bytes(body), *BODIES[index + 1 :]]
    assert sound_at_once(lines) is all(sound_alone(line, seq) for seq, line in enumerate(lines, 1))


def test_findings_name_the_sequence_and_totals_of_the_others_stand() -> None:
    lines = [*BODIES[:2], BODIES[2].replace(b'"amount_minor":"3"', b'"amount_minor":"4"'), *BODIES[3:]]
    found = Collector()
    block = check_block(lines, 0, 1, found)
    (finding,) = found.report().findings
    assert (finding.code, finding.shard, finding.seq, finding.field) == ("entry.form", 0, 3, "body")
    assert block.totals["EUR"] == sum(int(decode_entry(body).lines[0].amount_minor) for body in BODIES[3:])


def test_an_entry_in_several_currencies_is_sound_when_each_balances() -> None:
    body = BODIES[0]
    legs = body[body.index(b'"lines":[') + 9 : body.index(b'],"metadata"')]
    both = body.replace(legs, legs + b"," + legs.replace(b"USD", b"EUR"))
    found = Collector()
    block = check_block([both, BODIES[1]], 0, 1, found)
    assert found.report().sound
    assert set(block.totals) == {"USD", "EUR"}
    lame = both.replace(b'"currency":"EUR"', b'"currency":"USD"', 1)
    assert not sound_alone(lame, 1)
