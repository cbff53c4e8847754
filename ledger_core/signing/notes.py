"""Signed notes (C2SP signed-note): a text, a blank line, and one line for each key that signed the text. Pure.

Guarantees: a note is read in its one spelling or not at all; a line is made only of a signature that verifies. The key
name of a line is the signer_kid. Ed25519 key ids follow C2SP signed-note; RSA has no assigned type there, so
Rekor's convention is used (type 0xFF with the name `PKIX-RSA-PKCS#1v1.5`).
Does not: know what the text says (`ledger_core.proving.checkpoint`).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger_core.signing.mac_keys import MacKey
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import BadSignature, PublicKey, decode_signature, verify_text

NOTE_BYTES_MAX: Final = 65536
SIGNATURES_MAX: Final = 64
KEY_ID_BYTES: Final = 4
_EM_DASH: Final = "— "


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: the name of the key, its 4-byte id, and the signature."""

    key_name: str  # C2SP key name: the kid
    key_id: bytes  # first 4 bytes of the key's hash (C2SP)
    signature: bytes  # raw bytes


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


def signature_line(text: bytes, key_name: str, public_key: PublicKey | MacKey, signature: bytes) -> bytes:
    """One line more for a note: a note carries as many as keys signed it. Raises BadSignature unless it is right."""
    verify_text(public_key, text, signature)
    if isinstance(public_key, MacKey):
        raise BadSignature("a MAC key has no line on a note")
    blob = base64.b64encode(key_id(key_name, public_key) + signature).decode("ascii")
    return f"{_EM_DASH}{key_name} {blob}\n".encode()


def split(note: bytes) -> tuple[bytes, tuple[NoteSignature, ...]]:
    """The signed text (LF at the end) and the signature lines, none verified. Raises ValueError on another spelling."""
    if len(note) > NOTE_BYTES_MAX:
        raise ValueError(f"a checkpoint note is at most {NOTE_BYTES_MAX} bytes")
    whole = note.decode("utf-8")  # UnicodeDecodeError is a ValueError
    check_characters(whole)
    head, separator, tail = whole.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise ValueError("a signed note is text, blank line, signature lines, each ended by LF")
    signature_lines = tail[:-1].split("\n")
    if len(signature_lines) > SIGNATURES_MAX:
        raise ValueError(f"a note carries at most {SIGNATURES_MAX} signatures")
    return (head + "\n").encode("utf-8"), tuple(_parse_signature_line(line) for line in signature_lines)


def known_lines(
    signatures: Sequence[NoteSignature], registry: SignerRegistry
) -> list[tuple[NoteSignature, RegisteredSigner]]:
    """The lines whose key the registry holds, in order; those of other keys are ignored, as C2SP says. A MAC key has no
    line: one under its name is another key's."""
    named = ((line, registry.find(line.key_name)) for line in signatures)
    return [
        (line, it)
        for line, it in named
        if it is not None and isinstance(it.public_key, PublicKey) and key_id(it.kid, it.public_key) == line.key_id
    ]


def check_characters(text: str) -> None:
    """Raises ValueError on a control character other than LF."""
    if any(ord(character) < 0x20 and character != "\n" for character in text):
        raise ValueError("a note contains no control characters but LF")


def _parse_signature_line(line: str) -> NoteSignature:
    name, blank, blob = line.removeprefix(_EM_DASH).partition(" ")
    if not line.startswith(_EM_DASH) or not name or not blank:
        raise ValueError(f"{line[:60]!r} is not a signature line")
    data = decode_signature(blob)
    if len(data) <= KEY_ID_BYTES:
        raise ValueError("a signature line contains a key id and a signature")
    return NoteSignature(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])
