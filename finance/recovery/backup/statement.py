"""What the signed statements of backups share: a payload, its digest, and both with a signature in one object. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import BadSignature, decode_signature, encode_signature, verify_digest
from ledger_core.signing.statements import encode_statement, statement_hash

S = TypeVar("S", bound=msgspec.Struct)


class Signed(Protocol):
    """A payload with its hash and signature."""

    @property
    def signer_kid(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def signature(self) -> str: ...


def payload_digest(statement: msgspec.Struct, payload: type[msgspec.Struct]) -> bytes:
    """SHA256 of the canonical payload: what is signed. `statement` may be the signed one."""
    return statement_hash(encode_statement(payload(**_fields(statement, payload))), None)


def with_signature(payload: msgspec.Struct, signed: type[S], signature: bytes) -> bytes:
    """The canonical bytes of the signed statement. The caller has verified the signature over `payload_digest`."""
    kind = type(payload)
    digest = payload_digest(payload, kind).hex()
    return encode_statement(signed(**_fields(payload, kind), hash=digest, signature=encode_signature(signature)))


def check_signed(statement: Signed, digest: bytes) -> None:
    """For constructors: raises ValueError on a hash that is not the payload's, or what is no signature."""
    if digest.hex() != statement.hash:
        raise ValueError("hash is not that of the payload")
    decode_signature(statement.signature)


def statement_fault(parse: Callable[[bytes], Signed], registry: SignerRegistry, data: bytes) -> str | None:
    """Why these bytes are no statement that a registered key signed; None when they are."""
    try:
        statement = parse(data)
        key = registry.get(statement.signer_kid).public_key
        verify_digest(key, bytes.fromhex(statement.hash), decode_signature(statement.signature))
    except (ValueError, KeyError, BadSignature) as error:
        return f"is not signed as it should be ({error.args[0] if error.args else error})"
    return None


def _fields(statement: msgspec.Struct, kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {name: getattr(statement, name) for name in kind.__struct_fields__}
