"""A ledger from its archive: the same rows again, nothing beyond the last good range, and what is refused."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from finance.settings import clock
from finance.workshop.devstack import Stack
from ledger_core.archive.names import manifest_key
from ledger_core.errors import Refused
from ledger_core.postgres.recovery.epochs import begin_epoch, read_epoch
from ledger_core.postgres.schema.migrate import migrate, shipped
from ledger_core.postgres.session import session
from ledger_core.signing.registry import SignerRegistry
from tests.simulator.ledger import MemoryLedger
from tests.simulator.tiny_shards import add_shard
from tests.support import databases
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of
from tests.support.journal_factory import TinyShard
from tests.support.ledger_writer import write_ledger
from tests.support.rebuilds import check, rows, run, utc, write_folder

pytestmark = pytest.mark.services

KEY = Key("ed25519")
CUTS = [(5, 6), (12, 14), (12, 16), (15, 20)]


def shards() -> list[tuple[TinyShard, list[tuple[int, int]]]]:
    busy = TinyShard().post(5).silence(2).post(7, currency="EUR").silence(3, reason="malformed").post(3).silence(4)
    return [(busy, CUTS), (TinyShard(1).silence(3), [(0, 3)]), (TinyShard(2).silence(7).post(2), [(2, 9)])]


def archive(cuts: int = 4) -> MemoryStore:
    """The archive, or what it held when shard 0 had only so many ranges."""
    store = MemoryStore()
    for shard, places in shards():
        keys = archive_of(shard, places, KEY, store)
        for number in range(cuts + 1, len(places) + 1):
            del store.objects[manifest_key(ENV, shard.shard, number)], store.objects[keys[number - 1]]
    return store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(archive(), tmp_path / "archive")


@pytest.fixture
def empty(stack: Stack) -> Iterator[str]:
    """A database without a table."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    server = stack.env["DATABASE_URL"]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield databases.database_at(server, name)
    databases.drop_database(server, databases.database_at(server, name))


def counts(dsn: str) -> dict[str, int]:
    return {table: len(found) for table, found in rows(dsn).items()}


def test_an_archive_gives_the_whole_ledger_into_an_empty_database(folder: Path, empty: str, database_url: str) -> None:
    rebuilt = run(empty, KEY.registry, folder)
    assert rebuilt.sound
    assert rebuilt.migrated
    assert [(item.ranges_written, item.entries_written) for item in rebuilt.shards] == [(4, 15), (1, 0), (1, 2)]
    ledger = MemoryLedger()
    for shard, cuts in shards():
        add_shard(ledger, shard, cuts, KEY)
    write_ledger(database_url, ledger)
    wanted, found = rows(database_url), rows(empty)
    for table in ("entries", "lines", "accounts", "balances", "ranges", "proofs", "checkpoints"):
        assert sorted(found[table]) == sorted(wanted[table]), table
    report = check(empty, KEY.registry)
    assert report.counts["entries"] == 17
    with session(empty, application_name="test") as connection:
        epoch = read_epoch(connection)
    assert (epoch.kind, epoch.reason, epoch.heads) == ("rebuild", f"rebuilt from {folder}, 6 manifests", ())


def test_again_changes_nothing(folder: Path, empty: str) -> None:
    run(empty, KEY.registry, folder)
    before = rows(empty)
    again = run(empty, KEY.registry, folder)
    assert again.sound
    assert not again.migrated
    assert [(item.ranges_held, item.ranges_written) for item in again.shards] == [(4, 0), (1, 0), (1, 0)]
    assert rows(empty) == before
    assert again.epoch_no == 2


def test_an_archive_that_grew_gives_another_epoch(empty: str, tmp_path: Path) -> None:
    """The ledger lived on after its first rebuild, and was lost again."""
    folder = write_folder(archive(3), tmp_path / "archive")
    assert [run(empty, KEY.registry, folder).epoch_no for _ in range(2)] == [2, 2]
    write_folder(archive(), folder)
    assert [run(empty, KEY.registry, folder).epoch_no for _ in range(2)] == [3, 3]


