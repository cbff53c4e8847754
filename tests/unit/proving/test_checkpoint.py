"""Checkpoints: the bytes of C2SP, and which notes are believed."""

from __future__ import annotations

import base64
import hashlib

import pytest

from ledger_core.proving import checkpoint
from ledger_core.proving.checkpoint import RecordHead
from ledger_core.signing import notes
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import BadSignature
from ledger_core.tree import EMPTY_ROOT, CompactRange
from tests.support.archive_factory import Key, checkpoint_text

ED, RSA = Key("ed25519", "finance-ed25519-v1"), Key("rsa-sha256", "finance-rsa-v1")
ORIGIN = checkpoint.origin_of("example.com", "test", 3)
ROOT = hashlib.sha256(b"root").digest()
TEXT = checkpoint_text(ORIGIN, 42, ROOT)


def note(key: Key, text: bytes = TEXT, name: str | None = None) -> bytes:
    return notes.assemble(text, name or key.kid, key.public, key.sign_text(text))


def both() -> SignerRegistry:
    return SignerRegistry([*ED.registry.signers, *RSA.registry.signers])


def test_the_text_is_five_lines() -> None:
    root, none = base64.b64encode(ROOT).decode(), base64.b64encode(EMPTY_ROOT).decode()
    expected = f"example.com/finance/test/ledger/3\n42\n{root}\nrecord 0 42\nverdicts 0 {none}\n"
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
    other_text = checkpoint_text(ORIGIN, 43, ROOT)
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


def test_the_record_and_its_verdicts_are_signed_and_read() -> None:
    entries, verdicts = CompactRange().extend([ROOT] * 3), CompactRange().extend([ROOT] * 2)
    text = checkpoint.record_text(ORIGIN, 7, entries, verdicts)
    kept, _ = checkpoint.parse_and_verify(note(ED, text), ED.registry)
    assert (kept.size, kept.root) == (3, entries.root())
    assert kept.record == RecordHead(7, 12, 2, verdicts.root())
    with pytest.raises(ValueError, match="begins at an offset from 0"):
        checkpoint.record_text(ORIGIN, -1, entries, verdicts)


GOOD = (b"record 0 42", b"verdicts 0 " + base64.b64encode(EMPTY_ROOT))


@pytest.mark.parametrize(
    "lines",
    [
        (),
        GOOD[:1],
        GOOD[1:],
        GOOD[::-1],
        (*GOOD, b"more"),
        (b"record 0 43", GOOD[1]),
        (b"record 1 42", GOOD[1]),
        (b"record 00 42", GOOD[1]),
        (b"record 0  42", GOOD[1]),
        (b"record -1 41", GOOD[1]),
        (GOOD[0], GOOD[1].replace(b" 0 ", b" 1 ")),
        (GOOD[0], GOOD[1][:-4]),
        (GOOD[0], GOOD[1] + b" x"),
    ],
)
def test_a_checkpoint_says_where_its_record_ends_or_is_refused(lines: tuple[bytes, ...]) -> None:
    text = b"\n".join([*TEXT.split(b"\n")[:3], *lines, b""])
    with pytest.raises(ValueError, match=r".+"):
        checkpoint.parse_and_verify(note(ED, text), ED.registry)
