"""Canonical JSON: one object, one spelling. RFC 8785 on a subset where every JSON library agrees about the bytes.

Guarantees: `encode` of an allowed object equals RFC 8785 byte for byte (tested against the `rfc8785` package and
Node's JSON.stringify), and `decode` accepts nothing but such bytes, so one value has one spelling and one hash.
The subset: an object at the top; keys in ASCII that do not look like integers (JavaScript would move those); no floats;
integers within ±(2^53 - 1); texts in Unicode NFC without NUL and lone surrogates.
It does not know what the fields mean, and it repairs nothing: what is outside the subset is a ValueError.
"""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from ledger_core.normal_form import is_nfc

INTEGER_MAX: Final = 2**53 - 1  # RFC 8785, section 3.1 (I-JSON): beyond it JavaScript rounds
DEPTH_MAX: Final = 32  # levels of nesting; our formats need five


def encode(value: object) -> bytes:
    """The canonical bytes of `value`, a dict of the subset above. Raises ValueError naming the path outside it."""
    if type(value) is not dict:
        raise ValueError(f"canonical JSON is an object at the top level, not {type(value).__name__}")
    _check(value, "$", 0)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def decode(data: bytes) -> dict[str, object]:
    """The object written as canonical bytes. Raises ValueError for bytes that do not encode back to themselves.

    That one comparison refuses duplicate keys, blanks, other key order, other escapes and other spellings of numbers.
    """
    value = orjson.loads(data)  # JSONDecodeError is a ValueError
    if encode(value) != data:
        raise ValueError("not in canonical form: encoding it again gives other bytes")
    result: dict[str, object] = value
    return result


def sha256_hex(data: bytes) -> str:
    """SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def check_text(text: str) -> None:
    """Raise ValueError unless `text` is NFC without NUL and without lone surrogates."""
    if text.isascii():
        if "\0" in text:
            raise ValueError("text contains NUL")
        return
    if "\0" in text:
        raise ValueError("text contains NUL")
    if not is_nfc(text):
        raise ValueError("text is not in Unicode NFC")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("text contains a lone surrogate") from None


def _check(value: object, path: str, depth: int) -> None:
    kind = type(value)
    if kind is str:
        try:
            check_text(str(value))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    elif isinstance(value, dict) and kind is dict:
        _check_depth(path, depth)
        for key, item in value.items():
            _check_key(key, path)
            _check(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list | tuple) and kind in (list, tuple):
        _check_depth(path, depth)
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, int) and kind is int:
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise ValueError(f"{path}: integer {value} is beyond ±(2^53 - 1); write it as a decimal string")
    elif value is not None and kind is not bool:
        raise ValueError(f"{path}: {kind.__name__} has no canonical form here")


def _check_depth(path: str, depth: int) -> None:
    if depth >= DEPTH_MAX:
        raise ValueError(f"{path[:80]}: nested deeper than {DEPTH_MAX} levels")


def _check_key(key: object, path: str) -> None:
    if type(key) is not str:
        raise ValueError(f"{path}: key {key!r} is not text")
    if not key.isascii() or "\0" in key:
        raise ValueError(f"{path}: key {key!r} is not plain ASCII")
    if key.isdigit():
        raise ValueError(f"{path}: key {key!r} looks like an integer, which JavaScript re-orders")
