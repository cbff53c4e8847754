"""Kernel's worked vector, and openssl as a second verifier: what we hash and sign is what strangers check.

The vector: three chained payloads, signed with the Ed25519 key of RFC 8032, test 1.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ledger_core import canonical, chain
from ledger_core.audit.events import event_hash
from ledger_core.proving import checkpoint
from ledger_core.proving.range_proof import assemble_proof, parse_proof
from ledger_core.signing import notes
from ledger_core.signing.signatures import PublicKey, decode_signature, verify_digest
from tests.support.archive_factory import Key, closed_of, cut_of
from tests.support.audit_factory import audit_events
from tests.support.journal_factory import TinyShard

PUBLIC_KEY = PublicKey.parse("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")

VECTOR = [
    (
        b'{"amount_cents":19999,"currency":"USD","journal_id":"jrn-1"}',
        "472a0112b87881eb3b5572a9827848e74eebca20a6e5d9852817b60b793d5b42",
        "9joD28AqzCWR59oJ/rdP9mOaWWtgaPVc+8DoBsN9PIB94JF4VgvfM3+m5JKFnJRFoFjoDjVduJi1bwrtlXxNAw==",
    ),
    (
        '{"a":{"y":"<&>","z":"Zoë"},"b":[1,2.5,null,true]}'.encode(),
        "3fbf5e795678059a0311c0de8a1fc0da484f50a84f151b375b96ea018ab05def",
        "0RKx0PjnTUKYk/rYE9JvPdtv9gtCk4aqkR4B4hZ9VThm5/5EN9T0wjOIgj70FnNwsau4ZagiplcBELE5aQZeDw==",
    ),
    (
        b"{}",
        "f9ab9ca1cba57d420245783be7af50727b6572949c69be357e5c505e4d2fdf58",
        "UUegnmbBLWo3hoJEgHRx7U6vFoewBGdP32nccche/M2FlvH6PuVIrwSBiUogpSOseYc5kEdomeBG3OGXThibBA==",
    ),
]


def test_our_chain_gives_kernels_hashes_and_our_keys_verify_kernels_signatures() -> None:
    prev: bytes | None = None
    for payload, digest, signature in VECTOR:
        prev = chain.link(payload, prev)
        assert prev.hex() == digest
        verify_digest(PUBLIC_KEY, prev, decode_signature(signature))


def test_what_our_canonical_form_covers_of_the_vector_is_spelled_alike() -> None:
    assert event_hash(canonical.decode(VECTOR[0][0]), None) == VECTOR[0][1]
    assert event_hash({}, VECTOR[1][1]) == VECTOR[2][1]
    text = {"a": {"y": "<&>", "z": "Zoë"}}
    assert canonical.encode(text) == VECTOR[1][0].split(b',"b"')[0] + b"}"


def test_floats_that_kernel_takes_are_refused_by_us() -> None:
    """2.5 has one spelling, 1.0 has two: our payloads carry no floats at all."""
    with pytest.raises(ValueError, match="float"):
        canonical.decode(VECTOR[1][0])


def openssl(folder: Path, key: Key, message: bytes, signature: bytes, *options: str) -> bool:
    (folder / "key.pem").write_text(key.public.pem)
    (folder / "message").write_bytes(message)
    (folder / "signature").write_bytes(signature)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-in", "message"]
    done = subprocess.run([*command, "-sigfile", "signature", *options], cwd=folder, capture_output=True, check=False)
    return done.returncode == 0


PREHASHED = {"rsa-sha256": ("-pkeyopt", "digest:sha256"), "ed25519": ("-rawin",)}
AS_TEXT = {"rsa-sha256": ("-rawin", "-digest", "sha256"), "ed25519": ("-rawin",)}


@pytest.mark.parametrize("key", [Key("ed25519"), Key("rsa-sha256")], ids=lambda key: key.algorithm)
def test_openssl_verifies_a_proof_a_checkpoint_and_an_audit_event(key: Key, tmp_path: Path) -> None:
    shard = TinyShard().post(5).silence(1)
    closed = closed_of(cut_of(shard, None, 5, 6), shard, key, 1, None)
    proof = parse_proof(assemble_proof(closed.payload, key.sign_digest(closed.hash)))
    digest, signature = bytes.fromhex(proof.hash), decode_signature(proof.signature)
    assert openssl(tmp_path, key, digest, signature, *PREHASHED[key.algorithm])
    assert not openssl(tmp_path, key, digest[::-1], signature, *PREHASHED[key.algorithm])

    text = closed.checkpoint_text
    note = notes.assemble(text, key.kid, key.public, key.sign_text(text))
    line = checkpoint.parse(note).signatures[0]
    assert openssl(tmp_path, key, text, line.signature, *AS_TEXT[key.algorithm])

    event = audit_events(key, 2)[1]
    digest, signature = bytes.fromhex(event.hash), decode_signature(event.signature)
    assert openssl(tmp_path, key, digest, signature, *PREHASHED[key.algorithm])
