"""A manifest that a revoked key signed beyond where it counts is taken by nobody: each reader of manifests, in a
table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final, cast

import pytest

from consumers.archive.stored_batch import manifest_under
from consumers.proving.published_ranges import newest_in_archive
from ledger_core.archive.names import manifest_key
from ledger_core.errors import Refused
from ledger_core.ports import ArchiveStore
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.validity import Interval, Validity
from ledger_core.verify.archive import check_archive
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of
from tests.support.journal_factory import TinyShard

KEY: Final = Key("ed25519")
ENDED: Final = 5  # the key counts up to this entry; the newest range ends at 7


def _adopted(store: MemoryStore, registry: SignerRegistry) -> bool:
    return manifest_under(cast(ArchiveStore, store), manifest_key(ENV, 0, 3), registry) is not None


def _binds(store: MemoryStore, registry: SignerRegistry) -> bool:
    try:
        return newest_in_archive(0, 2, store, ENV, registry) != []
    except Refused:
        return False


def _sound(store: MemoryStore, registry: SignerRegistry) -> bool:
    """As a rebuild asks too, before it writes a range."""
    return check_archive(store, ENV, registry).sound


READERS: Final[dict[str, Callable[[MemoryStore, SignerRegistry], bool]]] = {
    "the archiver, for a manifest of its own": _adopted,
    "the prover, for what binds": _binds,
    "the oracle": _sound,
}


@pytest.mark.parametrize("taken", READERS.values(), ids=READERS)
def test_what_a_revoked_key_signed_beyond_its_end_is_not_taken(
    taken: Callable[[MemoryStore, SignerRegistry], bool],
) -> None:
    store = MemoryStore()
    archive_of(TinyShard().post(7), [(3, 3), (5, 5), (7, 7)], KEY, store)
    (signer,) = KEY.registry.signers
    assert taken(store, KEY.registry)
    for to_seq, counts in ((7, True), (ENDED, False)):
        ended = dataclasses.replace(signer, validity=Validity(shards={0: Interval(1, to_seq)}))
        assert taken(store, SignerRegistry([ended])) is counts, to_seq
