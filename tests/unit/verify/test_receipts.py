"""Receipts: every leaf has one that holds, and no other bytes hold in its place."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest

from ledger_core import canonical
from ledger_core.proving.receipt import RECEIPT_BYTES_MAX, Receipt
from ledger_core.proving.tiles import TreeName
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.validity import Interval, Validity
from ledger_core.tree import inclusion_proof, leaf_hash, leaf_hashes
from ledger_core.verify.oracle import verify_receipt
from tests.support.archive_factory import NOW, Key
from tests.support.journal_factory import TinyShard
from tests.support.receipt_factory import Office, leaves

ED, RSA = Key("ed25519", "receipt-ed-v1"), Key("rsa-sha256", "receipt-rsa-v1")


def a_shard(shard: int = 0, first_offset: int = 40) -> TinyShard:
    made = TinyShard(shard=shard, first_offset=first_offset).post(4).silence(2).post(5, currency="EUR")
    return made.silence(1, reason="bad_field").post(3).silence(1, reason="no_record").post(1)


OFFICE = Office(a_shard(), (ED,))
ENTRY, VERDICT = OFFICE.receipt("entries", 6).to_bytes(), OFFICE.receipt("verdicts", 2).to_bytes()


def codes(data: bytes, registry: SignerRegistry = OFFICE.registry, entry: bytes | None = None) -> set[tuple[str, Any]]:
    return {(it.code, it.field) for it in verify_receipt(data, registry, entry=entry).report.findings}


@pytest.mark.parametrize("keys", [(ED,), (RSA,), (ED, RSA), (RSA, ED)])
@pytest.mark.parametrize("tree", ["entries", "verdicts"])
def test_every_leaf_has_a_receipt_that_holds(tree: TreeName, keys: tuple[Key, ...]) -> None:
    office = Office(a_shard(3), keys)
    for index in range(len(leaves(office.shard, tree))):
        data = office.receipt(tree, index).to_bytes()
        check = verify_receipt(data + b"\n", office.registry)
        assert check.report.findings == ()
        assert check.report.counts == {"receipts": 1, "checkpoints": 1, "signatures": 1, tree: 1}
        assert check.says["index"] == str(index)
        assert len(data) < 4096
    assert verify_receipt(data, SignerRegistry([keys[0].registry.get(keys[0].kid)])).report.sound, "one key is enough"


def test_what_an_entry_and_a_verdict_say_comes_back() -> None:
    said = verify_receipt(ENTRY, OFFICE.registry).says
    wanted = {"seq": "7", "shard": "0", "offset": "48", "origin": "example.com/finance/test/ledger/0", "size": "13"}
    assert wanted.items() <= said.items()
    said = verify_receipt(VERDICT, OFFICE.registry).says
    assert {
        "verdict": "rejected",
        "reason": "bad_field",
        "offset": "51",
        "value_sha256": said["value_sha256"],
    }.items() <= (said.items())


def altered(data: bytes, **changes: object) -> bytes:
    fields = json.loads(data)
    for name, value in changes.items():
        if value is None:
            fields.pop(name)
        else:
            fields[name] = value
    return canonical.encode(fields)


def swapped_leaf(data: bytes, old: str, new: str) -> bytes:
    leaf = json.loads(data)["leaf"]
    assert old in leaf
    return altered(data, leaf=leaf.replace(old, new))


SIGNERS = json.loads(ENTRY)["signers"]
PATH = json.loads(ENTRY)["path"]
FORMS: dict[str, tuple[Callable[[], bytes], tuple[str, str | None]]] = {
    "empty": (lambda: b"", ("receipt.form", None)),
    "a LF alone": (lambda: b"\n", ("receipt.form", None)),
    "two LF": (lambda: ENTRY + b"\n\n", ("receipt.form", None)),
    "cut off": (lambda: ENTRY[:-1], ("receipt.form", None)),
    "too long": (lambda: ENTRY + b" " * RECEIPT_BYTES_MAX, ("receipt.form", None)),
    "a list": (lambda: b"[]", ("receipt.form", None)),
    "nested deeply": (lambda: b'{"a":' * 1500 + b"1" + b"}" * 1500, ("receipt.form", None)),
    "another order": (lambda: json.dumps(json.loads(ENTRY)).encode(), ("receipt.form", None)),
    "a field twice": (lambda: ENTRY.replace(b'"index":', b'"index":"6","index":'), ("receipt.form", None)),
    "not UTF-8": (lambda: ENTRY.replace(b"entries", b"\xff"), ("receipt.form", None)),
    "an unknown field": (lambda: altered(ENTRY, note="x"), ("receipt.form", "note")),
    "leaf and leaf_hash": (lambda: altered(ENTRY, leaf_hash="ab" * 32), ("receipt.form", "leaf_hash")),
    "no leaf": (lambda: altered(ENTRY, leaf=None), ("receipt.form", "leaf_hash")),
    "no path": (lambda: altered(ENTRY, path=None), ("receipt.form", "path")),
    "another says": (lambda: altered(ENTRY, says="finance.receipt.v2"), ("receipt.form", "says")),
    "another tree": (lambda: altered(ENTRY, tree="leaves"), ("receipt.form", "tree")),
    "tree as a list": (lambda: altered(ENTRY, tree=["entries"]), ("receipt.form", "tree")),
    "index as a number": (lambda: altered(ENTRY, index=6), ("receipt.form", "index")),
    "index with a zero": (lambda: altered(ENTRY, index="06"), ("receipt.form", "index")),
    "negative index": (lambda: altered(ENTRY, index="-1"), ("receipt.form", "index")),
    "index of 30 digits": (lambda: altered(ENTRY, index="9" * 30), ("receipt.form", "index")),
    "a long leaf": (lambda: altered(ENTRY, leaf="x" * 4097), ("receipt.form", "leaf")),
    "leaf as an object": (lambda: altered(ENTRY, leaf={}), ("receipt.form", "leaf")),
    "short leaf_hash": (lambda: altered(ENTRY, leaf=None, leaf_hash="ab" * 31), ("receipt.form", "leaf_hash")),
    "path of 65": (lambda: altered(ENTRY, path=PATH[:1] * 65), ("receipt.form", "path")),
    "short hash": (lambda: altered(ENTRY, path=[base64.b64encode(b"x" * 31).decode()]), ("receipt.form", "path")),
    "other base64": (lambda: altered(ENTRY, path=[PATH[0][:-2] + "/="]), ("receipt.form", "path")),
    "hash as a number": (lambda: altered(ENTRY, path=[7]), ("receipt.form", "path")),
    "signers as a text": (lambda: altered(ENTRY, signers="x"), ("receipt.form", "signers")),
    "signer with a field more": (
        lambda: altered(ENTRY, signers=[{**SIGNERS[0], "url": "x"}]),
        ("receipt.form", "signers"),
    ),
    "signer as a list": (lambda: altered(ENTRY, signers=[[]]), ("receipt.form", "signers")),
    "checkpoint as a list": (lambda: altered(ENTRY, checkpoint=[]), ("receipt.form", "checkpoint")),
    "no checkpoint": (lambda: altered(ENTRY, checkpoint="x"), ("checkpoint.signature", "note")),
    "a line twice": (
        lambda: altered(
            ENTRY,
            checkpoint=json.loads(ENTRY)["checkpoint"] + json.loads(ENTRY)["checkpoint"].splitlines()[-1] + "\n",
            signers=SIGNERS * 2,
        ),
        ("receipt.signers", "signers"),
    ),
    "no signers": (lambda: altered(ENTRY, signers=[]), ("receipt.signers", "signers")),
    "signers twice": (lambda: altered(ENTRY, signers=SIGNERS * 2), ("receipt.signers", "signers")),
    "another signer": (
        lambda: altered(ENTRY, signers=[{**SIGNERS[0], "signer_kid": "x"}]),
        ("receipt.signers", "signers"),
    ),
    "signer without a key": (
        lambda: altered(ENTRY, signers=[{**SIGNERS[0], "public_key_pem": "x"}]),
        ("receipt.signers", "signers"),
    ),
    "signer of another kind": (
        lambda: altered(ENTRY, signers=[{**SIGNERS[0], "algorithm": "rsa-sha256"}]),
        ("receipt.signers", "signers"),
    ),
    "another index": (lambda: altered(ENTRY, index="5"), ("receipt.path", "path")),
    "index behind the end": (lambda: altered(ENTRY, index="13"), ("receipt.path", "path")),
    "path without its end": (lambda: altered(ENTRY, path=PATH[:-1]), ("receipt.path", "path")),
    "path with one more": (lambda: altered(ENTRY, path=[*PATH, PATH[0]]), ("receipt.path", "path")),
    "path swapped": (lambda: altered(ENTRY, path=[PATH[1], PATH[0], *PATH[2:]]), ("receipt.path", "path")),
    "an amount": (lambda: swapped_leaf(ENTRY, '"107"', '"108"'), ("receipt.path", "path")),
    "a reason": (lambda: swapped_leaf(VERDICT, "bad_field", "unbalanced"), ("receipt.path", "path")),
    "a verdict as an entry": (lambda: altered(VERDICT, tree="entries"), ("receipt.path", "path")),
    "an entry as a verdict": (lambda: altered(ENTRY, tree="verdicts"), ("receipt.path", "path")),
    "another hash": (lambda: altered(ENTRY, leaf=None, leaf_hash="ab" * 32), ("receipt.path", "path")),
    "another root": (
        lambda: altered(ENTRY, checkpoint=json.loads(ENTRY)["checkpoint"].replace("\n13\n", "\n12\n")),
        ("checkpoint.signature", "note"),
    ),
}


@pytest.mark.parametrize("kind", FORMS)
def test_whatever_is_altered_is_found_and_named(kind: str) -> None:
    make, wanted = FORMS[kind]
    assert wanted in codes(make())


def test_a_bit_flipped_anywhere_is_found() -> None:
    for data in (ENTRY, VERDICT):
        for at in range(len(data)):
            flipped = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
            assert not verify_receipt(flipped, OFFICE.registry).report.sound, at


def test_a_leaf_of_another_place_is_found_though_the_path_leads_to_the_root() -> None:
    """What nobody but the key's holder can make: a signed tree that holds an entry where it does not belong."""
    shard = a_shard()
    shard.entries[6], shard.entries[7] = shard.entries[7], shard.entries[6]
    assert codes(Office(shard, (ED,)).receipt("entries", 6).to_bytes()) == {("receipt.leaf", "seq")}
    shard = a_shard(2)
    shard.shard = 0  # the checkpoint of shard 0 over entries of shard 2
    assert codes(Office(shard, (ED,)).receipt("entries", 6).to_bytes()) == {("receipt.leaf", "shard")}
    for first_offset in (39, 90):  # the record begins elsewhere
        shard = a_shard()
        shard.first_offset = first_offset
        for tree in ("entries", "verdicts"):
            data = Office(shard, (ED,)).receipt(tree, 0).to_bytes()
            found = codes(data)
            assert found <= {("receipt.leaf", "offset")}
            assert found or first_offset == 39


