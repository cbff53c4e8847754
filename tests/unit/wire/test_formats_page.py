"""docs/FORMATS.md is recomputed: by the product's code, and again with hashlib from the page's own text."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import PublicKey, decode_signature, verify_digest, verify_text
from ledger_core.verify.oracle import verify_audit_lines, verify_proof
from tests.support.format_examples import examples

EXAMPLES = Path(__file__).parents[3] / "schemas/examples/range_proof.v1/valid"
PAGE = (Path(__file__).parents[3] / "docs" / "FORMATS.md").read_text()
SHOWN = dict(re.findall(r"<!-- example: ([^>]+) -->\n```\n(.*?)\n```", PAGE, re.DOTALL))
REGISTRY = SignerRegistry.from_json(SHOWN["signers.json"].encode())
(SIGNER,) = REGISTRY.signers
PUBLIC_KEY = PublicKey.parse(SIGNER.public_pem)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def statement(name: str, prev: str) -> tuple[dict[str, Any], str]:
    """A signed statement of the page, and its hash recomputed with nothing of ours."""
    fields = json.loads(SHOWN[name])
    payload = {key: value for key, value in fields.items() if key not in ("hash", "signature")}
    data = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return fields, sha256(data + bytes.fromhex(payload[prev] or ""))


@pytest.mark.parametrize("name", sorted(set(examples()) - {"manifest"}))
def test_example_is_what_the_code_makes(name: str) -> None:
    assert SHOWN[name] == examples()[name]


def test_manifest_is_what_the_code_makes_but_for_the_gzip_bytes() -> None:
    """gzip output differs between versions of zlib, so the digest of the stored bytes may, and what hangs on it."""
    shown, made = json.loads(SHOWN["manifest"]), json.loads(examples()["manifest"])
    for fields in (shown, made):
        for name in ("hash", "signature"):
            del fields[name]
        for name in ("stored_sha256", "stored_size_bytes"):
            del fields["object"][name]
    assert shown == made


def test_chain_and_tree_follow_from_the_entries_shown() -> None:
    one, two = SHOWN["entry"].encode(), SHOWN["entry 2"].encode()
    first = sha256(one)
    second = sha256(two + bytes.fromhex(first))
    assert SHOWN["chain"] == f"seq 1  {first}\nseq 2  {second}"
    leaves = [sha256(b"\0" + one), sha256(b"\0" + two)]
    root = sha256(b"\x01" + bytes.fromhex(leaves[0]) + bytes.fromhex(leaves[1]))
    assert SHOWN["tree"] == f"leaf 1  {leaves[0]}\nleaf 2  {leaves[1]}\nroot 2  {root}"


@pytest.mark.parametrize(("name", "prev"), [("range proof", "prev_proof_hash"), ("manifest", "prev_manifest_hash")])
def test_statements_shown_have_their_hash_and_signature(name: str, prev: str) -> None:
    fields, digest = statement(name, prev)
    assert fields["hash"] == digest
    verify_digest(SIGNER.public_key, bytes.fromhex(digest), decode_signature(fields["signature"]))


def test_proof_speaks_of_the_entries_and_verdicts_shown() -> None:
    proof, _ = statement("range proof", "prev_proof_hash")
    (part,) = proof["shards"]
    assert part["head_hash"] in SHOWN["chain"]
    assert part["root"] in SHOWN["tree"]
    assert part["source"]["verdicts_hash"] == sha256(SHOWN["verdict"].encode() + b"\n")
    assert verify_proof(SHOWN["range proof"].encode(), REGISTRY).sound


def test_a_mac_shown_is_made_of_the_secret_and_checked_by_the_cosigner_without_it() -> None:
    secret = bytes(range(32))
    fields = json.loads(SHOWN["range proof with a MAC"])
    beside = {name: fields.pop(name) for name in ("hash", "signature", "cosignatures")}
    data = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert sha256(data) == beside["hash"]
    digest = bytes.fromhex(beside["hash"])
    assert base64.b64decode(beside["signature"]) == hmac.digest(secret, digest, "sha256")
    verify_digest(SIGNER.public_key, digest, decode_signature(beside["cosignatures"][0]["signature"]))
    key = json.loads(SHOWN["MAC key"])
    text = b"finance: the MAC of this text names its key; it signs nothing\n"
    assert key["mac_check"] == hmac.digest(secret, text, "sha256").hex()
    registered = SignerRegistry.from_json(json.dumps([key]).encode()).get(fields["signer_kid"])
    named = f"hmac-sha256\n{key['mac_key_id']}\n{key['mac_check']}\n"
    assert registered.public_key.fingerprint == sha256(named.encode())
    report = verify_proof(SHOWN["range proof with a MAC"].encode(), REGISTRY.with_signer(registered))
    assert (report.sound, report.counts) == (True, {"proofs": 1, "signatures": 1, "macs_unchecked": 1})
    for name in ("mac", "mac-cosigned"):
        example = json.loads((EXAMPLES / f"{name}.json").read_bytes())
        assert (example["hash"], example["signature"]) == (beside["hash"], beside["signature"])


def test_checkpoint_shown_is_signed_as_text() -> None:
    text, _, line = SHOWN["checkpoint"].partition("\n\n")
    signed = text.encode() + b"\n"
    dash, name, blob = line.split(" ")
    data = base64.b64decode(blob)
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + PUBLIC_KEY.raw).digest()[:4]
    assert (dash, name, data[:4]) == ("\u2014", SIGNER.kid, key_id)
    verify_text(SIGNER.public_key, signed, data[4:])
    assert base64.b64decode(text.split("\n")[2]).hex() in SHOWN["tree"]


def test_audit_event_shown_is_sound() -> None:
    event = json.loads(SHOWN["audit event"])
    data = json.dumps(event["payload"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert event["hash"] == sha256(data)
    assert verify_audit_lines(SHOWN["audit event"].encode() + b"\n", REGISTRY).sound
