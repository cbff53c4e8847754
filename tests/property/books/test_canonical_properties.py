"""Canonical JSON against two independent implementations: the rfc8785 package and Node's JSON.stringify."""

from __future__ import annotations

import json
import shutil
import subprocess
import unicodedata
from typing import Any

import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_core import canonical

KEYS = st.text(st.characters(min_codepoint=1, max_codepoint=0x7F), min_size=1, max_size=12).filter(
    lambda key: not key.isdigit()
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(
    lambda text: unicodedata.normalize("NFC", text)
)
SCALARS = st.none() | st.booleans() | st.integers(-canonical.INTEGER_MAX, canonical.INTEGER_MAX) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)

# Sorting by UTF-16 code unit is what JavaScript's < does on strings (RFC 8785, section 3.2.3).
NODE = """
const sorted = v => Array.isArray(v) ? v.map(sorted) : v === null || typeof v !== 'object' ? v :
  Object.fromEntries(Object.keys(v).sort().map(k => [k, sorted(v[k])]));
const lines = require('fs').readFileSync(0, 'utf8').split('\\n').filter(line => line);
process.stdout.write(lines.map(line => JSON.stringify(sorted(JSON.parse(line))) + '\\n').join(''));
"""


@given(OBJECTS)
def test_canonical_bytes_equal_rfc8785(value: dict[str, Any]) -> None:
    assert canonical.encode(value) == rfc8785.dumps(value)


@given(OBJECTS)
def test_decode_is_the_inverse_of_encode(value: dict[str, Any]) -> None:
    assert canonical.decode(canonical.encode(value)) == value


@settings(max_examples=25, deadline=None)
@given(st.lists(OBJECTS.filter(lambda value: "__proto__" not in json.dumps(value)), min_size=1, max_size=6))
def test_canonical_bytes_equal_nodes_json_stringify(values: list[Any]) -> None:
    node = shutil.which("node")
    ours = [canonical.encode(value) for value in values]
    if node is None:  # then the rfc8785 package is the second opinion on the same examples
        assert ours == [rfc8785.dumps(value) for value in values]
        return
    # Node reads them scrambled: indented by json.dumps' own rules, not ours.
    told = "\n".join(json.dumps(value, ensure_ascii=True, separators=(" ,", ": ")) for value in values)
    done = subprocess.run([node, "-e", NODE], input=told.encode(), capture_output=True, check=True)
    assert done.stdout.split(b"\n")[:-1] == ours


@given(OBJECTS, st.data())
def test_any_other_spelling_is_refused(value: dict[str, Any], data: st.DataObject) -> None:
    right = canonical.encode(value)
    position = data.draw(st.integers(0, len(right)))
    blank = data.draw(st.sampled_from([b" ", b"\n", b"\t"]))
    wrong = right[:position] + blank + right[position:]
    try:
        read = canonical.decode(wrong)
    except ValueError:
        return
    assert read != value  # the blank fell into a text: another value, in its own one spelling
    assert canonical.encode(read) == wrong


FLOATS = st.floats() | st.integers(min_value=2**53) | st.integers(max_value=-(2**53))


@given(FLOATS)
def test_numbers_on_which_libraries_disagree_are_refused(number: float) -> None:
    try:
        canonical.encode({"number": number})
    except ValueError:
        return
    raise AssertionError(f"{number!r} was encoded")
