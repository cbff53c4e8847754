"""The lists that sign for stored WAL: whoever exchanges, takes away or cuts back is found, and no signer stops them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrage import x25519

from finance.recovery.backup import wal
from finance.recovery.backup.place.catalogue import Catalogue, read_catalogue
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import newest_list_key, stream_key, wal_key, wal_list_key
from finance.recovery.backup.place.manifest import digest_of
from finance.recovery.backup.place.signing_faults import list_faults, unsigned_within
from finance.recovery.backup.place.wal_list import FILES_MAX, WalList, WalListPayload, parse_wal_list
from finance.recovery.backup.streaming.spool import Spool
from finance.recovery.backup.streaming.wal_signing import RETRY_SECONDS, SigningTerms, WalSigning
from ledger_core.errors import Unavailable
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import assemble
from tests.simulator.place import MemoryPlace
from tests.support.signing import local_signer

NOON = dt.datetime(2025, 11, 1, 12, tzinfo=dt.UTC)
SYSTEM = "7"
SEGMENT = 2**20
SIGNER, REGISTRY = local_signer()
RECIPIENT = x25519.Identity.generate().to_public()


class Host:
    """A backup host: a spool, and the stream's two hands on it. `away`: its signer."""

    def __init__(self, folder: Path, place: MemoryPlace) -> None:
        self.folder, self.place, self.copies = folder, place, Copies([place])
        self.away, self.failed, self.now = False, 0, 0.0
        self.noon = NOON  # by this host's clock
        self.begin()

    def begin(self) -> None:
        """As after a start."""
        self.spool = Spool(self.folder, SYSTEM, self.copies, self.look, [RECIPIENT], lambda: NOON)
        terms = SigningTerms("test", self.signer, lambda: self.noon, lambda: self.now, self.fail)
        self.signing = WalSigning(terms, SYSTEM, self.copies, self.spool.place.listed)

    def killed(self) -> None:
        self.spool.close()
        self.begin()

    def signer(self) -> PinnedSigner:
        if self.away:
            raise Unavailable("signer", "it is away")
        return PinnedSigner(SIGNER, REGISTRY)

    def fail(self) -> None:
        self.failed += 1

    def store(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            (self.spool.path / name(number)).write_bytes(bytes(SEGMENT))
        self.spool.store_complete()

    def sign(self) -> int | None:
        count = self.signing.sign(self.spool.unsigned)
        if count is not None:
            self.spool.note_listed(count)
        return count

    def look(self, registry: SignerRegistry = REGISTRY) -> Catalogue:
        return read_catalogue(self.copies, SYSTEM, registry)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, MemoryPlace("there"))


def name(number: int, timeline: int = 1) -> str:
    return wal.Segment(timeline, number).name(SEGMENT)


def store_then_sign(host: Host) -> None:
    host.spool.store_complete()
    host.sign()


def fill(host: Host, count: int) -> None:
    """Signed for, `count` files from 1 on; named as if they had been stored."""
    keys = [wal_key(SYSTEM, name(number), NOON, digest_of(b"")) for number in range(1, count + 1)]
    host.place.files |= dict.fromkeys(keys, b"")
    for key in keys:
        host.spool.unsigned.add(key)
    while host.spool.unsigned.keys:
        assert host.sign() is not None


def test_what_is_stored_is_signed_for_in_lists_that_follow_each_other(host: Host) -> None:
    fill(host, 2 * FILES_MAX + 2)
    host.store(600, 600)
    assert host.sign() == 2 * FILES_MAX + 3
    found = host.look()
    assert (found.broken, found.unsigned, found.listed.count) == ((), [], 2 * FILES_MAX + 3)
    assert wal_list_key(SYSTEM, 2) in host.place.files
    assert len(parse_wal_list(host.place.files[newest_list_key(SYSTEM)]).files) == 3
    host.store(601, 601)
    host.killed()
    assert host.sign() == 2 * FILES_MAX + 4
    assert host.look().broken == ()