@pytest.mark.parametrize("held", [1, 2, 3])
def test_a_true_prefix_is_continued(folder: Path, empty: str, tmp_path: Path, held: int) -> None:
    part = write_folder(archive(held), tmp_path / "part")
    run(empty, KEY.registry, part)
    rebuilt = run(empty, KEY.registry, folder)
    assert rebuilt.sound
    assert rebuilt.shards[0].ranges_held == held
    assert check(empty, KEY.registry).counts["entries"] == 17
    assert counts(empty)["manifests"] == 6


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("closed", [0, 1, 3])
def test_a_restored_ledger_is_continued_in_the_middle_of_a_range(
    folder: Path, empty: str, database_url: str, closed: int, signed: bool
) -> None:
    """Posted up to offset 11, with some ranges closed (and signed, or not yet), and nothing of it archived."""
    restored = TinyShard().post(5).silence(2).post(5 if closed < 2 else 7, currency="EUR")
    if closed == 3:
        restored.silence(2, reason="malformed")
    ledger = MemoryLedger()
    add_shard(ledger, restored, CUTS[:closed], KEY, signed=signed)
    write_ledger(database_url, ledger)
    rebuilt = run(database_url, KEY.registry, folder)
    assert rebuilt.sound
    run(empty, KEY.registry, folder)
    mine, wanted = rows(database_url), rows(empty)
    for table in mine:
        assert mine[table] == wanted[table], table
    check(database_url, KEY.registry)


def test_one_shard_alone_and_an_unknown_one(folder: Path, empty: str) -> None:
    rebuilt = run(empty, KEY.registry, folder, shards=(2,))
    assert [item.shard for item in rebuilt.shards] == [2]
    assert run(empty, KEY.registry, folder).sound
    check(empty, KEY.registry)
    with pytest.raises(Refused, match="nothing of shard 9"):
        run(empty, KEY.registry, folder, shards=(9,))


def test_batches_without_a_manifest_are_put_back_and_left_to_be_signed_again(empty: str, tmp_path: Path) -> None:
    store = archive()
    for number in (3, 4):
        del store.objects[manifest_key(ENV, 0, number)]
    rebuilt = run(empty, KEY.registry, write_folder(store, tmp_path / "archive"))
    assert rebuilt.sound
    found = rows(empty)
    assert len(found["entries"]) == 17
    assert len([row for row in found["ranges"] if row[0] == 0]) == 4
    assert len([row for row in found["proofs"] if row[0] == 0]) == 2
    report = check(empty, KEY.registry)
    assert report.counts["ranges_not_signed_yet"] == 2


KEYS = sorted(archive().objects)


@pytest.mark.parametrize("damage", ["gone", "altered"])
@pytest.mark.parametrize("key", KEYS, ids=[key.split("/", 1)[1][:40] + key[-9:] for key in KEYS])
def test_one_damaged_object_is_named_stops_its_shard_and_heals_from_a_copy(
    folder: Path, empty: str, tmp_path: Path, key: str, damage: str
) -> None:
    copy = write_folder(archive(), tmp_path / "copy")
    path = folder / key
    if damage == "gone":
        path.unlink()
        path.with_name(path.name + ".version.json").unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    rebuilt = run(empty, KEY.registry, folder)
    found = [finding for item in rebuilt.shards for finding in item.report.findings]
    last = key in (manifest_key(ENV, 0, 4), manifest_key(ENV, 1, 1), manifest_key(ENV, 2, 1))
    if damage == "gone" and last:  # the end of a chain: the batch behind it is the archiver's next step
        assert rebuilt.sound
    else:
        assert not rebuilt.sound
        assert found
        assert all(key in str(finding) for finding in found), found
    check(empty, KEY.registry)
    healed = run(empty, KEY.registry, folder, copy)
    assert healed.sound
    assert [place for item in healed.shards for place in item.healed] == [key]
    assert counts(empty) == {**counts(empty), "entries": 17, "manifests": 6, "proofs": 6}
    check(empty, KEY.registry)


def test_what_cannot_be_right_is_refused_before_anything_is_written(folder: Path, empty: str, tmp_path: Path) -> None:
    other = SignerRegistry(Key("ed25519", "another").registry.signers)
    void = tmp_path / "void"
    void.mkdir()
    for match, addresses, registry, changes in (
        ("nothing of environment production", (folder,), KEY.registry, {"env": "production"}),
        ("nothing of environment test", (void,), KEY.registry, {}),
        ("the registry lacks test-key-v1", (folder,), other, {}),
        ("is not an archive", (tmp_path / "nowhere",), KEY.registry, {}),
        ("is not an archive", ("ftp://bucket",), KEY.registry, {}),
    ):
        with pytest.raises(Refused, match=match):
            run(empty, registry, *addresses, environ=None, **changes)
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


