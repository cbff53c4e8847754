"""The digest of personal data: one for all pairs, and a commitment of each, by a salt of its own."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from ledger_core.books.personal import commitment_of, digest_of, pair_salt, sealed

EXAMPLES = sorted((Path(__file__).parents[3] / "schemas/examples/personal.v1/valid").glob("*.json"))


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_a_digest_is_that_of_the_published_form_and_of_the_examples(file: Path) -> None:
    told = json.loads(file.read_text("utf-8"))
    salt = base64.b64decode(told["pii_salt"])
    commitments = [
        sha256(sha256(name.encode(), b"\0", salt), name.encode(), b"\0", told["pii"][name].encode())
        for name in sorted(told["pii"])
    ]
    made = sealed(told["pii"], salt)
    assert made.digest.hex() == told["pii_digest"] == sha256(*commitments).hex()
    assert made.canonical.decode() == told["canonical"]


def test_a_pair_is_opened_by_a_salt_that_opens_no_other() -> None:
    data, salt = {"buyer": "Zoe", "country": "PT"}, bytes(range(16))
    salts = {name: pair_salt(name, salt) for name in data}
    assert len({salt, *salts.values()}) == 3
    closed = commitment_of("buyer", "Zoe", salts["buyer"])
    opened = commitment_of("country", "PT", salts["country"])
    assert digest_of([closed, opened]) == sealed(data, salt).digest
    assert commitment_of("buyer", "Zoe", salts["country"]) != closed, "who has one salt cannot test a guess of another"


def test_pairs_in_any_order_have_one_digest_and_no_pair_flows_into_another() -> None:
    salt = bytes(16)
    assert sealed({"a": "1", "b": "2"}, salt).digest == sealed({"b": "2", "a": "1"}, salt).digest
    several = [{"a": "b"}, {"ab": ""}, {"a": "b", "c": ""}, {"a": "bc"}, {"a": "", "b": ""}, {}]
    assert len({sealed(pii, salt).digest for pii in several}) == len(several)
