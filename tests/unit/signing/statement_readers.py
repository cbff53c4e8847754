"""Every reader of signed statements, each with a way to hand it a statement by a key of the test's choice."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from consumers.archive.stored_batch import manifest_under, range_as_stored
from consumers.audit import notary
from consumers.audit.restore import restore_chain
from consumers.proving.published_guard import PublishedRange
from consumers.proving.published_ranges import newest_in_archive, ranges_on_topic
from consumers.recovery.archive_log import ArchiveLog
from finance.recovery.backup.place.catalogue import read_catalogue
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import manifest_key as backup_key
from finance.recovery.backup.place.keys import newest_list_key, wal_key, wal_list_key
from finance.recovery.backup.place.manifest import BackupManifest, BackupPayload
from finance.recovery.backup.place.wal_list import WalList, WalListPayload, parse_wal_list
from finance.recovery.drill.report import DrillPayload, assemble_report, parse_report, verify_report
from ledger_core.archive.batch import SealedBatch
from ledger_core.archive.names import manifest_key
from ledger_core.errors import FinanceError
from ledger_core.proving.on_demand import check_signed
from ledger_core.proving.range_proof import assemble_proof, parse_proof
from ledger_core.signing import notes
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import encode_signature
from ledger_core.signing.statements import Cosignature, assemble
from ledger_core.times import format_time
from ledger_core.verify.audit import check_audit
from ledger_core.verify.ledger import head_of_checkpoint
from ledger_core.verify.oracle import verify_archive, verify_batch, verify_ledger, verify_proof
from tests.simulator.ledger import MemoryLedger
from tests.simulator.place import MemoryPlace
from tests.simulator.tiny_shards import add_shard
from tests.support.archive_factory import ENV, NOW, Key, MemoryStore, archive_of, closed_of, cut_of
from tests.support.audit_factory import audit_events
from tests.support.journal_factory import TinyShard
from tests.unit.audit.test_audit_restore import Store
from tests.unit.proving.test_published_ranges import Topic, chain
from tests.unit.recovery.test_backup_plan import backup
from tests.unit.recovery.test_drill_report import signed as drill_of
from tests.unit.recovery.test_drill_report import way

P = TypeVar("P", bound=msgspec.Struct)
ROOT: Final = Path(__file__).parents[3]
KEY, OTHER, RSA = Key(), Key(kid="other-v1"), Key("rsa-sha256")
SYSTEM = "7"
BEFORE = dt.datetime(2025, 10, 1, tzinfo=dt.UTC)  # every statement here
AFTER = dt.datetime(2025, 12, 1, tzinfo=dt.UTC)
SHA = "0" * 64


@dataclass(frozen=True)
class Trial:
    """Who signs (`key.algorithm` is what the statement declares), and what the reader knows of keys."""

    key: Key
    registry: SignerRegistry
    lists_until: dt.datetime = NOW  # of backups: when the list of WAL that stands before the statement was signed


def registry(**changes: object) -> SignerRegistry:
    ours = RegisteredSigner(KEY.kid, "ed25519", KEY.public)
    return SignerRegistry([*OTHER.registry.signers, dataclasses.replace(ours, **changes)])  # type: ignore[arg-type]


SOUND = Trial(KEY, registry())
# What a kind of statement does not say cannot be asked.
NO_ALGORITHM: Final = frozenset({"declares another algorithm"})
NO_TIME: Final = frozenset({"retired before", "revoked before"})
NO_PLACE: Final = frozenset({"revoked, and dated back"})  # a drill's report: the audit chain holds its digest


@dataclass(frozen=True)
class Reader:
    """`accepts` builds the statement by the trial's key and gives it to the reader. `asks`: the function, as
    `module.function`, that asks `ledger_core.signing.counting` for it."""

    asks: str
    accepts: Callable[[Trial], bool]
    not_said: frozenset[str] = frozenset()


def shard() -> TinyShard:
    return TinyShard().post(5)


def store_of(key: Key) -> tuple[MemoryStore, str]:
    store = MemoryStore()
    return store, archive_of(shard(), [(5, 5)], key, store)[0]


def proof_of(key: Key) -> bytes:
    closed = closed_of(cut_of(shard(), None, 5, 5), shard(), key, 1, None)
    return assemble_proof(closed.payload, key.sign_digest(closed.hash))


def range_proof(trial: Trial) -> bool:
    return verify_proof(proof_of(trial.key), trial.registry).sound


def cosigned_proof(trial: Trial) -> bool:
    closed = closed_of(cut_of(shard(), None, 5, 5), shard(), OTHER, 1, None)
    key = trial.key
    signature = encode_signature(key.sign_digest(closed.hash))
    cosignature = Cosignature(signer_kid=key.kid, alg=key.algorithm, signature=signature)
    return verify_proof(
        assemble_proof(closed.payload, OTHER.sign_digest(closed.hash), (cosignature,)), trial.registry
    ).sound


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
    return verify_batch(store.get(key), trial.registry).sound


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
    found: list[PublishedRange] = ranges_on_topic(0, 0, (0, 2), topic.open, trial.registry)
    return [item.announced is not None for item in found] == [True]


def wal_list(key: Key, signed_at: dt.datetime, before: WalList | None) -> bytes:
    number = int(before.list_no) + 1 if before is not None else 1
    payload = WalListPayload(
        version=1,
        service="finance",
        statement="backup-wal",
        env="test",
        system_identifier=SYSTEM,
        list_no=str(number),
        files_before=str(number - 1),
        link_before=before.links()[-1] if before is not None else None,
        files=(wal_key(SYSTEM, f"{number:024X}", BEFORE, SHA),),
        signed_at=format_time(signed_at),
        signer_kid=key.kid,
        alg=key.algorithm,
    )
    return assemble(payload, WalList, key.sign_digest(payload.digest()))


def newest_wal_list(trial: Trial) -> bool:
    first = wal_list(OTHER, trial.lists_until, None)
    newest = wal_list(trial.key, NOW, parse_wal_list(first))
    return place_is_sound({wal_list_key(SYSTEM, 1): first, newest_list_key(SYSTEM): newest}, trial)


def full_wal_list(trial: Trial) -> bool:
    first = wal_list(OTHER, trial.lists_until, None)
    second = wal_list(trial.key, NOW, parse_wal_list(first))
    return place_is_sound({wal_list_key(SYSTEM, 1): first, wal_list_key(SYSTEM, 2): second}, trial)


def backup_manifest(trial: Trial) -> bool:
    listed = wal_list(OTHER, trial.lists_until, None)
    says = {"wal_files": "1", "wal_link": parse_wal_list(listed).links()[-1], **names(trial.key)}
    payload = payload_of(BackupPayload, backup(1, NOW), **says)
    data = assemble(payload, BackupManifest, trial.key.sign_digest(payload.digest()))
    key = backup_key(SYSTEM, payload.backup_id)
    return place_is_sound({wal_list_key(SYSTEM, 1): listed, key: data}, trial)


def drill_report(trial: Trial) -> bool:
    payload = payload_of(DrillPayload, parse_report(drill_of(way())), **names(trial.key))
    return verify_report(assemble_report(payload, trial.key.sign_digest(payload.digest())), trial.registry).sound


def names(key: Key) -> dict[str, str]:
    return {"signer_kid": key.kid, "alg": key.algorithm}


def payload_of(kind: type[P], statement: msgspec.Struct, **changes: str) -> P:
    """The payload of a signed statement, with other words in it."""
    return kind(**{**{name: getattr(statement, name) for name in kind.__struct_fields__}, **changes})


def place_is_sound(files: dict[str, bytes], trial: Trial) -> bool:
    return read_catalogue(Copies([MemoryPlace("there", files)]), SYSTEM, trial.registry).broken == ()


def refused(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except (FinanceError, ValueError):
        return True
    return False


STATEMENTS = "ledger_core.verify.statements"
READERS: Final = {
    "range proof": Reader(f"{STATEMENTS}.check_signature", range_proof),
    "cosignature of a range proof": Reader(f"{STATEMENTS}._check_cosignature", cosigned_proof),
    "range proof to build on": Reader("ledger_core.proving.on_demand.check_signed", proof_to_build_on),
    "range proof in a ledger": Reader(f"{STATEMENTS}.check_signature", ledger("proof")),
    "range proof in an archive": Reader(f"{STATEMENTS}.check_signature", archived("proof")),
    "archive batch": Reader(f"{STATEMENTS}.check_signature", archive_batch),
    "archive batch left by a crash": Reader(f"{STATEMENTS}.check_signature", batch_left_by_a_crash),
    "manifest": Reader(f"{STATEMENTS}.check_signature", archived("manifest")),
    "manifest that is replayed": Reader(f"{STATEMENTS}.check_signature", archive_that_is_replayed),
    "manifest left by a crash": Reader("consumers.archive.stored_batch.manifest_under", manifest_left_by_a_crash),
    "newest manifest": Reader("consumers.proving.published_ranges._manifest", newest_manifest),
    "checkpoint": Reader("ledger_core.proving.checkpoint.faults_of", kept_checkpoint, NO_ALGORITHM | NO_TIME),
    "checkpoint in a ledger": Reader(
        "ledger_core.proving.checkpoint.faults_of", ledger("checkpoint"), NO_ALGORITHM | NO_TIME
    ),
    "checkpoint in an archive": Reader(
        "ledger_core.proving.checkpoint.faults_of", archived("checkpoint"), NO_ALGORITHM | NO_TIME
    ),
    "audit event": Reader("ledger_core.audit.events.faults_of", audit_event, NO_ALGORITHM),
    "audit event that is restored": Reader(
        "ledger_core.audit.events.faults_of", audit_event_that_is_restored, NO_ALGORITHM
    ),
    "audit event to chain to": Reader("ledger_core.audit.events.faults_of", audit_event_to_chain_to, NO_ALGORITHM),
    "announced range": Reader("ledger_core.audit.events.faults_of", announced_range, NO_ALGORITHM),
    "newest list of WAL": Reader("finance.recovery.backup.place.statement.counting_fault", newest_wal_list),
    "full list of WAL": Reader("finance.recovery.backup.place.statement.counting_fault", full_wal_list),
    "backup manifest": Reader("finance.recovery.backup.place.statement.counting_fault", backup_manifest),
    "drill report": Reader(f"{STATEMENTS}.check_signature", drill_report, NO_PLACE),
}