@pytest.mark.parametrize(("year", "match"), [(2024, "set the clock"), (2040, "set the clock")])
def test_a_clock_that_cannot_be_right_is_refused(
    folder: Path, empty: str, monkeypatch: pytest.MonkeyPatch, year: int, match: str
) -> None:
    monkeypatch.setattr(clock, "utc_now", lambda: utc(year))
    with pytest.raises(Refused, match=match):
        run(empty, KEY.registry, folder)
    if year > 2030:
        assert run(empty, KEY.registry, folder, locks_may_have_ended=True).sound


def test_a_database_with_another_history_is_refused_and_left_as_it_is(folder: Path, database_url: str) -> None:
    other = MemoryLedger()
    add_shard(other, TinyShard().post(6, currency="JPY"), [], KEY)
    write_ledger(database_url, other)
    before = rows(database_url)
    with pytest.raises(Refused, match="not a prefix of the archive: shard 0 has another entry at seq 6"):
        run(database_url, KEY.registry, folder)
    assert rows(database_url) == before


def test_a_ledger_of_other_shards_is_refused(folder: Path, database_url: str) -> None:
    other = MemoryLedger()
    add_shard(other, TinyShard(7).post(6), [], KEY)
    write_ledger(database_url, other)
    with pytest.raises(Refused, match="shard 7 has 6 entries, and the archive has nothing of it"):
        run(database_url, KEY.registry, folder)


def test_a_range_closed_otherwise_is_refused(folder: Path, database_url: str) -> None:
    other = MemoryLedger()
    add_shard(other, TinyShard().post(5), [(4, 4)], KEY)
    write_ledger(database_url, other)
    before = rows(database_url)
    with pytest.raises(Refused, match="closed range 1 with hash"):
        run(database_url, KEY.registry, folder)
    assert rows(database_url) == before


def test_a_database_ahead_of_the_archive_is_refused(folder: Path, empty: str, tmp_path: Path) -> None:
    run(empty, KEY.registry, folder)
    part = write_folder(archive(2), tmp_path / "part")
    with pytest.raises(Refused, match="shard 0 has manifest 4"):
        run(empty, KEY.registry, part)


def test_somebody_elses_database_and_a_what_if_are_refused(folder: Path, empty: str, database_url: str) -> None:
    with psycopg.connect(empty) as connection:
        connection.execute("CREATE TABLE guests (name text)")
    with pytest.raises(Refused, match="not empty"):
        run(empty, KEY.registry, folder)
    with session(database_url, application_name="test") as connection:
        begin_epoch(
            connection,
            kind="what-if",
            epoch_id=str(uuid.uuid4()),
            actor_id="operator:a",
            reason="other rules",
            trace_id="t",
        )
    with pytest.raises(Refused, match="not the ledger"):
        run(database_url, KEY.registry, folder)


def test_an_object_under_another_environments_name_is_a_finding(empty: str, tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder / ENV, folder / "staging")
    rebuilt = run(empty, KEY.registry, folder, env="staging")
    assert not rebuilt.sound
    assert {finding.code for finding in rebuilt.shards[0].report.findings} >= {"manifest.env"}
    assert counts(empty)["entries"] == 0


def test_a_migration_that_was_interrupted_is_finished(folder: Path, empty: str) -> None:
    migrate(empty, shipped()[:3])
    assert run(empty, KEY.registry, folder).sound
    check(empty, KEY.registry)


def test_an_entry_that_breaks_a_rule_of_posting_is_named_and_not_written(empty: str, tmp_path: Path) -> None:
    store = MemoryStore()
    archive_of(TinyShard().post(2).post(1, event_id="x" * 36), [(2, 2), (3, 3)], KEY, store)
    rebuilt = run(empty, KEY.registry, write_folder(store, tmp_path / "archive"))
    (finding,) = rebuilt.shards[0].report.findings
    assert (finding.code, finding.seq, finding.field) == ("entry.rule", 3, "event_id")
    assert counts(empty)["entries"] == 2
