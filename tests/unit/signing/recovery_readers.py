"""The readers of what recovery signs: lists of WAL, backups, reports of drills."""

from __future__ import annotations

import datetime as dt
from typing import TypeVar

import msgspec

from finance.recovery.backup.place.catalogue import read_catalogue
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import manifest_key as backup_key
from finance.recovery.backup.place.keys import newest_list_key, wal_list_key
from finance.recovery.backup.place.manifest import BackupManifest, BackupPayload
from finance.recovery.backup.place.wal_list import WalList, parse_wal_list
from finance.recovery.drill.report import DrillPayload, assemble_report, parse_report, verify_report
from ledger_core.audit.events import next_event
from ledger_core.ports import AuditIntent
from ledger_core.signing.statements import assemble
from tests.simulator.place import MemoryPlace
from tests.support.archive_factory import NOW, Key
from tests.support.wal_lists import SYSTEM, signed_list
from tests.unit.recovery.test_backup_plan import backup
from tests.unit.recovery.test_drill_report import signed as drill_of
from tests.unit.recovery.test_drill_report import way
from tests.unit.signing.trials import BEFORE, OTHER, Trial

P = TypeVar("P", bound=msgspec.Struct)


def wal_list(key: Key, signed_at: dt.datetime, before: WalList | None) -> bytes:
    return signed_list(key, before, files=1, at=signed_at, files_at=BEFORE)


def newest_wal_list(trial: Trial) -> bool:
    first = wal_list(OTHER, trial.stands_behind, None)
    newest = wal_list(trial.key, NOW, parse_wal_list(first))
    return place_is_sound({wal_list_key(SYSTEM, 1): first, newest_list_key(SYSTEM): newest}, trial)


def full_wal_list(trial: Trial) -> bool:
    first = wal_list(OTHER, trial.stands_behind, None)
    second = wal_list(trial.key, NOW, parse_wal_list(first))
    files = {wal_list_key(SYSTEM, 1): first, wal_list_key(SYSTEM, 2): second}
    if trial.held:
        files[newest_list_key(SYSTEM)] = wal_list(OTHER, trial.stands_behind, parse_wal_list(second))
    return place_is_sound(files, trial)


def backup_manifest(trial: Trial) -> bool:
    listed = wal_list(OTHER, trial.stands_behind, None)
    says = {"wal_files": "1", "wal_link": parse_wal_list(listed).links()[-1]}
    made = payload_of(BackupPayload, backup(1, NOW), **says, **names(trial.key))
    later = payload_of(
        BackupPayload,
        backup(2, NOW),
        **says,
        **names(OTHER),
        backups_before=(made.digest().hex(),) if trial.held else (),
    )
    files = {wal_list_key(SYSTEM, 1): listed}
    for payload, key in ((made, trial.key), (later, OTHER)):
        data = assemble(payload, BackupManifest, key.sign_digest(payload.digest()))
        files[backup_key(SYSTEM, payload.backup_id)] = data
    return place_is_sound(files, trial)


def drill_report(trial: Trial) -> bool:
    payload = payload_of(DrillPayload, parse_report(drill_of(way())), **names(trial.key))
    data = assemble_report(payload, trial.key.sign_digest(payload.digest()))
    chain = drill_on_chain(OTHER, payload.digest().hex(), trial.stands_behind) if trial.held else None
    return verify_report(data, trial.registry, audit_lines=chain).sound


def drill_on_chain(key: Key, report_hash: str, at: dt.datetime) -> bytes:
    """The audit chain, as JSON lines, with the event that puts a drill on record."""
    more: dict[str, object] = {"drill_id": "d", "sound": True, "report_sha256": "ab" * 32, "signer": "k", "ways": []}
    return chain_event(key, "drill.completed", {**more, "report_hash": report_hash}, at)


def chain_event(key: Key, event_type: str, payload: dict[str, object], at: dt.datetime) -> bytes:
    """An audit chain of one event, as JSON lines."""
    actor_id = "service:prover" if event_type.startswith("journal.") else "operator:ada"
    intent = AuditIntent(event_type, actor_id, payload, "ab" * 16)
    unsigned = next_event(None, intent, event_id="event-1", created_at=at)
    return unsigned.signed(key.sign_digest(unsigned.digest), key.registry.get(key.kid)).to_json() + b"\n"


def names(key: Key) -> dict[str, str]:
    return {"signer_kid": key.kid, "alg": key.algorithm}


def payload_of(kind: type[P], statement: msgspec.Struct, **changes: object) -> P:
    """The payload of a signed statement, with other words in it."""
    return kind(**{**{name: getattr(statement, name) for name in kind.__struct_fields__}, **changes})


def place_is_sound(files: dict[str, bytes], trial: Trial) -> bool:
    return read_catalogue(Copies([MemoryPlace("there", files)]), SYSTEM, trial.registry).broken == ()
