"""Checkpoints: the bytes of C2SP, and which notes are believed."""

from __future__ import annotations

import base64
import hashlib

import pytest

from ledger_core.proving import checkpoint
from ledger_core.signing import notes
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import BadSignature
from tests.support.archive_factory import Key

ED, RSA = Key("ed25519", "finance-ed25519-v1"), Key("rsa-sha256", "finance-rsa-v1")
ORIGIN = checkpoint.origin_of("example.com", "test", 3)
ROOT = hashlib.sha256(b"root").digest()
TEXT = checkpoint.note_text(ORIGIN, 42, ROOT)


def note(key: Key, text: bytes = TEXT, name: str | None = None) -> bytes:
    return notes.assemble(text, name or key.kid, key.public, key.sign_text(text))


def both() -> SignerRegistry:
    return SignerRegistry([*ED.registry.signers, *RSA.registry.signers])


def test_the_text_is_three_lines() -> None:
    expected = f"example.com/finance/test/ledger/3\n42\n{base64.b64encode(ROOT).decode()}\n"
    assert expected.encode() == TEXT


def test_key_ids_are_those_of_the_specifications() -> None:
    ed = hashlib.sha256(ED.kid.encode() + b"\n\x01" + ED.public.raw).digest()[:4]
    rsa = hashlib.sha256(RSA.kid.encode() + b"\n\xffPKIX-RSA-PKCS#1v1.5" + RSA.public.spki_der).digest()[:4]
    assert (notes.key_id(ED.kid, ED.public), notes.key_id(RSA.kid, RSA.public)) == (ed, rsa)
    line = note(ED).decode().splitlines()[-1]
    name, blob = line.removeprefix("\u2014 ").split(" ")
    assert (name, base64.b64decode(blob)) == (ED.kid, ed + ED.sign_text(TEXT))


@pytest.mark.parametrize("key", [ED, RSA], ids=lambda key: key.algorithm)
def test_a_note_of_a_registered_key_is_believed(key: Key) -> None:
    kept, signer = checkpoint.parse_and_verify(note(key), key.registry, origin=ORIGIN)
    assert (kept.origin, kept.size, kept.root, kept.text, signer.kid) == (ORIGIN, 42, ROOT, TEXT, key.kid)


def test_unknown_keys_are_ignored_and_a_known_keys_bad_signature_is_not() -> None:
    signed_by_both = note(ED) + note(RSA).split(b"\n\n")[1]
    assert checkpoint.parse_and_verify(signed_by_both, ED.registry)[1].kid == ED.kid
    assert checkpoint.parse_and_verify(signed_by_both, RSA.registry)[1].kid == RSA.kid
    other_text = checkpoint.note_text(ORIGIN, 43, ROOT)
    bad_second = note(ED) + note(RSA, other_text).split(b"\n\n")[1]
    assert checkpoint.parse_and_verify(bad_second, ED.registry)[1].kid == ED.kid
    with pytest.raises(BadSignature):
        checkpoint.parse_and_verify(bad_second, both())
    with pytest.raises(BadSignature, match="no key of the registry"):
        checkpoint.parse_and_verify(note(ED), RSA.registry)


def test_a_name_alone_is_no_key() -> None:
    impostor = Key("ed25519", "impostor")
    with pytest.raises(BadSignature, match="no key of the registry"):
        checkpoint.parse_and_verify(note(impostor, name=ED.kid), ED.registry)


def test_another_log_is_another_log() -> None:
    with pytest.raises(ValueError, match="not of"):
        checkpoint.parse_and_verify(note(ED), ED.registry, origin=checkpoint.origin_of("example.com", "test", 4))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"42\n", b"042\n"),
        (b"42\n", b"-42\n"),
        (b"42\n", b" 42\n"),
        (b"42\n", b"42\r\n"),
        (b"42\n", b"\n"),
        (b"42\n", "٤٢\n".encode()),
        (b"\n\n", b"\n"),
        (TEXT, b"\n"),
        ("\u2014 ".encode(), b"- "),
    ],
)
def test_another_spelling_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        checkpoint.parse_and_verify(note(ED).replace(old, new), ED.registry)


def test_nothing_unsigned_is_assembled() -> None:
    with pytest.raises(BadSignature):
        notes.assemble(TEXT, ED.kid, ED.public, ED.sign_text(TEXT + b"x"))
    with pytest.raises(ValueError, match="32 bytes"):
        checkpoint.note_text(ORIGIN, 1, b"short")
    with pytest.raises(ValueError, match="printable"):
        checkpoint.note_text("two\nlines", 1, ROOT)


def test_extension_lines_are_signed_and_read() -> None:
    text = checkpoint.note_text(ORIGIN, 42, ROOT, ["balances abc"])
    kept, _ = checkpoint.parse_and_verify(
        note(ED, text), SignerRegistry([RegisteredSigner(ED.kid, "ed25519", ED.public)])
    )
    assert kept.extensions == ("balances abc",)
