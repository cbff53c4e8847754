"""The range proof: what it commits to, and that a contradictory one cannot exist."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import orjson
import pytest

from ledger_core import canonical
from ledger_core.proof_ids import of_range
from ledger_core.proving.range_proof import ShardRange, assemble_proof, parse_payload, parse_proof
from tests.support.proof_examples import PREV, payload, shard_range

SIGNED = assemble_proof(payload().to_bytes(), b"s" * 64)
DESIGN_FIELDS = [
    "alg", "env", "hash", "ledger_row_ids", "num_rows", "prev_proof_hash", "proof_id", "range", "service", "shards",
    "signature", "signer_kid", "totals", "trace_id", "ts", "version",
]  # fmt: skip


def test_signed_proof_is_canonical_json_with_exactly_the_fields_of_the_design() -> None:
    assert list(canonical.decode(SIGNED)) == DESIGN_FIELDS
    assert "canonical_message" not in canonical.decode(SIGNED)


def test_hash_is_sha256_of_canonical_payload_and_raw_previous_hash() -> None:
    chained = payload(prev_proof_hash=PREV)
    document = orjson.loads(assemble_proof(chained.to_bytes(), b"s" * 64))
    del document["hash"], document["signature"]
    assert hashlib.sha256(canonical.encode(document) + bytes.fromhex(PREV)).digest() == chained.digest()
    assert hashlib.sha256(payload().to_bytes()).digest() == payload().digest()


def test_parsing_gives_back_what_was_assembled() -> None:
    proof = parse_proof(SIGNED)
    assert parse_payload(proof.to_bytes()) == payload()
    assert (proof.hash, proof.num_rows, proof.totals["USD"].debits) == (payload().digest().hex(), "3", "100")


def test_counts_are_texts_and_shard_numbers_are_integers() -> None:
    part = orjson.loads(SIGNED)["shards"][0]
    assert (part["shard"], part["first_seq"], part["tree_size"]) == (0, "11", "13")
    assert part["source"]["partition"] == 0
    assert part["source"]["posted"] == "3"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"num_rows":"3"', b'"num_rows":"4"'),
        (b'"num_rows":"3"', b'"num_rows":3'),
        (b'"num_rows":"3"', b'"num_rows":"03"'),
        (b'"env":"test"', b'"env":"prod"'),
        (b'"env":"test"', b'"env":"test","env":"test"'),
        (b'"env":"test"', b'"env": "test"'),
        (b'"last_seq":"13"', b'"last_seq":"14"'),
        (b'"first_offset":"10"', b'"first_offset":"9"'),
        (b'"debits":"100"', b'"debits":"101"'),
        (b'"version":1', b'"version":2'),
        (b'"service":"finance"', b'"service":"finances"'),
        (b'"trace_id":"0123', b'"trace_id":"Z123'),
        (b'"ts":"2025-11-01', b'"ts":"2025-13-01'),
        (b'"alg":"ed25519"', b'"alg":"hmac"'),
        (b'"alg"', b'"agl":1,"alg"'),
        (b'"hash":"', b'"hash":"zz'),
    ],
)
def test_an_altered_proof_is_not_parsed(old: bytes, new: bytes) -> None:
    assert old in SIGNED
    with pytest.raises(ValueError, match=r".+"):
        parse_proof(SIGNED.replace(old, new))


@pytest.mark.parametrize("signature", ["", "!!", "QQ", "QR=="])
def test_a_signature_that_is_not_strict_base64_is_not_parsed(signature: str) -> None:
    document = orjson.loads(SIGNED) | {"signature": signature}
    with pytest.raises(ValueError, match=r".+"):
        parse_proof(canonical.encode(document))


def test_a_range_without_entries_is_a_proof_of_its_verdicts() -> None:
    empty = shard_range(first_seq=11, last_seq=10)
    proof = parse_proof(assemble_proof(payload(empty).to_bytes(), b"s"))
    assert (proof.num_rows, proof.ledger_row_ids, proof.range.from_ts, proof.totals) == ("0", (), None, {})
    assert proof.shards[0].head_hash == proof.shards[0].prev_hash


@pytest.mark.parametrize(
    "change",
    [
        {"last_seq": "9"},
        {"prev_hash": None},
        {"head_hash": None},
        {"tree_size": "12"},
        {"root": hashlib.sha256(b"").hexdigest()},
        {"shard": 1},
        {"first_seq": "0"},
    ],
)
def test_a_contradictory_shard_range_cannot_be_built(change: dict[str, Any]) -> None:
    fields = {name: getattr(shard_range(), name) for name in ShardRange.__struct_fields__} | change
    with pytest.raises(ValueError, match=r".+"):
        ShardRange(**fields)


def test_shards_stand_in_order_each_once() -> None:
    payload(shard_range(0), shard_range(1))
    for numbers in ((1, 0), (0, 0)):
        with pytest.raises(ValueError, match="order"):
            payload(*(shard_range(number) for number in numbers))


def test_proof_ids_are_a_function_of_the_place_of_the_range() -> None:
    assert of_range("prod", 3, 17) == "prod-3-17"
    assert msgspec.structs.replace(payload(), proof_id=of_range("test", 0, 2)).to_bytes() != payload().to_bytes()


@pytest.mark.parametrize(
    ("proof_id", "purpose"),
    [
        ("test-0-7", "proof"),
        *((other, "demand") for other in ("test-demand-0a-1", "test-0-0", "test-0-07", "test-0-7\n", "test-0-٧")),
        *((other, "demand") for other in ("test-1-7", "prod-0-7", "test-0", "seven")),
    ],
)
def test_only_the_id_of_a_range_of_this_shard_is_the_provers(proof_id: str, purpose: str) -> None:
    assert msgspec.structs.replace(payload(), proof_id=proof_id).purpose == purpose