def test_a_signer_that_is_away_stops_nothing_and_what_waited_is_signed_for_later(host: Host) -> None:
    host.away = True
    host.store(1, 3)
    assert (host.sign(), host.sign(), host.failed) == (None, None, 1)  # asked again a minute later, not before
    host.killed()
    host.store(4, 4)
    assert [file.name for file in host.look().unsigned] == [name(n) for n in (1, 2, 3, 4)]
    host.away, host.now = False, RETRY_SECONDS
    assert host.sign() == 4
    found = host.look()
    assert (found.broken, found.unsigned) == ((), [])


def test_a_file_that_another_put_there_is_never_signed_for_and_never_used(host: Host) -> None:
    host.store(1, 2)
    host.sign()
    forged = wal_key(SYSTEM, name(1), NOON + dt.timedelta(days=1), digest_of(b"forged"))
    early = wal_key(SYSTEM, name(0), NOON, digest_of(b"forged"))
    host.place.files |= {forged: b"forged", early: b"forged"}
    host.killed()
    host.store(3, 3)
    host.sign()
    found = host.look()
    assert found.segments[name(1)].key != forged
    assert unsigned_within(found, found.segments.values()) == [
        f"WAL segment {name(0)} is signed for by no list, and later ones are"
    ]


def test_what_was_damaged_in_the_place_is_stored_and_signed_for_anew_from_the_spool(host: Host) -> None:
    host.store(1, 2)
    host.sign()
    signed = host.look().segments[name(2)].key
    host.place.files[signed] = b"damaged"
    host.spool.close()
    host.begin()
    (host.spool.path / name(2)).write_bytes(bytes(SEGMENT))  # received again: its slot had not moved on
    host.spool.drain()
    host.sign()
    found = host.look()
    assert (found.broken, found.unsigned) == ((), [])
    assert found.segments[name(2)].key != signed
    assert host.copies.check([(f.key, f.sha256) for f in found.segments.values()], print, everywhere=True) == []


