"""The one form of everything that is signed: payload -> canonical bytes -> digest -> signature beside it. Pure.

    class ReceiptPayload(Payload, ...):       everything that is signed; `chained_by` where it follows another one
        ...
    class Receipt(ReceiptPayload, ...):       hash: Hash, signature: str; `check_signed(self)` when it is made
        ...
    assemble(payload, Receipt, key.sign_digest(payload.digest()))     decode_statement(data, Decoder(Receipt))
    first_fault(claim_of(receipt), registry)                          whether its signature counts

Guarantees: whatever grows (seq, offset, money, counts, sizes) is a decimal text without sign or leading zero; hashes
are 64 lower-case hex digits; times are RFC 3339 UTC with six decimals and `Z`. A statement that does not encode back to
the very bytes that were read is refused: duplicate keys, blanks, other orders and spellings.
Does not: decide whether a signature counts: `ledger_core.signing.counting` does, for the claim that is made here.
"""

from __future__ import annotations

import datetime as dt
import functools
from typing import Annotated, Any, ClassVar, Final, Protocol, TypeVar

import msgspec

from ledger_core import chain
from ledger_core.ports import Algorithm
from ledger_core.signing.counting import Claim, Place
from ledger_core.signing.mac_keys import MAC_ALGORITHM
from ledger_core.signing.purposes import MAC_MAY_SIGN, WORDS, Purpose
from ledger_core.signing.signatures import decode_signature, encode_signature
from ledger_core.times import parse_time

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


class StatementPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a signed statement. Encoding sorts the keys, so fields may stand in the order of their meaning."""


class Cosignature(StatementPart, frozen=True, kw_only=True):
    """A second key's signature over the same 32 bytes of `hash`."""

    signer_kid: Name  # the key that cosigned, of the registry; never that of the proof itself
    alg: Algorithm  # that key's algorithm; what is registered decides
    signature: str  # base64 in its one spelling


class Payload(StatementPart, frozen=True, kw_only=True):
    """Everything that is signed of one kind of statement; the signed kind adds `hash` and `signature` to it."""

    signer_kid: Name  # the key that is to sign it, of the registry
    alg: Algorithm  # that key's algorithm; what is registered decides

    chained_by: ClassVar[str | None] = None  # the field with the hash of the statement before it, if there is a chain
    dated_by: ClassVar[str] = "ts"  # the field that says when it was signed
    said_as: ClassVar[Purpose]  # the kind of statement

    @property
    def purpose(self) -> Purpose:
        """The kind of statement it is."""
        return self.said_as

    @property
    def stated_at(self) -> dt.datetime:
        """When it says it was signed, UTC."""
        return parse_time(getattr(self, self.dated_by))

    @property
    def places(self) -> tuple[Place, ...]:
        """What it speaks of, where that is a place of the record."""
        return ()

    def to_bytes(self) -> bytes:
        """The canonical payload: the bytes that are hashed and signed, without hash and signature."""
        kind = _payload_kind(type(self))
        return encode_statement(self if type(self) is kind else kind(**_fields(self, kind)))

    def digest(self) -> bytes:
        """SHA256(payload || hash of the statement before it), 32 bytes: what is signed."""
        return statement_hash(self.to_bytes(), None if self.chained_by is None else getattr(self, self.chained_by))


class Signed(Protocol):
    """A payload with its hash and signature, as it was read."""

    chained_by: ClassVar[str | None]

    @property
    def signer_kid(self) -> str: ...
    @property
    def alg(self) -> Algorithm: ...
    @property
    def hash(self) -> str: ...
    @property
    def signature(self) -> str: ...
    @property
    def purpose(self) -> Purpose: ...
    @property
    def stated_at(self) -> dt.datetime: ...
    @property
    def places(self) -> tuple[Place, ...]: ...
    def digest(self) -> bytes: ...


def check_signed(statement: Signed) -> None:
    """For constructors: raises ValueError on a hash that is not the payload's, on what is not a signature, and on a MAC
    where no MAC may sign."""
    if statement.alg == MAC_ALGORITHM and not MAC_MAY_SIGN[statement.purpose]:
        raise ValueError(f"alg is {MAC_ALGORITHM}, and no MAC signs {WORDS[statement.purpose]}")
    if statement.digest().hex() != statement.hash:
        chained = f" and {statement.chained_by}" if statement.chained_by is not None else ""
        raise ValueError(f"hash is not that of the payload{chained}")
    decode_signature(statement.signature)


def assemble(payload: Payload, kind: type[msgspec.Struct], signature: bytes, **beside: object) -> bytes:
    """The canonical bytes of the signed statement of that kind; `beside`: what stands in it and is not signed. The
    caller has verified the signature over `digest()`."""
    fields = _fields(payload, _payload_kind(type(payload)))
    signed = kind(**fields, hash=payload.digest().hex(), signature=encode_signature(signature), **beside)
    return encode_statement(signed)


def claim_of(statement: Signed) -> Claim:
    """What the statement says of its signature."""
    return Claim(
        kid=statement.signer_kid,
        purpose=statement.purpose,
        signature=statement.signature,
        signed=statement.digest(),
        alg=statement.alg,
        at=statement.stated_at,
        places=statement.places,
    )


@functools.cache
def _payload_kind(kind: type[Payload]) -> type[Payload]:
    """The kind without hash and signature: the one right below Payload."""
    return next(base for base in kind.__mro__ if Payload in base.__bases__)


def _fields(statement: msgspec.Struct, kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {name: getattr(statement, name) for name in kind.__struct_fields__}


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
