"""Which files a restore needs and which may go, decided from a listing alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finance.recovery.backup import wal
from finance.recovery.backup.base.plan import Choice, RestorePlan, Target, make_plan
from finance.recovery.backup.base.retention import prune_plan
from finance.recovery.backup.place.catalogue import Catalogue, Histories, StreamState
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import WalFile, wal_file, wal_key
from finance.recovery.backup.place.manifest import BackupManifest, BackupPart, BackupPayload, parse_backup_manifest
from finance.recovery.backup.place.wal_list import join
from ledger_core.errors import Refused
from ledger_core.signing.statements import assemble
from ledger_core.times import format_time
from tests.simulator.place import MemoryPlace

MEGABYTE = 2**20
SEGMENT = 16 * MEGABYTE
NOON = dt.datetime(2025, 11, 1, 12, tzinfo=dt.UTC)
SHA = "0" * 64


def backup(number: int, finished: dt.datetime, timeline: int = 1, **more: Any) -> BackupManifest:
    """A backup that starts and ends in segment `number`; `more` replaces fields."""
    payload = BackupPayload(
        version=1,
        service="finance",
        statement="backup",
        env="test",
        backup_id=f"{finished:%Y%m%dT%H%M%SZ}-0000000{number % 10}",
        system_identifier="7",
        server_version="180004",
        timeline=str(timeline),
        segment_bytes=str(SEGMENT),
        start_lsn=str(number * SEGMENT + 40),
        stop_lsn=str(number * SEGMENT + 400),
        started_at=format_time(finished),
        finished_at=format_time(finished),
        size_bytes="1",
        sha256=SHA,
        parts=(BackupPart(key=f"7/base/b{number}/part-00001-{SHA}.age", size_bytes="1", sha256=SHA),),
        wal_files="0",
        wal_link=None,
        signer_kid="k",
        alg="ed25519",
    )
    payload = msgspec.structs.replace(payload, **more)
    return parse_backup_manifest(assemble(payload, BackupManifest, b"s" * 64))


def catalogue(backups: list[BackupManifest], files: dict[str, dt.datetime], lsn: int | None = None) -> Catalogue:
    """WAL files by name, each with the time at which it was stored."""
    stored = {name: WalFile(wal_key("7", name, at, SHA), name, at, SHA) for name, at in files.items()}
    names = sorted(stored)
    stream = None
    if lsn is not None:
        stream = StreamState(
            first=names[0], segment=names[-1], lsn=lsn, at=int(files[names[-1]].timestamp() * 1000), listed=0
        )
    sizes = {part.key: 1 for item in backups for part in item.parts} | {file.key: 1 for file in stored.values()}
    return Catalogue("7", tuple(backups), (), (), stored, {}, {}, join([], ()), (), stream, sizes)


def plan_for(
    found: Catalogue, target: Target, choice: Choice | None = None, histories: Histories | None = None
) -> RestorePlan:
    return make_plan(found, target, choice or Choice(), histories=histories or {}, place="there")


def names(first: int, last: int, timeline: int = 1) -> list[str]:
    return [wal.Segment(timeline, number).name(SEGMENT) for number in range(first, last + 1)]


def hourly(first: int, last: int) -> dict[str, dt.datetime]:
    """Segment n is complete n hours after noon."""
    return {name: NOON + dt.timedelta(hours=n) for n, name in enumerate(names(first, last), first)}


@given(st.integers(1, 2**31), st.integers(0, 2**40), st.sampled_from([1, 16, 64]))
def test_a_segment_is_found_in_its_name(timeline: int, number: int, megabytes: int) -> None:
    segment = wal.Segment(timeline, number % (2**64 // (megabytes * MEGABYTE)))
    assert wal.parse_segment(segment.name(megabytes * MEGABYTE), megabytes * MEGABYTE) == segment


@given(st.integers(0, 2**64 - 1))
def test_a_position_is_written_as_postgres_reads_it(lsn: int) -> None:
    assert wal.parse_lsn(wal.format_lsn(lsn)) == lsn


def test_a_restored_life_is_read_from_its_parent_up_to_where_it_left_it() -> None:
    histories = {2: wal.parse_history(f"1\t{wal.format_lsn(3 * SEGMENT + 9)}\tno recovery target specified\n")}
    assert wal.newest_descendant(1, 2 * SEGMENT, histories) == 2
    assert wal.newest_descendant(1, 4 * SEGMENT, histories) == 1  # this backup is of what the new life left behind
    assert [s.timeline for s in wal.path_of(2, histories, range(1, 6), SEGMENT)] == [1, 1, 2, 2, 2]


@given(st.integers(1, 8))
def test_whichever_segment_on_the_way_is_missing_is_named(gone: int) -> None:
    files = hourly(1, 8)
    missing = names(gone, gone)[0]
    del files[missing]
    found = catalogue([backup(1, NOON)], files, 9 * SEGMENT)
    if gone == 8:  # the newest one: what the stream noted says that it was there
        found = catalogue([backup(1, NOON)], {**files, missing: NOON + dt.timedelta(hours=8)}, 9 * SEGMENT)
        del found.segments[missing]  # type: ignore[attr-defined]
    with pytest.raises(Refused, match=f"{missing} is missing"):
        plan_for(found, Target("latest"))


def test_the_newest_backup_before_the_moment_is_taken_and_later_wal_is_spare() -> None:
    backups = [backup(1, NOON), backup(3, NOON + dt.timedelta(hours=2, minutes=30))]
    found = catalogue(backups, hourly(1, 8), 9 * SEGMENT)
    plan = plan_for(found, Target("time", NOON + dt.timedelta(hours=4, minutes=5)))
    assert plan.backup == backups[1]
    assert [file.name for file in plan.needed] == names(3, 5)
    assert [file.name for file in plan.spare] == names(6, 8)
    earlier = plan_for(found, Target("lsn", lsn=2 * SEGMENT))
    assert (earlier.backup, [file.name for file in earlier.needed]) == (backups[0], names(1, 2))


@given(st.integers(0, 30), st.integers(1, 5), st.integers(0, 40))
def test_pruning_keeps_every_moment_of_the_policy_restorable(keep_days: int, keep_last: int, age_days: int) -> None:
    backups = [backup(number, NOON + dt.timedelta(days=number)) for number in range(1, 21)]
    now = NOON + dt.timedelta(days=20, hours=1)
    files = {name: NOON + dt.timedelta(days=n, hours=12) for n, name in enumerate(names(1, 20), 1)}
    before = catalogue(backups, files, 21 * SEGMENT)
    pruned = prune_plan(before, now=now, keep_days=keep_days, keep_last=keep_last)
    assert len(pruned.kept) >= min(keep_last, 20)
    left = {file.name: file.stored_at for key in before.sizes if key not in pruned.keys and (file := wal_file(key))}
    after = catalogue(list(pruned.kept), left, 21 * SEGMENT)
    moment = now - dt.timedelta(days=min(age_days, keep_days))
    if moment >= backups[0].finished:
        plan = plan_for(after, Target("time", moment))
        assert all(part.key not in pruned.keys for part in plan.backup.parts)


def test_what_no_place_has_whole_is_refused_with_what_each_said() -> None:
    copies = Copies([MemoryPlace("one"), MemoryPlace("two", {"k": b"x"})])
    with pytest.raises(Refused, match="k is missing in one; was altered in two"):
        copies.read("k", SHA)


def forked() -> tuple[Catalogue, Histories]:
    """Life 2 left life 1 in segment 3, while life 1 went on to segment 8, with a backup of its own in 6."""
    backups = [backup(1, NOON), backup(6, NOON + dt.timedelta(hours=6)), backup(4, NOON + dt.timedelta(hours=10), 2)]
    second = {name: NOON + dt.timedelta(hours=n + 6) for n, name in enumerate(names(3, 5, 2), 3)}
    return catalogue(backups, {**hourly(1, 8), **second}), {2: ((1, 3 * SEGMENT + 9),)}


def test_the_latest_is_the_end_of_the_newest_life_whatever_an_older_one_left_behind() -> None:
    found, histories = forked()
    plan = plan_for(found, Target("latest"), histories=histories)
    assert (plan.timeline, plan.backup, [f.name for f in plan.needed]) == (2, found.backups[2], names(4, 5, 2))
    early = plan_for(found, Target("time", NOON + dt.timedelta(hours=9, minutes=30)), histories=histories)
    assert (early.backup, [f.name for f in early.needed]) == (found.backups[0], names(1, 2) + names(3, 4, 2))


def test_an_older_life_comes_back_when_it_is_named() -> None:
    found, histories = forked()
    plan = plan_for(found, Target("latest"), Choice(timeline=1), histories)
    assert (plan.timeline, plan.backup, [f.name for f in plan.needed]) == (1, found.backups[1], names(6, 8))
    plan = plan_for(found, Target("latest"), Choice(backup_id=found.backups[1].backup_id), histories)
    assert (plan.timeline, [f.name for f in plan.needed]) == (1, names(6, 8))  # nobody lived on from there


def test_a_life_whose_beginning_is_lost_is_not_taken_for_another() -> None:
    found, _ = forked()
    found = dataclasses.replace(found, backups=found.backups[:2])
    with pytest.raises(Refused, match=r"00000002\.history is missing"):
        plan_for(found, Target("latest"))


def test_a_part_of_a_segment_stands_in_for_the_newest_one_only() -> None:
    files = hourly(1, 4)
    found = catalogue([backup(1, NOON)], files, 5 * SEGMENT)
    for number in (2, 4):
        name = names(number, number)[0]
        whole = dict(found.segments)
        part = dataclasses.replace(whole.pop(name), name=f"{name}.partial")
        torn = dataclasses.replace(found, segments=whole, partials={name: part})
        if number == 4:
            assert plan_for(torn, Target("latest")).needed[-1] == part
        else:
            with pytest.raises(Refused, match=f"{name} is missing"):
                plan_for(torn, Target("latest"))


def test_what_a_later_life_began_from_is_not_pruned_for_what_it_left_behind() -> None:
    found, histories = forked()
    pruned = prune_plan(found, now=NOON + dt.timedelta(days=1, hours=8), keep_days=1, keep_last=1)
    assert found.backups[0] in pruned.kept
    after = dataclasses.replace(found, backups=pruned.kept)
    assert plan_for(after, Target("time", NOON + dt.timedelta(hours=9)), histories=histories).backup == found.backups[0]
