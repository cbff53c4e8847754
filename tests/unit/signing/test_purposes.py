"""What a key is registered for: read in one way, never changed, and asked before a process signs with it."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from finance.wiring.signers import check_purposes
from ledger_core.errors import Refused
from ledger_core.signing.purposes import PURPOSES, SIGNED_BY, WORDS
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.registry_edit import EMPTY, with_signers
from schemas.topology.load import load_topology
from tests.support.archive_factory import Key
from tests.support.topics import TOPOLOGY

KEY = Key()


def signer(*signs: str) -> RegisteredSigner:
    registered = RegisteredSigner(KEY.kid, "ed25519", KEY.public)
    return dataclasses.replace(registered, signs=frozenset(it for it in PURPOSES if it in signs) or None)


def test_it_is_written_and_read_back() -> None:
    for signs in ((), ("backup",), ("checkpoint", "proof"), PURPOSES):
        registry = SignerRegistry([signer(*signs)])
        assert SignerRegistry.from_json(registry.to_json()).get(KEY.kid) == signer(*signs)


MALFORMED: list[object] = [[], "backup", ["backups"], ["backup", "backup"], [1], None, {"backup": 1}, [["backup"]]]


@pytest.mark.parametrize("value", MALFORMED)
@pytest.mark.parametrize("foreign", [False, True])
def test_a_bound_that_is_not_understood_is_never_passed_over(value: object, foreign: bool) -> None:
    document = json.loads(SignerRegistry([signer("backup")]).to_json())
    document["signers"][0]["signs"] = value
    with pytest.raises(ValueError, match=f"signer {KEY.kid}: signs"):
        SignerRegistry.from_json(json.dumps(document).encode(), foreign=foreign)


def test_it_never_changes() -> None:
    held = with_signers(EMPTY, [signer("backup")])
    assert with_signers(held, [signer("backup")]) == held
    for other in (signer(), signer("backup", "proof"), signer("proof")):
        with pytest.raises(ValueError, match="never changes"):
            with_signers(held, [other])


def test_a_process_refuses_a_key_that_does_not_count_for_what_it_says() -> None:
    check_purposes(signer(), PURPOSES)
    check_purposes(signer("proof", "checkpoint"), SIGNED_BY["prover"])
    with pytest.raises(Refused, match=re.escape("--signs proof --signs checkpoint")):
        check_purposes(signer("backup"), SIGNED_BY["prover"])


def test_every_kind_has_its_words_and_somebody_who_says_it() -> None:
    assert set(WORDS) == set(PURPOSES) == {kind for kinds in SIGNED_BY.values() for kind in kinds}
    assert set(SIGNED_BY) == set(load_topology(TOPOLOGY).access.signing.everybody)
