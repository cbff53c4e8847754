"""One opinion of Unicode normal form C, whichever Python runs: a verdict must not hang on it (G5)."""

from __future__ import annotations

import hashlib
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from consumers.posting.decision import decide
from ledger_core.normal_form import INERT, LATER, as_of_the_rules, is_nfc
from ledger_core.posting.plans import Draft
from tests.support.settlements import record, settlement

# Of every code point but those in LATER, surrogates and Hangul (an algorithm): what takes part in normalization.
FINGERPRINT = "8edabc36cf51e33833826aa8503e885eeaac208a65bcdb5d706bf21c878c4c6b"
MARKS = [chr(code) for code in range(sys.maxunicode + 1) if LATER.fullmatch(chr(code))]


def takes_part() -> str:
    told = hashlib.sha256()
    for code in range(sys.maxunicode + 1):
        if 0xD800 <= code <= 0xDFFF or 0xAC00 <= code <= 0xD7A3 or LATER.fullmatch(chr(code)):
            continue
        combining, parts = unicodedata.combining(chr(code)), unicodedata.decomposition(chr(code))
        if combining or (parts and not parts.startswith("<")):
            told.update(f"{code:X};{combining};{parts}\n".encode())
    return told.hexdigest()


def test_this_pythons_unicode_is_that_of_the_rules_but_for_what_is_listed() -> None:
    assert takes_part() == FINGERPRINT, (
        f"Unicode {unicodedata.unidata_version} has new characters that take part in normalization: add to "
        "ledger_core.normal_form what is assigned in it, or verdicts differ between Pythons"
    )


@given(st.text(st.sampled_from([*MARKS, *"aeq\u00e9\u0301\u0323\u0307\uac00\u1100\u1161\U0001f600"])))
def test_what_came_later_counts_as_it_did_then(text: str) -> None:
    then = unicodedata.is_normalized("NFC", as_of_the_rules(text))
    assert is_nfc(text) == then
    if unicodedata.unidata_version == "14.0.0":
        assert unicodedata.is_normalized("NFC", text) == then


def test_marks_of_a_later_unicode_are_posted_in_any_order() -> None:
    """U+10EFD (Unicode 15, class 220) after an acute (class 230): out of order to the Python that knows it."""
    outcome = decide(record(0, settlement(metadata={"note": "q\u0301\U00010efd"}))).outcome
    assert isinstance(outcome, Draft)


def test_what_was_never_in_form_stays_so() -> None:
    assert not is_nfc("e\u0301"), "an accent beside its letter"
    assert not is_nfc("q\u0301\u0323"), "marks out of order"
    assert is_nfc("q\u0323\u0301")
    assert is_nfc(INERT)
