"""Every reader of signed statements, each with a way to hand it a statement by a key of the test's choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from consumers.archive.stored_batch import manifest_under, range_as_stored
from consumers.audit import notary
from consumers.audit.restore import restore_chain
from consumers.proving.published_ranges import newest_in_archive
from consumers.recovery.archive_log import ArchiveLog
from ledger_core.archive.batch import SealedBatch
from ledger_core.archive.names import manifest_key
from ledger_core.errors import FinanceError
from ledger_core.proving.on_demand import check_signed
from ledger_core.proving.range_proof import assemble_proof, parse_proof
from ledger_core.signing import notes
from ledger_core.signing.purposes import Purpose
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import encode_signature
from ledger_core.signing.statements import Cosignature
from ledger_core.verify.audit import check_audit
from ledger_core.verify.ledger import head_of_checkpoint
from ledger_core.verify.oracle import verify_archive, verify_batch, verify_ledger, verify_proof, verify_receipt
from tests.simulator.ledger import MemoryLedger
from tests.simulator.tiny_shards import add_shard
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of, closed_of, cut_of
from tests.support.audit_factory import audit_events
from tests.support.control_records import at, control, judged
from tests.support.journal_factory import TinyShard
from tests.support.mac_key import MacSecret
from tests.support.receipt_factory import Office
from tests.unit.audit.test_audit_restore import Store
from tests.unit.proving.test_published_topic import Topic, chain
from tests.unit.signing.recovery_readers import (
    backup_manifest,
    chain_event,
    drill_report,
    full_wal_list,
    newest_wal_list,
)
from tests.unit.signing.trials import NO_ALGORITHM, NO_TIME, OTHER, Reader, Trial


def shard() -> TinyShard:
    return TinyShard().post(5)


def store_of(key: Key) -> tuple[MemoryStore, str]:
    store = MemoryStore()
    return store, archive_of(shard(), [(5, 5)], key, store)[0]


def proof_of(key: Key) -> bytes:
    closed = closed_of(cut_of(shard(), None, 5, 5), shard(), key, 1, None)
    return assemble_proof(closed.payload, key.sign_digest(closed.hash))


def range_proof(trial: Trial) -> bool:
    data = proof_of(trial.key)
    return verify_proof(data, trial.registry, audit_lines=record_of(data, trial)).sound


def record_of(proof: bytes, trial: Trial) -> bytes | None:
    """The audit chain, as JSON lines, with the event that announces the proof's range."""
    closed: dict[str, object] = {"shard": 0, "range_no": "1", "proof_hash": parse_proof(proof).hash}
    return chain_event(OTHER, "journal.posted", closed, trial.stands_behind) if trial.held else None


def cosigned_proof(trial: Trial) -> bool:
    closed = closed_of(cut_of(shard(), None, 5, 5), shard(), OTHER, 1, None)
    key = trial.key
    signature = encode_signature(key.sign_digest(closed.hash))
    cosignature = Cosignature(signer_kid=key.kid, alg=key.algorithm, signature=signature)
    return verify_proof(
        assemble_proof(closed.payload, OTHER.sign_digest(closed.hash), (cosignature,)), trial.registry
    ).sound


def control_record(trial: Trial) -> bool:
    return judged(at(trial.stands_behind, control(0, key=trial.key)), trial.registry) is not None


def proof_with_a_mac(trial: Trial) -> bool:
    """Its own signature is a MAC that nobody here can check: the trial's key must vouch for it."""
    closed = closed_of(cut_of(shard(), None, 5, 5), shard(), MAC, 1, None)
    key = trial.key
    signature = encode_signature(key.sign_digest(closed.hash))
    beside = Cosignature(signer_kid=key.kid, alg=key.algorithm, signature=signature)
    data = assemble_proof(closed.payload, MAC.sign_digest(closed.hash), (beside,))
    registry = SignerRegistry([*trial.registry.signers, *MAC.registry.signers])
    return verify_proof(data, registry, audit_lines=record_of(data, trial)).sound


