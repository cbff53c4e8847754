"""One contract for every place of backups: a folder, a bucket, and a bucket with Object Lock, on the real store."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from finance.recovery.backup.place.copies import BackupStore, Copies, digest_fault
from finance.recovery.backup.place.manifest import digest_of
from finance.settings.deployment import Settings
from finance.wiring.services import open_backup_place
from finance.workshop.devstack import Stack
from ledger_core.errors import Refused, Unavailable
from producers.storage.backup_folder import BackupFolder
from producers.storage.backup_s3 import BackupBucket
from producers.storage.s3_client import s3_client as client_with
from tests.support.buckets import adapter_tls, create_bucket, s3_client

KINDS = ("folder", "bucket", "locked bucket")
DATA = b"age-encryption.org/v1\n" * 100
KEY = "7/base/b/part-00001.age"
NOW = dt.datetime.now(dt.UTC)

Make = Callable[[str], BackupStore]


@pytest.fixture(scope="module")
def buckets(stack: Stack) -> dict[str, str]:
    plain = f"test-{uuid.uuid4().hex[:16]}"
    s3_client(stack.env).create_bucket(Bucket=plain)
    return {"bucket": plain, "locked bucket": create_bucket(stack.env)}


def bucket_place(stack: Stack, bucket: str, *, now: dt.datetime = NOW, days: int = 2, **other: str) -> BackupBucket:
    client = client_with(
        region="us-east-1",
        endpoint=other.get("endpoint", stack.env["BACKUP_S3_ENDPOINT"]),
        access_key=stack.env["BACKUP_S3_ACCESS_KEY"],
        secret=other.get("secret", stack.env["BACKUP_S3_SECRET"]),
        **adapter_tls(stack.env, "backup"),
    )
    return BackupBucket(
        client,
        bucket,
        other.get("folder", f"p{uuid.uuid4().hex[:8]}/x"),
        clock=lambda: now,
        mode="COMPLIANCE",
        retain_days=days,
    )


@pytest.fixture
def make(stack: Stack, buckets: dict[str, str], tmp_path: Path) -> Make:
    def one(kind: str) -> BackupStore:
        if kind == "folder":
            return BackupFolder(tmp_path / "folder" / uuid.uuid4().hex[:8], clock=lambda: NOW)
        return bucket_place(stack, buckets[kind])

    return one


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, make: Make) -> BackupStore:
    return make(request.param)


def test_what_was_stored_is_read_and_listed_below_its_folder(place: BackupStore) -> None:
    assert place.sizes("") == {}
    place.put(KEY, DATA, passing=False)
    place.put("7/wal/a", b"12", passing=False)
    assert next(place.forms(KEY)) == DATA
    assert place.sizes("7/") == {KEY: len(DATA), "7/wal/a": 2}
    assert place.sizes("7/wal/") == {"7/wal/a": 2}
    assert place.sizes("8/") == {}


def test_what_is_not_there_has_no_form_and_is_deleted_already(place: BackupStore) -> None:
    assert list(place.forms("7/none")) == []
    assert place.delete("7/none")


def test_the_newest_replaces_what_is_passing_and_leaves_nothing_of_it(place: BackupStore) -> None:
    for data in (b"1", b"22", b"333"):
        place.put("7/stream.json", data, passing=True)
    assert list(place.forms("7/stream.json")) == [b"333"]
    assert place.delete("7/stream.json")
    assert (list(place.forms("7/stream.json")), place.sizes("")) == ([], {})


@pytest.mark.parametrize("kind", KINDS[:2])
def test_where_no_lock_is_everything_can_be_deleted(make: Make, kind: str) -> None:
    place = make(kind)
    place.put(KEY, DATA, passing=False)
    assert place.delete(KEY)
    assert (list(place.forms(KEY)), place.sizes("")) == ([], {})


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_whichever_place_is_damaged_the_other_heals_it(make: Make, first: str, second: str, damage: str) -> None:
    places = make(first), make(second)
    for bad, good in ((0, 1), (1, 0)):
        key = f"7/wal/{bad}"
        places[good].put(key, DATA, passing=False)
        if damage == "altered":
            places[bad].put(key, DATA[:-1] + b"x", passing=False)
        copies = Copies(places)
        assert copies.check([(key, digest_of(DATA))], lambda _count: None, everywhere=True) == []
        assert copies.healed == [f"{key} in {places[bad].name}"]
        assert next(places[bad].forms(key)) == DATA
    with pytest.raises(Refused, match=r"7/wal/2 is missing in .*; is missing in "):
        Copies(places).read("7/wal/2", digest_of(DATA))


def test_what_a_lock_holds_stays_and_is_told(stack: Stack, buckets: dict[str, str]) -> None:
    place = bucket_place(stack, buckets["locked bucket"])
    place.put(KEY, DATA, passing=False)
    assert not place.delete(KEY)
    assert next(place.forms(KEY)) == DATA


def test_a_lock_lasts_as_long_as_the_policy_and_is_put_only_on_what_lasts(
    stack: Stack, buckets: dict[str, str]
) -> None:
    folder = f"lasts{uuid.uuid4().hex[:8]}"
    place = bucket_place(stack, buckets["locked bucket"], folder=folder)
    place.put(KEY, DATA, passing=False)
    head = s3_client(stack.env).head_object(Bucket=buckets["locked bucket"], Key=f"{folder}/{KEY}")
    assert head["ObjectLockMode"] == "COMPLIANCE"
    assert head["ObjectLockRetainUntilDate"] == (NOW + dt.timedelta(days=2)).replace(microsecond=0)
    for unlocked, passing in ((bucket_place(stack, buckets["locked bucket"], days=0), False), (place, True)):
        unlocked.put("7/x", DATA, passing=passing)
        assert unlocked.delete("7/x")


@pytest.mark.parametrize("attack", ["written over", "marked as deleted"])
def test_under_a_lock_what_was_hidden_is_still_listed_read_and_put_back(
    stack: Stack, buckets: dict[str, str], attack: str
) -> None:
    folder = f"hidden{uuid.uuid4().hex[:8]}"
    place = bucket_place(stack, buckets["locked bucket"], folder=folder)
    place.put(KEY, DATA, passing=False)
    client, bucket, key = s3_client(stack.env), buckets["locked bucket"], f"{folder}/{KEY}"
    if attack == "written over":
        client.put_object(Bucket=bucket, Key=key, Body=b"nothing")
    else:
        client.delete_object(Bucket=bucket, Key=key)
    assert KEY in place.sizes("7/")
    copies = Copies([place])
    assert copies.read(KEY, digest_of(DATA)) == DATA
    assert copies.healed == [f"{KEY} in {place.name}"]
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == DATA


def test_a_bucket_or_key_that_is_wrong_is_refused_with_the_remedy(stack: Stack, buckets: dict[str, str]) -> None:
    for place in (bucket_place(stack, "no-such-bucket-here"), bucket_place(stack, buckets["bucket"], secret="wrong")):
        with pytest.raises(Refused, match=r"backup place refuses .*BACKUP_S3_REGION"):
            place.put(KEY, DATA, passing=True)
        with pytest.raises(Refused, match=r"backup place refuses .*BACKUP_S3_REGION"):
            place.sizes("")


def test_a_place_that_does_not_answer_is_unavailable_and_a_second_one_is_read(stack: Stack, make: Make) -> None:
    away, second = bucket_place(stack, "any", endpoint="http://127.0.0.1:9"), make("folder")
    with pytest.raises(Unavailable, match="backup_place is unavailable"):
        Copies([away]).read(KEY, digest_of(DATA))
    second.put(KEY, DATA, passing=False)
    copies = Copies([away, second])
    assert copies.read_if(KEY, digest_fault(digest_of(DATA))) == DATA
    assert copies.not_healed[0].startswith(f"{KEY} in s3://any")


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "wal").write_text("a file where a folder was")
    with pytest.raises(Unavailable, match="cannot be listed"):
        BackupFolder(tmp_path, clock=lambda: NOW).sizes("7/wal/")


def test_what_a_killed_writer_left_is_never_listed_and_goes_after_a_day(tmp_path: Path) -> None:
    later = BackupFolder(tmp_path, clock=lambda: NOW + dt.timedelta(days=2))
    left = tmp_path / ".writing" / "1-part"
    left.parent.mkdir()
    left.write_bytes(b"half")
    place = BackupFolder(tmp_path, clock=lambda: NOW)
    place.put(KEY, DATA, passing=False)
    assert list(place.sizes("")) == [KEY]
    assert left.exists()
    later.put(KEY, DATA, passing=False)
    assert not left.exists()


def test_an_address_of_another_kind_is_refused(tmp_path: Path) -> None:
    settings = Settings.from_env({"FINANCE_STACK": "none"}, tmp_path)
    with pytest.raises(Refused, match="is not a place for backups"):
        open_backup_place("gs://bucket/x", settings)
    with pytest.raises(Refused, match="BACKUP_S3_ACCESS_KEY is not set"):
        open_backup_place("s3://bucket/x", settings)