def test_a_leaf_that_is_too_long_is_left_out_and_brought() -> None:
    leaf = b"x" * 4097
    shard = a_shard()
    held = [*leaves(shard, "entries"), leaf]
    long = OFFICE.receipt("entries", 0)
    path = inclusion_proof(leaf_hashes(held), 13, 14)
    data = Receipt("entries", 13, leaf, leaf_hash(leaf), path, long.checkpoint, long.signers).to_bytes()
    assert "leaf" not in json.loads(data)
    escaped = Receipt("entries", 0, b'"' * 4000, leaf_hash(leaf), path, long.checkpoint, long.signers).to_bytes()
    assert "leaf" not in json.loads(escaped), "its escapes make it too long"
    body = leaves(OFFICE.shard, "entries")[6]
    short = altered(ENTRY, leaf=None, leaf_hash=leaf_hash(body).hex())
    check = verify_receipt(short, OFFICE.registry)
    assert check.report.sound
    assert check.report.counts["leaves_unchecked"] == 1
    assert check.says["leaf_hash"] == leaf_hash(body).hex()
    for brought in (body, body + b"\n"):
        check = verify_receipt(short, OFFICE.registry, entry=brought)
        assert check.report.sound
        assert check.says["seq"] == "7"
    assert codes(short, entry=leaves(OFFICE.shard, "entries")[5]) == {("receipt.leaf", "leaf")}
    assert codes(ENTRY, entry=b"") == {("receipt.leaf", "leaf")}