def proof_to_build_on(trial: Trial) -> bool:
    data = proof_of(trial.key)
    return not refused(lambda: check_signed(data, parse_proof(data).digest(), trial.registry, 0, 1))


def archived(kind: str) -> Callable[[Trial], bool]:
    def accepts(trial: Trial) -> bool:
        findings = verify_archive(store_of(trial.key)[0], ENV, trial.registry).findings
        return not any(finding.code.startswith(f"{kind}.") for finding in findings)

    return accepts


def archive_batch(trial: Trial) -> bool:
    store, key = store_of(trial.key)
    record = record_of(proof_of(trial.key), trial)
    return verify_batch(store.get(key), trial.registry, audit_lines=record).sound


def batch_left_by_a_crash(trial: Trial) -> bool:
    store, key = store_of(trial.key)
    ours = SealedBatch(b"ours", "", 0, "")
    found = range_as_stored(store, key, ours, parse_proof(proof_of(trial.key)), trial.registry)  # type: ignore[arg-type]
    return found is not ours


def manifest_left_by_a_crash(trial: Trial) -> bool:
    store, _ = store_of(trial.key)
    return manifest_under(store, manifest_key(ENV, 0, 1), trial.registry) is not None  # type: ignore[arg-type]


def newest_manifest(trial: Trial) -> bool:
    store, _ = store_of(trial.key)
    return not refused(lambda: newest_in_archive(0, 0, store, ENV, trial.registry))


def archive_that_is_replayed(trial: Trial) -> bool:
    store, _ = store_of(trial.key)
    return not refused(lambda: list(ArchiveLog(store, ENV, trial.registry).parts(0)))


def kept_checkpoint(trial: Trial) -> bool:
    text = closed_of(cut_of(shard(), None, 5, 5), shard(), trial.key, 1, None).checkpoint_text
    note = notes.assemble(text, trial.key.kid, trial.key.public, trial.key.sign_text(text))
    return not refused(lambda: head_of_checkpoint(note, trial.registry, 0))


def receipt(trial: Trial) -> bool:
    office = Office(shard(), (trial.key,))
    return verify_receipt(office.receipt("entries", 2).to_bytes(), trial.registry).report.sound


def ledger(kind: str) -> Callable[[Trial], bool]:
    def accepts(trial: Trial) -> bool:
        made = MemoryLedger()
        add_shard(made, shard(), [(5, 5)], trial.key)
        findings = verify_ledger(made, trial.registry).findings
        return not any(finding.code.startswith(f"{kind}.") for finding in findings)

    return accepts


def audit_event(trial: Trial) -> bool:
    return check_audit(audit_events(trial.key), trial.registry).sound


def audit_event_that_is_restored(trial: Trial) -> bool:
    terms = {"source": "topic", "actor_id": "operator:test", "trace_id": "ab" * 16, "published_seq": 0}
    events = audit_events(trial.key)
    return not refused(
        lambda: restore_chain(Store(), iter(events), trial.registry, advance=lambda _: None, **terms)  # type: ignore[arg-type]
    )


def audit_event_to_chain_to(trial: Trial) -> bool:
    return not refused(lambda: notary.check_event(audit_events(trial.key)[0], trial.registry))


def announced_range(trial: Trial) -> bool:
    topic = Topic(chain([(0, 1)], trial.key))
    topic.registry = trial.registry
    found = topic.told(0)
    return [item.announced is not None for item in found] == [True]


