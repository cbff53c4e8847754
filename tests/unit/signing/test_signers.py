"""The signer registry: every shape Kernel reads, and nothing that Kernel would silently pass over."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import pytest

from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from tests.support.archive_factory import Key

ED, RSA = Key("ed25519", "finance-ed25519-v1"), Key("rsa-sha256", "finance-rsa-v1")
ITEM = {
    "signer_kid": ED.kid,
    "algorithm": "ed25519",
    "public_key_pem": ED.public.pem,
    "deployedAt": "2025-11-01T00:00:00Z",
    "description": "test",
}


def read(document: object) -> SignerRegistry:
    return SignerRegistry.from_json(json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [
        {"signers": [ITEM]},
        [ITEM],
        {ED.kid: ITEM},
        {ED.kid: {name: value for name, value in ITEM.items() if name != "signer_kid"}},
        {"signers": {ED.kid: ITEM}},
        [{**ITEM, "public_key_pem": base64.b64encode(ED.public.spki_der).decode()}],
        [{**ITEM, "public_key_pem": base64.b64encode(ED.public.raw).decode()}],
    ],
)
def test_every_shape_that_kernel_reads_is_read(document: object) -> None:
    signer = read(document).get(ED.kid)
    assert (signer.public_key, signer.algorithm) == (ED.public, "ed25519")
    assert signer.deployed_at == dt.datetime(2025, 11, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "Ed25519"}, "not spelled"),
        ({"algorithm": "RSA-SHA256"}, "not spelled"),
        ({"algorithm": "rsa-sha256"}, "the key is ed25519"),
        ({"algorithm": None}, "not spelled"),
        ({"public_key_pem": "nonsense"}, "signer finance-ed25519-v1"),
        ({"public_key_pem": None}, "no public_key_pem"),
        ({"signer_kid": ""}, "no signer_kid"),
        ({"signer_kid": "with blank"}, "without blanks"),
        ({"deployedAt": "yesterday"}, "RFC 3339"),
        ({"retiredAt": "2025-11-01T00:00:00"}, "no zone"),
    ],
)
def test_what_kernel_passes_over_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read([{**ITEM, **change}])


# What a registry of ours may not say, and why: a bound that is passed over, a line that hides another.
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"retireAt": "2025-11-01T00:00:00Z"}, "'retireAt' is not a field; is retiredAt meant"),
        ({"RetiredAt": "2025-11-01T00:00:00Z"}, "is retiredAt meant"),
        ({"retired-at": "2025-11-01T00:00:00Z"}, "is retired"),
        ({"revoked": "2025-11-01T00:00:00Z"}, "is revoked"),
        ({"valdity": {}}, "is validity meant"),
        ({"signer_kids": "x"}, "is signer_?[kK]id meant"),
        ({"comment": "ours"}, "'comment' is not a field of a signer"),
        ({"kid": "another"}, "signer_kid and kid contradict"),
        ({"publicKey": RSA.public.pem}, "public_key_pem and publicKey contradict"),
        ({"retiredAt": "2025-11-01T00:00:00Z", "retired_at": "2099-11-01T00:00:00Z"}, "contradict"),
        ({"description": 7}, "description is int"),
        ({"signer_kid": 7}, "signer_kid is int"),
    ],
)
def test_a_registry_has_one_reading(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read([{**ITEM, **change}])


def test_what_others_keep_in_their_copy_is_passed_over_and_a_slip_is_not() -> None:
    data = json.dumps({"version": 3, "signers": [{**ITEM, "comment": "of another team", "kid": ED.kid}]}).encode()
    assert SignerRegistry.from_json(data, foreign=True).get(ED.kid).public_key == ED.public
    with pytest.raises(ValueError, match="beside `signers`"):
        SignerRegistry.from_json(data)
    with pytest.raises(ValueError, match="is retiredAt meant"):
        SignerRegistry.from_json(json.dumps([{**ITEM, "retiredat": "x"}]).encode(), foreign=True)


@pytest.mark.parametrize(
    "text",
    [
        '{"signers": [], "signers": []}',
        '[{"signer_kid": "a", "signer_kid": "b"}]',
        '{"a": {"algorithm": "ed25519"}, "a": {"algorithm": "ed25519"}}',
        '[{"validity": {"audit": {"to_seq": "1", "to_seq": "2"}}}]',
    ],
)
def test_no_key_of_the_file_stands_there_twice(text: str) -> None:
    with pytest.raises(ValueError, match="stands there twice"):
        SignerRegistry.from_json(text.encode())


@pytest.mark.parametrize("data", [b"[" * 100_000, b"\xff", b"{", b'{"signers": 1e999}', b'[{"x": NaN}]', b""])
def test_what_is_not_a_registry_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        SignerRegistry.from_json(data)


def test_bare_pem_under_a_kid_and_repeated_kids_are_refused() -> None:
    with pytest.raises(ValueError, match="not an object"):
        read({ED.kid: ED.public.pem})
    with pytest.raises(ValueError, match="twice"):
        read([ITEM, ITEM])
    with pytest.raises(ValueError, match="calls itself"):
        read({"another": ITEM})
    with pytest.raises(ValueError, match="object or an array"):
        read("text")


def test_a_registry_reads_what_it_writes_and_keeps_retired_keys() -> None:
    retired = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    old = RegisteredSigner(RSA.kid, "rsa-sha256", RSA.public, None, retired, "before")
    registry = read([ITEM]).with_signer(old)
    again = SignerRegistry.from_json(registry.to_json())
    assert again.signers == registry.signers
    assert again.get(RSA.kid).retired_at == retired
    with pytest.raises(KeyError, match="known: finance-ed25519-v1, finance-rsa-v1"):
        again.get("stranger")


def test_a_key_is_found_under_the_name_that_still_signs() -> None:
    retired = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    one = RegisteredSigner("old", "ed25519", ED.public, None, retired)
    two = RegisteredSigner("new", "ed25519", ED.public)
    found = SignerRegistry([one, two]).find_by_key(ED.public)
    assert found is two
    assert SignerRegistry([one]).find_by_key(RSA.public) is None
