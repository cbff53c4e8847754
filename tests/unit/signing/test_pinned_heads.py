"""A key that is over leaves its head behind: another history that it signs, below its end, is found."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from ledger_core.audit.events import AuditEvent, next_event
from ledger_core.ports import AuditIntent
from ledger_core.proving.range_proof import assemble_proof
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.validity import Interval, Validity
from ledger_core.verify.audit import check_audit
from ledger_core.verify.oracle import Report, verify_archive, verify_batch, verify_ledger, verify_proof
from tests.simulator.ledger import MemoryLedger
from tests.simulator.tiny_shards import add_shard
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of, closed_of, cut_of
from tests.support.audit_factory import CREATED_AT, audit_events
from tests.support.journal_factory import TinyShard

KEY, NEXT = Key("ed25519"), Key("ed25519", "next-v1")
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
CUTS = [(5, 5), (12, 12), (15, 15)]


def shard(currency: str = "USD") -> TinyShard:
    """Another currency makes another history, sound in itself."""
    return TinyShard().post(15, currency=currency)


def head(made: TinyShard, seq: int) -> str:
    return made.entries[seq - 1].entry_hash.hex()


def over(to_seq: int = 12, *, revoked: bool = True) -> SignerRegistry:
    """The key counts up to `to_seq` of the true history."""
    pin = Interval(1, to_seq, head(shard(), to_seq))
    held = RegisteredSigner(KEY.kid, "ed25519", KEY.public, None, NOW, "", Validity({0: pin}))
    return SignerRegistry([dataclasses.replace(held, revoked_at=NOW if revoked else None)])


def codes(report: Report) -> set[tuple[str, int | None]]:
    return {(it.code, it.seq) for it in report.findings}


def archive(made: TinyShard, cuts: list[tuple[int, int]]) -> MemoryStore:
    store = MemoryStore()
    archive_of(made, cuts, KEY, store)
    return store


def ledger(made: TinyShard, cuts: list[tuple[int, int]]) -> MemoryLedger:
    held = MemoryLedger()
    add_shard(held, made, cuts, KEY)
    return held


def test_the_true_history_holds() -> None:
    assert verify_archive(archive(shard(), CUTS[:2]), ENV, over()).sound
    assert verify_ledger(ledger(shard(), CUTS[:2]), over()).sound


def test_a_fork_below_the_end_is_found_in_archive_and_ledger() -> None:
    forked = shard("EUR")
    found = codes(verify_archive(archive(forked, CUTS[:2]), ENV, over()))
    assert found == {("proof.validity", 12), ("signer.pinned_head", 12)}
    assert found == codes(verify_ledger(ledger(forked, CUTS[:2]), over()))


def test_a_fork_with_other_range_ends_is_found_too() -> None:
    cuts = [(7, 7), (11, 11)]
    assert codes(verify_archive(archive(shard("EUR"), cuts), ENV, over(11 + 1))) == {("signer.pinned_head", 12)}
    past = [(7, 7), (14, 14)]
    assert ("signer.pinned_head", 12) in codes(verify_archive(archive(shard("EUR"), past), ENV, over()))


def test_a_history_that_stops_short_is_a_finding_only_where_the_key_may_be_in_other_hands() -> None:
    short = archive(shard(), CUTS[:1])
    assert codes(verify_archive(short, ENV, over())) == {("signer.pinned_head", 12)}
    assert verify_archive(short, ENV, over(revoked=False)).sound, "an archive may lag behind a rotation"
    fork = archive(shard("EUR"), CUTS[:2])
    assert ("signer.pinned_head", 12) in codes(verify_archive(fork, ENV, over(revoked=False)))


def test_a_registry_may_pin_keys_that_signed_nothing_here() -> None:
    signers = [*over().signers, RegisteredSigner(NEXT.kid, "ed25519", NEXT.public)]
    store = MemoryStore()
    archive_of(shard("EUR"), CUTS, NEXT, store)
    assert verify_archive(store, ENV, SignerRegistry(signers)).sound, "another environment's ledger"


@pytest.mark.parametrize(("currency", "sound"), [("USD", True), ("EUR", False)])
def test_a_proof_or_batch_of_the_end_itself_is_judged_alone(currency: str, sound: bool) -> None:
    made = shard(currency)
    closed = closed_of(cut_of(made, None, 12, 12), made, KEY, 1, None)
    proof = assemble_proof(closed.payload, KEY.sign_digest(closed.hash))
    assert codes(verify_proof(proof, over())) == (set() if sound else {("proof.validity", 12)})
    store = MemoryStore()
    keys = archive_of(made, CUTS[:2], KEY, store)
    assert codes(verify_batch(store.get(keys[1]), over())) == (set() if sound else {("proof.validity", 12)})


def chain(count: int, key: Key = KEY, prev: AuditEvent | None = None) -> list[AuditEvent]:
    """Events as the audit factory makes them, but of another story."""
    events = []
    for number in range(count):
        intent = AuditIntent("ledger.halted", "service:prover", {"reason": f"forged {number}"}, "ab" * 16)
        unsigned = next_event(prev, intent, event_id=f"forged-{number}", created_at=CREATED_AT)
        prev = unsigned.signed(key.sign_digest(unsigned.digest), key.registry.get(key.kid))
        events.append(prev)
    return events


def test_another_audit_chain_below_the_end_is_found() -> None:
    true = audit_events(KEY, 4)
    pin = Validity(None, Interval(1, 3, true[2].hash))
    held = RegisteredSigner(KEY.kid, "ed25519", KEY.public, None, NOW, "", pin, NOW)
    trusted = SignerRegistry([held, RegisteredSigner(NEXT.kid, "ed25519", NEXT.public)])
    assert check_audit(true[:3], trusted).sound
    assert codes(check_audit(chain(3), trusted)) == {("audit.validity", 3)}
    short = check_audit(chain(2), trusted)
    assert codes(short) == {("audit.truncated", 2)}
    mixed = chain(2)
    mixed += chain(1, NEXT, mixed[-1])
    assert ("audit.validity", 3) in codes(check_audit(mixed, trusted)), "whoever signs at the end"