@pytest.mark.parametrize("point", ["before it is stored", "before it leaves the spool", "before it is signed for"])
def test_killed_at_whichever_point_each_segment_is_stored_and_signed_for_once(
    host: Host, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.store(1, 1)
    (host.spool.path / name(2)).write_bytes(bytes(SEGMENT))
    with monkeypatch.context() as patch:
        if point == "before it is stored":
            patch.setattr(host.place, "put", lambda *_args, **_keys: (_ for _ in ()).throw(Unavailable("x", "killed")))
        elif point == "before it leaves the spool":
            patch.setattr(Path, "unlink", lambda *_args, **_keys: (_ for _ in ()).throw(OSError("killed")))
        else:
            patch.setattr(host.spool.unsigned, "drop", lambda _count: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises((Unavailable, OSError), match="killed"):
            store_then_sign(host)
    host.killed()
    store_then_sign(host)
    found = host.look()
    assert (found.broken, found.unsigned, found.listed.count) == ((), [], 2)
    assert sum("/wal/" in key for key in host.place.files) == 2


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> MemoryPlace:
    """A place with two full lists, a newest one, and the note of how many files are signed for."""
    host = Host(tmp_path_factory.mktemp("spool"), MemoryPlace("there"))
    fill(host, 2 * FILES_MAX + 3)
    host.store(600, 600)
    host.sign()
    host.spool.close()
    return host.place


@pytest.mark.parametrize("key", [wal_list_key(SYSTEM, 2), newest_list_key(SYSTEM), stream_key(SYSTEM)])
@settings(max_examples=15, deadline=None)
@given(at=st.none() | st.integers(0, 10**6))
def test_whichever_list_is_taken_away_or_altered_is_named(signed: MemoryPlace, key: str, at: int | None) -> None:
    place = MemoryPlace("there", dict(signed.files))
    data = place.files.pop(key)
    if at is not None:
        at = at % len(data) if key != stream_key(SYSTEM) else 0  # nobody signs for the note: it must only be one
        place.files[key] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    assert any(key in told for told in read_catalogue(Copies([place]), SYSTEM, REGISTRY).broken)


def test_lists_cut_back_behind_a_backup_are_found(host: Host) -> None:
    host.store(1, 3)
    host.sign()
    older = dict(host.place.files)
    host.store(4, 6)
    host.sign()
    listed = host.look().listed
    manifest = dataclasses.make_dataclass("Manifest", ("backup_id", "wal_files", "wal_link"))
    backup: Any = manifest("b", str(listed.count), listed.link)
    assert list_faults(host.look(), [backup]) == []
    lists = {key: value for key, value in older.items() if "/wal-list/" in key or key == stream_key(SYSTEM)}
    host.place.files |= lists
    assert list_faults(host.look(), [backup]) == [
        "the lists of WAL were cut back: 3 files, and 6 when backup b was taken"
    ]
    host.killed()
    for number in (7, 8, 9):
        host.store(number, number)
    host.sign()
    assert list_faults(host.look(), [backup]) == ["the lists of WAL are not those beside which backup b was taken"]


def test_lists_that_do_not_hold_together_are_not_gone_on_with(host: Host) -> None:
    fill(host, FILES_MAX + 1)
    host.place.files[wal_list_key(SYSTEM, 1)] = b"{}"
    host.killed()
    before = host.place.files[newest_list_key(SYSTEM)]
    host.store(600, 600)
    assert (host.sign(), host.failed) == (None, 1)
    assert host.place.files[newest_list_key(SYSTEM)] == before


def test_a_list_is_not_stored_once_its_key_has_ended_and_what_waits_is_signed_for_by_the_next(host: Host) -> None:
    """As an emergency key ends: by itself, while the stream runs."""
    host.store(1, 2)
    ours = REGISTRY.get(SIGNER.kid)
    ended = SignerRegistry([dataclasses.replace(ours, retired_at=NOON - dt.timedelta(seconds=1))])
    host.signer = lambda: PinnedSigner(SIGNER, ended)  # type: ignore[method-assign]
    host.killed()
    assert (host.sign(), host.failed) == (None, 1)
    assert newest_list_key(SYSTEM) not in host.place.files
    host.signer = lambda: PinnedSigner(SIGNER, REGISTRY)  # type: ignore[method-assign]
    host.killed()
    assert host.sign() == 2


def test_a_clock_that_was_set_back_between_two_lists_is_no_fault_while_no_key_has_ended(host: Host) -> None:
    fill(host, FILES_MAX)
    host.noon -= dt.timedelta(hours=1)
    host.store(600, 601)
    assert host.sign() == FILES_MAX + 2
    assert host.look().broken == ()


def test_another_copy_of_a_list_heals_the_one_that_an_ended_key_signed(host: Host) -> None:
    host.store(1, 2)
    host.sign()
    stolen, both = local_signer(kid="stolen-v1")
    ended = dataclasses.replace(both.get("stolen-v1"), retired_at=NOON - dt.timedelta(seconds=1))
    registry = SignerRegistry([*REGISTRY.signers, ended])
    key = newest_list_key(SYSTEM)
    one = parse_wal_list(host.place.files[key])
    fields = {name: getattr(one, name) for name in WalListPayload.__struct_fields__}
    payload = WalListPayload(**{**fields, "signer_kid": "stolen-v1"})
    forged = assemble(payload, WalList, stolen.sign_digest(payload.digest()))
    place = MemoryPlace("there", {**host.place.files, key: forged})
    (told,) = read_catalogue(Copies([place]), SYSTEM, registry).broken
    assert f"{key} is not signed as it should be (signed at 2025-11-01T12:00:00.000000Z by stolen-v1" in told
    copies = Copies([place, host.place])
    assert read_catalogue(copies, SYSTEM, registry).broken == ()
    assert place.files[key] == host.place.files[key]
