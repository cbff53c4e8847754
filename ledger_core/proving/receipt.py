"""The receipt: one leaf of a shard's record, its path, and the checkpoint whose root the path leads to. Pure.

Guarantees: a receipt has one spelling and at most RECEIPT_BYTES_MAX bytes; one of another form is a ReceiptFault that
names the field. A leaf that is too long is left out: its hash stands instead, and whoever verifies brings the bytes.
Does not: believe anything. `ledger_core.verify.receipts` checks what a receipt says; `signers` are a convenience for
people and are never trusted.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger_core import canonical
from ledger_core.decimals import is_decimal
from ledger_core.hashes import is_hash, parse_base64_hash
from ledger_core.proving.tiles import TreeName
from ledger_core.signing import notes
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import PublicKey
from ledger_core.tree import leaf_hash

SAYS: Final = "finance.receipt.v1"
RECEIPT_BYTES_MAX: Final = 8192  # in a file, LF at the end included
LEAF_BYTES_MAX: Final = 4096  # a longer one is left out
PATH_HASHES_MAX: Final = 64
SIGNERS_MAX: Final = 16
_FIELDS: Final = frozenset({"checkpoint", "index", "path", "says", "signers", "tree"})
_SIGNER_FIELDS: Final = frozenset({"algorithm", "public_key_pem", "signer_kid"})


class ReceiptFault(ValueError):
    """A receipt of another form. `field` is the one at fault."""

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf of a shard's record, and where it stands."""

    tree: TreeName  # which tree of the record
    shard: int  # number of the shard
    index: int  # place in that tree, from 0
    offset: int  # settlements offset of its record
    data: bytes  # canonical bytes of the entry, or of the verdict line without LF