def test_a_note_that_is_too_long_makes_no_receipt() -> None:
    made = OFFICE.receipt("entries", 0)
    with pytest.raises(ValueError, match="at most"):
        Receipt("entries", 0, b"", made.leaf_hash, made.path, b"x" * 8192, made.signers).to_bytes()


def registered(key: Key, **changes: object) -> RegisteredSigner:
    return RegisteredSigner(key.kid, key.algorithm, key.public, **changes)  # type: ignore[arg-type]


REVOKED: dict[str, object] = {
    "retired_at": NOW,
    "revoked_at": NOW,
    "validity": Validity({0: Interval(1, 100)}, Interval(1, 100)),
}


def test_the_registry_decides_whose_receipts_count() -> None:
    assert ("checkpoint.signature", "note") in codes(ENTRY, RSA.registry), "a foreign key"
    assert ("checkpoint.signature", "note") in codes(ENTRY, Key("ed25519", "receipt-ed-v2").registry)
    drill = SignerRegistry([registered(ED, signs=frozenset({"drill"}))])
    assert codes(ENTRY, drill) == {("checkpoint.validity", "signer_kid")}
    retired = SignerRegistry([registered(ED, retired_at=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))])
    assert codes(ENTRY, retired) == set(), "what a retired key signed before counts"


def test_a_receipt_by_a_revoked_key_alone_does_not_count() -> None:
    revoked = registered(ED, **REVOKED)
    assert codes(ENTRY, SignerRegistry([revoked])) == {("checkpoint.validity", "signer_kid")}
    both = Office(a_shard(), (ED, RSA))
    data = both.receipt("entries", 6).to_bytes()
    assert codes(data, SignerRegistry([revoked, registered(RSA)])) == set(), "another key signed it too"
    assert codes(data, SignerRegistry([revoked, registered(RSA, **REVOKED)])) == {("checkpoint.validity", "signer_kid")}
