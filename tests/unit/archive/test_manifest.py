"""The manifest: what it pins, and how manifests are chained."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from ledger_core import canonical
from ledger_core.archive.manifest import (
    ManifestObject,
    ManifestPayload,
    ObjectRange,
    assemble_manifest,
    parse_manifest,
    parse_manifest_payload,
)
from tests.support.proof_examples import HEAD, PREV, ROOT, TS


def manifest(manifest_no: str = "1", prev: str | None = None, **change: Any) -> ManifestPayload:
    fields: dict[str, Any] = {
        "key": "test/batches/x.jsonl.gz",
        "version_id": "v1",
        "size_bytes": "1000",
        "sha256": ROOT,
        "stored_size_bytes": "100",
        "stored_sha256": HEAD,
        "mode": "COMPLIANCE",
        "retain_until": "2032-11-01T00:00:00.000000Z",
        "range": ObjectRange(
            first_seq="1", last_seq="3", first_offset="0", next_offset="4", proof_id="test-0-1", proof_hash=PREV
        ),
    } | change
    return ManifestPayload(
        version=1,
        service="finance",
        env="test",
        shard=0,
        manifest_no=manifest_no,
        object=ManifestObject(**fields),
        checkpoint=f"example.com/finance/test/ledger/0\n3\n{'A' * 43}=\n\n\u2014 k1 QUJD\n",
        prev_manifest_hash=prev,
        signer_kid="k1",
        alg="ed25519",
        ts=TS,
    )


def test_hash_is_sha256_of_canonical_payload_and_raw_previous_hash() -> None:
    first, second = manifest(), manifest("2", PREV)
    assert first.digest() == hashlib.sha256(first.to_bytes()).digest()
    assert second.digest() == hashlib.sha256(second.to_bytes() + bytes.fromhex(PREV)).digest()


def test_parsing_gives_back_what_was_assembled() -> None:
    signed = assemble_manifest(manifest().to_bytes(), b"s" * 64)
    assert list(canonical.decode(signed)) == sorted(canonical.decode(signed))
    assert parse_manifest_payload(parse_manifest(signed).to_bytes()) == manifest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version_id":"v1"', b'"version_id":"v2"'),
        (b'"mode":"COMPLIANCE"', b'"mode":"GOVERNANCE"'),
        (b'"retain_until":"2032', b'"retain_until":"2031'),
        (b'"manifest_no":"1"', b'"manifest_no":"2"'),
        (b'"shard":0', b'"shard":-1'),
        (b'"shard":0', b'"shard":0,"x":1'),
    ],
)
def test_an_altered_manifest_is_not_parsed(old: bytes, new: bytes) -> None:
    signed = assemble_manifest(manifest().to_bytes(), b"s" * 64)
    assert old in signed
    with pytest.raises(ValueError, match=r".+"):
        parse_manifest(signed.replace(old, new))


@pytest.mark.parametrize(("manifest_no", "prev"), [("0", None), ("1", PREV), ("2", None)])
def test_manifests_count_from_one_and_only_the_first_follows_nothing(manifest_no: str, prev: str | None) -> None:
    with pytest.raises(ValueError, match="count from 1"):
        manifest(manifest_no, prev)


def test_a_time_that_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match=r".+"):
        manifest(retain_until="2032-02-30T00:00:00.000000Z")