def refused(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except (FinanceError, ValueError):
        return True
    return False


STATEMENTS = "ledger_core.verify.statements"
PROOF_SIGNATURES = "ledger_core.proving.proof_signatures"
MAC: Final = MacSecret()
BACKUPS = "finance.recovery.backup.place.statement.counting_fault"
MANIFEST: Final[frozenset[Purpose]] = frozenset({"manifest"})
CHECKPOINT: Final[frozenset[Purpose]] = frozenset({"checkpoint"})
EVENT: Final[frozenset[Purpose]] = frozenset({"audit_event"})
BACKUP: Final[frozenset[Purpose]] = frozenset({"backup"})
DRILL: Final[frozenset[Purpose]] = frozenset({"drill"})
# Its time is the broker's, whatever it claims, and what was decided of it is proved by what follows.
HELD_BY_THE_TOPIC: Final = frozenset({"revoked, dated back, and held by nothing"})
READERS: Final = {
    "range proof": Reader(f"{STATEMENTS}.check_signature", range_proof),
    "cosignature of a range proof": Reader(f"{STATEMENTS}._check_cosignature", cosigned_proof),
    "cosignature beside a MAC": Reader(f"{PROOF_SIGNATURES}.vouches", proof_with_a_mac),
    "range proof to build on": Reader(f"{PROOF_SIGNATURES}.first_proof_fault", proof_to_build_on),
    "range proof in a ledger": Reader(f"{STATEMENTS}.check_signature", ledger("proof")),
    "range proof in an archive": Reader(f"{STATEMENTS}.check_signature", archived("proof")),
    "archive batch": Reader(f"{STATEMENTS}.check_signature", archive_batch),
    "archive batch left by a crash": Reader(f"{STATEMENTS}.check_signature", batch_left_by_a_crash),
    "manifest": Reader(f"{STATEMENTS}.check_signature", archived("manifest"), says=MANIFEST),
    "manifest that is replayed": Reader(
        f"{STATEMENTS}.check_signature", archive_that_is_replayed, says=MANIFEST | {"proof"}
    ),
    "manifest left by a crash": Reader(
        "consumers.archive.stored_batch.manifest_under", manifest_left_by_a_crash, says=MANIFEST
    ),
    "newest manifest": Reader("consumers.proving.published_ranges._manifest", newest_manifest, says=MANIFEST),
    "checkpoint": Reader(
        "ledger_core.proving.checkpoint.faults_of", kept_checkpoint, NO_ALGORITHM | NO_TIME, says=CHECKPOINT
    ),
    "checkpoint of a receipt": Reader(
        "ledger_core.proving.checkpoint.faults_of", receipt, NO_ALGORITHM | NO_TIME, is_last=True, says=CHECKPOINT
    ),
    "checkpoint in a ledger": Reader(
        "ledger_core.proving.checkpoint.faults_of", ledger("checkpoint"), NO_ALGORITHM | NO_TIME, says=CHECKPOINT
    ),
    "checkpoint in an archive": Reader(
        "ledger_core.proving.checkpoint.faults_of", archived("checkpoint"), NO_ALGORITHM | NO_TIME, says=CHECKPOINT
    ),
    "audit event": Reader("ledger_core.audit.events.faults_of", audit_event, NO_ALGORITHM, says=EVENT),
    "audit event that is restored": Reader(
        "ledger_core.audit.events.faults_of", audit_event_that_is_restored, NO_ALGORITHM, says=EVENT
    ),
    "audit event to chain to": Reader(
        "ledger_core.audit.events.faults_of", audit_event_to_chain_to, NO_ALGORITHM, says=EVENT
    ),
    "announced range": Reader("ledger_core.audit.events.faults_of", announced_range, NO_ALGORITHM, says=EVENT),
    "newest list of WAL": Reader(
        "finance.recovery.backup.place.statement.counting_fault", newest_wal_list, is_last=True, says=BACKUP
    ),
    "full list of WAL": Reader(BACKUPS, full_wal_list, says=BACKUP),
    "backup manifest": Reader(BACKUPS, backup_manifest, says=BACKUP),
    "control record": Reader(
        "ledger_core.posting.activation._check_signature", control_record, HELD_BY_THE_TOPIC, says=frozenset({"rules"})
    ),
    "drill report": Reader(f"{STATEMENTS}.check_signature", drill_report, says=DRILL),
}
