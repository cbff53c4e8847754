"""Checkpoints: the signed head of a shard's tree, as C2SP tlog-checkpoint in a C2SP signed note.

Guarantees: `parse_and_verify` returns a checkpoint only when at least one key of the registry signed the text, and
every key of the registry that stands on the note signed it well; signatures of unknown keys are ignored, as the
specification says. The key name of a signature line is the signer_kid. Ed25519 key ids follow C2SP signed-note; RSA
has no assigned type there, so Rekor's convention is used (type 0xFF with the name `PKIX-RSA-PKCS#1v1.5`). It does not
compare checkpoints with each other: see `tree.verify_consistency`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger_core.signatures import BadSignature, PublicKey, decode_signature, verify_text
from ledger_core.signers import RegisteredSigner, SignerRegistry

NOTE_BYTES_MAX: Final = 65536
SIGNATURES_MAX: Final = 64
KEY_ID_BYTES: Final = 4
_EM_DASH: Final = "— "


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: the name of the key, its 4-byte id, and the signature."""

    key_name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of one log. `text` are the signed bytes, LF at the end; `extensions` the lines after the root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...]
    text: bytes
    signatures: tuple[NoteSignature, ...]


def origin_of(domain: str, env: str, shard: int) -> str:
    """The log's name for ever: `<domain>/finance/<env>/ledger/<shard>`."""
    return f"{domain}/finance/{env}/ledger/{shard}"


def note_text(origin: str, size: int, root: bytes, extensions: Sequence[str] = ()) -> bytes:
    """The text to sign (C2SP tlog-checkpoint): origin, decimal size, base64 root, extension lines; each ended by LF."""
    if not origin or size < 0 or len(root) != 32:
        raise ValueError("a checkpoint has an origin, a size from 0 and a root of 32 bytes")
    lines = [origin, str(size), base64.b64encode(root).decode("ascii"), *extensions]
    if any(not line or not line.isprintable() for line in lines):
        raise ValueError("a checkpoint line is printable and not empty")
    return ("\n".join(lines) + "\n").encode("utf-8")


def key_id(key_name: str, public_key: PublicKey) -> bytes:
    """The 4 bytes that tell keys of one name apart (C2SP signed-note, section Signatures; RSA as Rekor does)."""
    name = key_name.encode("utf-8") + b"\n"
    if public_key.algorithm == "ed25519":
        return hashlib.sha256(name + b"\x01" + public_key.raw).digest()[:KEY_ID_BYTES]
    material = b"\xffPKIX-RSA-PKCS#1v1.5" + public_key.spki_der
    return hashlib.sha256(name + material).digest()[:KEY_ID_BYTES]


def assemble(text: bytes, key_name: str, public_key: PublicKey, signature: bytes) -> bytes:
    """The signed note: text, blank line, one signature line. Raises BadSignature unless the signature is right (G6)."""
    return text + b"\n" + signature_line(text, key_name, public_key, signature)


def signature_line(text: bytes, key_name: str, public_key: PublicKey, signature: bytes) -> bytes:
    """One line more for a note: a note carries as many as keys signed it. Raises BadSignature unless it is right."""
    verify_text(public_key, text, signature)
    blob = base64.b64encode(key_id(key_name, public_key) + signature).decode("ascii")
    return f"{_EM_DASH}{key_name} {blob}\n".encode()


def parse(note: bytes) -> Checkpoint:
    """Read a signed note without verifying it. Raises ValueError when it is no tlog-checkpoint in its one spelling."""
    if len(note) > NOTE_BYTES_MAX:
        raise ValueError(f"a checkpoint note is at most {NOTE_BYTES_MAX} bytes")
    whole = note.decode("utf-8")  # UnicodeDecodeError is a ValueError
    _check_characters(whole)
    head, separator, tail = whole.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise ValueError("a signed note is text, blank line, signature lines, each ended by LF")
    text = (head + "\n").encode("utf-8")
    origin, size, root, extensions = parse_text(text)
    signature_lines = tail[:-1].split("\n")
    if len(signature_lines) > SIGNATURES_MAX:
        raise ValueError(f"a note carries at most {SIGNATURES_MAX} signatures")
    return Checkpoint(
        origin,
        size,
        root,
        extensions,
        text,
        tuple(_parse_signature_line(line) for line in signature_lines),
    )


def same_text(one: bytes, other: bytes) -> bool:
    """Whether two notes sign the same text, whichever keys did. Notes that are none are equal to themselves alone."""
    if one == other:
        return True
    try:
        return parse(one).text == parse(other).text
    except ValueError:
        return False


def parse_text(text: bytes) -> tuple[str, int, bytes, tuple[str, ...]]:
    """Origin, size, root and extension lines of a note's text, LF at the end. Raises ValueError when it is none."""
    whole = text.decode("utf-8")  # UnicodeDecodeError is a ValueError
    _check_characters(whole)
    lines = whole.removesuffix("\n").split("\n")
    if not whole.endswith("\n") or len(lines) < 3 or not all(lines):
        raise ValueError("a checkpoint has origin, size and root lines, and no empty line")
    origin, size_text, root_text, *extensions = lines
    if not size_text.isascii() or not size_text.isdigit() or str(int(size_text[:20])) != size_text:
        raise ValueError(f"{size_text[:40]!r} is not a tree size")
    return origin, int(size_text), _decode_root(root_text), tuple(extensions)


def parse_and_verify(
    note: bytes, registry: SignerRegistry, *, origin: str | None = None
) -> tuple[Checkpoint, RegisteredSigner]:
    """The checkpoint and the first known signer of a note; with `origin`, of that log only.

    Raises BadSignature when no known key signed it or a known key's signature is bad, ValueError when it is malformed.
    """
    checkpoint = parse(note)
    if origin is not None and checkpoint.origin != origin:
        raise ValueError(f"the checkpoint is of {checkpoint.origin!r}, not of {origin!r}")
    signed_by: RegisteredSigner | None = None
    for line in checkpoint.signatures:
        signer = registry.find(line.key_name)
        if signer is None or key_id(signer.kid, signer.public_key) != line.key_id:
            continue
        verify_text(signer.public_key, checkpoint.text, line.signature)
        signed_by = signed_by or signer
    if signed_by is None:
        raise BadSignature("no key of the registry signed this checkpoint")
    return checkpoint, signed_by


def _check_characters(text: str) -> None:
    if any(ord(character) < 0x20 and character != "\n" for character in text):
        raise ValueError("a note contains no control characters but LF")


def _decode_root(text: str) -> bytes:
    try:
        root = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the root is not base64") from None
    if len(root) != 32 or base64.b64encode(root).decode("ascii") != text:
        raise ValueError("the root is not 32 bytes in the one spelling of base64")
    return root


def _parse_signature_line(line: str) -> NoteSignature:
    name, blank, blob = line.removeprefix(_EM_DASH).partition(" ")
    if not line.startswith(_EM_DASH) or not name or not blank:
        raise ValueError(f"{line[:60]!r} is not a signature line")
    data = decode_signature(blob)
    if len(data) <= KEY_ID_BYTES:
        raise ValueError("a signature line holds a key id and a signature")
    return NoteSignature(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])