@dataclass(frozen=True, slots=True)
class ReceiptSigner:
    """One key that stands on the note, as its maker knew it."""

    signer_kid: str  # name of the key in the registry, and on the note
    algorithm: str  # rsa-sha256 or ed25519
    public_key_pem: str  # SPKI PEM, LF at the end

    def line_of(self) -> tuple[str, bytes]:
        """Name and id of its signature line. Raises ValueError when this is not a key."""
        key = PublicKey.parse(self.public_key_pem)
        if key.algorithm != self.algorithm or key.pem != self.public_key_pem:
            raise ValueError(f"the key of {self.signer_kid[:60]!r} is not {self.algorithm} in the one spelling of PEM")
        return self.signer_kid, notes.key_id(self.signer_kid, key)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one says, none of it verified."""

    tree: TreeName  # which tree of the checkpoint
    index: int  # of the leaf in it, from 0
    leaf: bytes | None  # canonical bytes of the entry, or of the verdict line without LF; None when left out
    leaf_hash: bytes  # SHA256(0x00 || leaf), 32 bytes
    path: tuple[bytes, ...]  # inclusion proof, from the leaf up, 32 bytes each
    checkpoint: bytes  # the signed note
    signers: tuple[ReceiptSigner, ...]  # one for each signature line of the note, in order of kid

    def to_bytes(self) -> bytes:
        """Its one spelling, LF at the end not included. Raises ValueError when the note or the path is too long."""
        said: dict[str, object] = {
            "checkpoint": self.checkpoint.decode("utf-8"),
            "index": str(self.index),
            "path": [base64.b64encode(it).decode("ascii") for it in self.path],
            "says": SAYS,
            "signers": [{name: getattr(it, name) for name in sorted(_SIGNER_FIELDS)} for it in self.signers],
            "tree": self.tree,
        }
        if self.leaf is not None and len(self.leaf) <= LEAF_BYTES_MAX:
            whole = canonical.encode({**said, "leaf": self.leaf.decode("utf-8")})
            if len(whole) < RECEIPT_BYTES_MAX:
                return whole
        short = canonical.encode({**said, "leaf_hash": self.leaf_hash.hex()})
        if len(short) >= RECEIPT_BYTES_MAX:
            raise ValueError(f"a receipt has at most {RECEIPT_BYTES_MAX} bytes, and this one {len(short) + 1}")
        return short


def receipt_of(
    note: bytes, registry: SignerRegistry, tree: TreeName, index: int, leaf: bytes, path: Sequence[bytes]
) -> Receipt:
    """The receipt of a leaf under a signed checkpoint. Raises ValueError when a line of the note is of no key of the
    registry."""
    _, lines = notes.split(note)
    known = [signer for _, signer in notes.known_lines(lines, registry)]
    if len(known) != len(lines):
        raise ValueError("a key that the registry does not have signed the checkpoint")
    return Receipt(tree, index, leaf, leaf_hash(leaf), tuple(path), note, tuple(map(_signer_of, _by_kid(known))))


def parse_receipt(data: bytes) -> Receipt:
    """Read a receipt, one LF at the end allowed, without verifying it. Raises ReceiptFault."""
    if len(data) > RECEIPT_BYTES_MAX:
        raise ReceiptFault(None, f"a receipt has at most {RECEIPT_BYTES_MAX} bytes")
    try:
        said = canonical.decode(data.removesuffix(b"\n"))
    except ValueError as error:
        raise ReceiptFault(None, f"not canonical JSON: {error}") from None
    leaf_field = "leaf" if "leaf" in said else "leaf_hash"
    for name in sorted(_FIELDS | {leaf_field}):
        if name not in said:
            raise ReceiptFault(name, f"{name} is missing")
    for name in sorted(said):
        if name not in _FIELDS and name != leaf_field:
            raise ReceiptFault(name, f"{name[:60]!r} is a field that no receipt has")
    if said["says"] != SAYS:
        raise ReceiptFault("says", f"says is not {SAYS}")
    if said["tree"] not in ("entries", "verdicts"):
        raise ReceiptFault("tree", "tree is neither entries nor verdicts")
    if not is_decimal(said["index"]):
        raise ReceiptFault("index", "index is not a decimal integer")
    leaf = _leaf(said) if leaf_field == "leaf" else None
    if leaf is None and not is_hash(said["leaf_hash"]):
        raise ReceiptFault("leaf_hash", "leaf_hash is not 64 lower-case hex digits")
    return Receipt(
        tree=said["tree"],
        index=int(str(said["index"])),
        leaf=leaf,
        leaf_hash=bytes.fromhex(str(said["leaf_hash"])) if leaf is None else leaf_hash(leaf),
        path=_path(said["path"]),
        checkpoint=_text(said, "checkpoint"),
        signers=_signers(said["signers"]),
    )


def _text(said: dict[str, object], name: str) -> bytes:
    text = said[name]
    if not isinstance(text, str):
        raise ReceiptFault(name, f"{name} is not a text")
    return text.encode("utf-8")  # canonical: no lone surrogates


def _leaf(said: dict[str, object]) -> bytes:
    leaf = _text(said, "leaf")
    if len(leaf) > LEAF_BYTES_MAX:
        raise ReceiptFault("leaf", f"a leaf of more than {LEAF_BYTES_MAX} bytes is left out")
    return leaf


def _path(path: object) -> tuple[bytes, ...]:
    if not isinstance(path, list) or len(path) > PATH_HASHES_MAX:
        raise ReceiptFault("path", f"path is not a list of at most {PATH_HASHES_MAX} hashes")
    return tuple(map(_hash, path))


def _hash(text: object) -> bytes:
    try:
        return parse_base64_hash(text)
    except ValueError as error:
        raise ReceiptFault("path", str(error)) from None


def _signers(signers: object) -> tuple[ReceiptSigner, ...]:
    if not isinstance(signers, list) or len(signers) > SIGNERS_MAX:
        raise ReceiptFault("signers", f"signers is not a list of at most {SIGNERS_MAX} keys")
    for it in signers:
        if not isinstance(it, dict) or set(it) != _SIGNER_FIELDS or not all(isinstance(x, str) for x in it.values()):
            raise ReceiptFault("signers", f"a signer has the texts {', '.join(sorted(_SIGNER_FIELDS))}, and no others")
    return tuple(ReceiptSigner(**it) for it in signers)


def _by_kid(signers: Sequence[RegisteredSigner]) -> list[RegisteredSigner]:
    return sorted(signers, key=lambda signer: signer.kid)


def _signer_of(signer: RegisteredSigner) -> ReceiptSigner:
    if not isinstance(signer.public_key, PublicKey):
        raise ValueError(f"{signer.kid} is a MAC key, which signs no checkpoint")
    return ReceiptSigner(signer.kid, signer.algorithm, signer.public_key.pem)
