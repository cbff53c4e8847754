"""Where a page goes on, and the position that an answer reaches, as text for callers. Pure.

Guarantees: a token reads back to what it was made of, and in one spelling; one that another question made, or that was
changed by mistake, is Refused. Does not: keep a secret or hinder a caller from making one: it names a place in what the
caller may read anyway.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from ledger_core import canonical
from ledger_core.decimals import parse_decimal
from ledger_core.errors import Refused

TOKEN_CHARS_MAX: Final = 64 * 1024
POSITION: Final = "p1"
_PAGE: Final = "c1"
_DIGEST_HEX: Final = 16

Key = Sequence[str | int]
"""The values of a row that order it among its page's rows, the last one unique."""


def page_token(question: Mapping[str, str], key: Key) -> str:
    """The token of the page behind the row with that key. `question`: everything that was asked, but the page."""
    return _packed(_PAGE, {"key": [str(part) for part in key], "kinds": _kinds(key), "of": _digest(question)})


def page_key(question: Mapping[str, str], token: str) -> Key:
    """The key in a token of this question. Raises Refused."""
    fields = _unpacked(_PAGE, token)
    key, kinds, of = fields.get("key"), fields.get("kinds"), fields.get("of")
    if len(fields) != 3 or not isinstance(key, list) or not isinstance(kinds, str) or len(key) != len(kinds):
        raise _unread()
    if of != _digest(question):
        raise Refused("the cursor belongs to another question", remedy="ask for the first page, without a cursor")
    try:
        found = [_read(part, kind) for part, kind in zip(key, kinds, strict=True)]
    except ValueError:
        raise _unread() from None
    return found


def position_token(seqs: Mapping[int, int]) -> str:
    """How far an answer reaches: of each shard, the newest sequence."""
    return _packed(POSITION, {"seqs": [[str(shard), str(seq)] for shard, seq in sorted(seqs.items())]})


def position_of(token: str) -> dict[int, int]:
    """The sequences of a position's token, by shard. Raises Refused."""
    fields = _unpacked(POSITION, token)
    pairs = fields.get("seqs")
    if len(fields) != 1 or not isinstance(pairs, list):
        raise _unread()
    found: dict[int, int] = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise _unread()
        try:
            shard, seq = map(parse_decimal, pair)
        except ValueError:
            raise _unread() from None
        found[shard] = seq
    if position_token(found) != token:
        raise _unread()
    return found


def _packed(kind: str, fields: dict[str, object]) -> str:
    data = canonical.encode(fields)
    check = hashlib.sha256(kind.encode() + data).digest()[:4]  # against mistakes, not against anybody
    return f"{kind}.{base64.urlsafe_b64encode(check + data).decode().rstrip('=')}"


def _unpacked(kind: str, token: str) -> dict[str, object]:
    name, _, text = token.partition(".")
    if len(token) > TOKEN_CHARS_MAX or name != kind or not text.isascii():
        raise _unread()
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        fields = canonical.decode(packed[4:])
    except (ValueError, binascii.Error):
        raise _unread() from None
    if _packed(kind, fields) != token:
        raise _unread()
    return fields


def _kinds(key: Key) -> str:
    return "".join("i" if isinstance(part, int) else "t" for part in key)


def _read(part: object, kind: str) -> str | int:
    if not isinstance(part, str) or kind not in "it":
        raise ValueError("not a part of a key")
    if kind == "t":
        return part
    number = int(part)
    if str(number) != part:
        raise ValueError("not the spelling of an integer")
    return number


def _digest(question: Mapping[str, str]) -> str:
    return canonical.sha256_hex(canonical.encode(dict(question)))[:_DIGEST_HEX]


def _unread() -> Refused:
    return Refused("the cursor cannot be read", remedy="take it as it was answered, or ask without one")
