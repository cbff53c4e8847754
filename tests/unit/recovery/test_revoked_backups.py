"""What a stolen key signs into a backup place after its end, dated back: it counts nowhere, and what was there does."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from finance.recovery.backup.place.catalogue import Catalogue, read_backups, read_catalogue
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import manifest_key, newest_list_key, wal_key, wal_list_key
from finance.recovery.backup.place.manifest import BackupManifest, BackupPayload, parse_backup_manifest
from finance.recovery.backup.place.wal_list import FILES_MAX, WalList, WalListPayload, parse_wal_list
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import assemble, encode_statement
from tests.simulator.place import MemoryPlace
from tests.support.archive_factory import Key
from tests.support.wal_lists import SYSTEM, signed_list
from tests.unit.recovery.test_backup_plan import backup

NOON = dt.datetime(2025, 11, 1, 12, tzinfo=dt.UTC)
STOLEN, NEW = Key(kid="stolen-v1"), Key(kid="new-v1")
BOTH = SignerRegistry([*STOLEN.registry.signers, *NEW.registry.signers])
END = NOON + dt.timedelta(days=1)
REVOKED = SignerRegistry(
    [dataclasses.replace(STOLEN.registry.get(STOLEN.kid), retired_at=END, revoked_at=END), *NEW.registry.signers]
)


def listed(key: Key, before: WalList | None, files: int = FILES_MAX, at: dt.datetime = NOON) -> WalList:
    """The list after `before`."""
    return parse_wal_list(signed_list(key, before, files=files, at=at, files_at=at))


def taken(key: Key, number: int, at: dt.datetime, before: tuple[BackupManifest, ...] = ()) -> BackupManifest:
    fields = {name: getattr(backup(number, at), name) for name in BackupPayload.__struct_fields__}
    fields |= {"signer_kid": key.kid, "backups_before": tuple(one.hash for one in before)}
    payload = BackupPayload(**fields)
    return parse_backup_manifest(assemble(payload, BackupManifest, key.sign_digest(payload.digest())))


def place(*statements: WalList | BackupManifest, newest: WalList | None = None) -> MemoryPlace:
    files = {}
    for one in statements:
        if isinstance(one, BackupManifest):
            files[manifest_key(SYSTEM, one.backup_id)] = encoded(one)
        else:
            files[wal_list_key(SYSTEM, int(one.list_no))] = encoded(one)
    if newest is not None:
        files[newest_list_key(SYSTEM)] = encoded(newest)
    return MemoryPlace("there", files)


def encoded(one: WalList | BackupManifest) -> bytes:
    return encode_statement(one)


def look(*places: MemoryPlace, registry: SignerRegistry = REVOKED) -> Catalogue:
    return read_catalogue(Copies(list(places)), SYSTEM, registry)


ONE = listed(STOLEN, None)
TWO = listed(STOLEN, ONE, at=NOON + dt.timedelta(hours=1))
THREE = listed(NEW, TWO, 3, at=NOON + dt.timedelta(hours=2))


def test_lists_of_a_key_that_was_revoked_count_as_far_as_another_key_went_on_from_them() -> None:
    found = look(place(ONE, TWO, newest=THREE))
    assert (found.broken, found.listed.count) == ((), 2 * FILES_MAX + 3)


@pytest.mark.parametrize("as_newest", [False, True])
def test_lists_put_at_the_end_by_a_stolen_key_and_dated_back_are_refused(as_newest: bool) -> None:
    forged = listed(STOLEN, TWO, 5, at=END - dt.timedelta(hours=1))
    there = place(ONE, TWO, newest=forged) if as_newest else place(ONE, TWO, forged)
    assert look(there, registry=BOTH).broken == (), "before it is revoked, nothing shows"
    found = look(there)
    assert len(found.broken) == 3, "where nobody went on, none of the stolen key's lists counts"
    assert all("was revoked, and nothing signed later holds" in told for told in found.broken)
    assert found.listed.keys == {}, "so no file of WAL counts for its word"


def test_a_list_that_a_stolen_key_signed_in_anothers_place_is_refused_and_healed() -> None:
    forged = other_files(TWO)
    there, copy = place(ONE, forged, newest=THREE), place(ONE, TWO, newest=THREE)
    (told, *_) = look(there).broken
    assert "was revoked, and nothing signed later holds" in told
    assert look(there, copy).broken == ()
    assert there.files == copy.files


def other_files(one: WalList) -> WalList:
    files = tuple(wal_key(SYSTEM, key.split("/")[-1][:24], NOON, "1" * 64) for key in one.files)
    fields = {name: getattr(one, name) for name in WalListPayload.__struct_fields__} | {"files": files}
    payload = WalListPayload(**fields)
    return parse_wal_list(assemble(payload, WalList, STOLEN.sign_digest(payload.digest())))


def test_backups_of_a_key_that_was_revoked_count_where_a_later_one_names_them() -> None:
    first, second = taken(STOLEN, 1, NOON), taken(STOLEN, 2, NOON + dt.timedelta(hours=1))
    later = taken(NEW, 3, NOON + dt.timedelta(hours=2), (first, second))
    forged = taken(STOLEN, 4, NOON + dt.timedelta(minutes=30))
    there = place(first, second, later, forged)
    found = look(there)
    assert found.backups == (first, second, later)
    (told,) = found.broken
    assert manifest_key(SYSTEM, forged.backup_id) in told
    assert "was revoked, and nothing signed later holds" in told
    assert read_backups(Copies([there]), SYSTEM, REVOKED) == (first, second, later)


def test_a_backup_that_the_stolen_key_names_itself_does_not_count() -> None:
    first = taken(STOLEN, 1, NOON)
    found = look(place(first, taken(STOLEN, 2, NOON + dt.timedelta(hours=1), (first,))))
    assert (found.backups, len(found.broken)) == ((), 2)


def test_a_manifest_from_before_backups_named_each_other_keeps_its_bytes() -> None:
    old = backup(1, NOON)
    assert b"backups_before" not in encoded(old)
    assert old.hash == "fba995a6f585419de8d0165473738f7306b524afe971c999af1adf134eb6b5e3"
    assert parse_backup_manifest(encoded(old)) == old
