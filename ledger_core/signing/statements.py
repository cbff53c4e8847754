"""The texts that signed statements are made of, and the one digest they are chained by. Pure.

Guarantees: whatever grows (seq, offset, money, counts, sizes) is a decimal text without sign or leading zero; hashes
are 64 lower-case hex digits; times are RFC 3339 UTC with six decimals and `Z`. A statement that does not encode back to
the very bytes that were read is refused: duplicate keys, blanks, other orders and spellings.
Does not: verify signatures (`ledger_core.signing.signatures`) or decide who may sign (`ledger_core.signing.registry`).
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec

from ledger_core import chain
from ledger_core.ports import Algorithm

EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of nothing: the root of an empty tree (RFC 6962 section 2.1) and the hash of no verdict lines."""

# `\Z`, not `$`: `$` would accept a line end after the last digit.
Decimal = Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]{0,37})\Z")]
Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Timestamp = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z\Z")]
TraceId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]  # W3C Trace Context, trace-id
Name = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,200}\Z")]  # printable ASCII without blanks
# C2SP signed note: the text, a blank line, signature lines (U+2014, name, base64), each ended by LF.
Note = Annotated[str, msgspec.Meta(max_length=8192, pattern=r"^[!-~][ -~\n]*\n\n(\u2014 [!-~]+ [A-Za-z0-9+/]+=*\n)+\Z")]
ShardNo = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

StructT = TypeVar("StructT", bound=msgspec.Struct)

_encoder = msgspec.json.Encoder(order="sorted")


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a signed statement. Encoding sorts the keys, so fields may stand in the order of their meaning."""


class Cosignature(Part, frozen=True, kw_only=True):
    """A second key's signature over the same 32 bytes of `hash`."""

    signer_kid: Name
    alg: Algorithm
    signature: str


def encode_statement(statement: msgspec.Struct) -> bytes:
    """A struct of the types above -> canonical JSON (RFC 8785 on the safe subset: sorted keys, texts, small ints)."""
    return _encoder.encode(statement)


def decode_statement(data: bytes, decoder: msgspec.json.Decoder[StructT]) -> StructT:
    """Canonical bytes -> struct; raises ValueError for any other spelling of it."""
    statement = decoder.decode(data)
    if _encoder.encode(statement) != data:
        raise ValueError("not in canonical form: encoding it again gives other bytes")
    return statement


def statement_hash(payload: bytes, prev_hash: str | None) -> bytes:
    """SHA256(canonical payload || previous hash as 32 raw bytes); at genesis nothing is appended. 32 bytes."""
    return chain.link(payload, None if prev_hash is None else bytes.fromhex(prev_hash))
