"""Cursors and positions as text: they read back, and nothing else is read."""

from __future__ import annotations

import pytest

from ledger_core.errors import Refused
from ledger_core.reading.tokens import Key, page_key, page_token, position_of, position_token

QUESTION = {"account": "asset:psp:stripe", "ask": "statement", "currency": "USD"}
KEYS: list[Key] = [[1], [0, -5, 10**15], ["st_1"], ["", "ünï", 7], ["12", 12]]


@pytest.mark.parametrize("key", KEYS)
def test_a_page_goes_on_behind_the_key_that_its_token_was_made_of(key: Key) -> None:
    assert page_key(QUESTION, page_token(QUESTION, key)) == key


def test_the_cursor_of_another_question_is_refused() -> None:
    token = page_token(QUESTION, [1, 2])
    with pytest.raises(Refused, match="another question"):
        page_key({**QUESTION, "currency": "EUR"}, token)


@pytest.mark.parametrize("seqs", [{}, {0: 0}, {1: 7, 0: 10**18}])
def test_a_position_reads_back_in_one_spelling(seqs: dict[int, int]) -> None:
    assert position_of(position_token(seqs)) == seqs
    assert position_token(dict(sorted(seqs.items(), reverse=True))) == position_token(seqs)


def test_a_token_that_was_changed_at_any_character_is_refused() -> None:
    token = position_token({0: 12345, 1: 67})
    for at, was in enumerate(token):
        other = token[:at] + ("A" if was != "A" else "B") + token[at + 1 :]
        with pytest.raises(Refused, match="cannot be read"):
            position_of(other)


@pytest.mark.parametrize("text", ["", ".", "p1", "p1.", "p1.====", "p1.é", "c1.AAAA", "x" * 100_000, "p1.AAAAe30"])
def test_what_is_not_a_token_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        position_of(text)
    with pytest.raises(Refused, match="cannot be read"):
        page_key(QUESTION, text)


def test_a_page_is_not_a_position() -> None:
    with pytest.raises(Refused, match="cannot be read"):
        position_of(page_token(QUESTION, [1]))
