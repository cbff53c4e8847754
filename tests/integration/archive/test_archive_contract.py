"""One contract for every ArchiveStore: the S3 adapter on the real store, and the directory."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError

from finance.workshop.devstack import Stack
from ledger_core.errors import Corrupt, Refused, Unavailable
from ledger_core.ports import ArchiveStore, StoredObject
from producers.storage.archive_file import FileArchiveStore
from producers.storage.archive_s3 import S3ArchiveStore
from producers.storage.s3_client import s3_client
from tests.support.buckets import adapter_tls
from tests.support.buckets import s3_client as plain_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UNTIL = (dt.datetime.now(dt.UTC) + dt.timedelta(days=2)).replace(microsecond=0)
DATA = b"one locked object\n" * 100
METADATA = {"shard": "0", "prev-hash": "ab" * 32}


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@pytest.fixture
def s3_store(stack: Stack, bucket: str) -> S3ArchiveStore:
    return S3ArchiveStore(client_of(stack.env), bucket, clock=utc_now)


def client_of(env: dict[str, str], endpoint: str | None = None) -> S3Client:
    return s3_client(
        region=env["S3_AUDIT_REGION"],
        endpoint=endpoint or env["S3_AUDIT_ENDPOINT"],
        access_key=env["S3_AUDIT_ACCESS_KEY"],
        secret=env["S3_AUDIT_SECRET"],
        **adapter_tls(env, "archiver"),
    )


@pytest.fixture(params=["s3", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArchiveStore:
    return request.getfixturevalue("s3_store") if request.param == "s3" else FileArchiveStore(tmp_path)


def put(store: ArchiveStore, key: str = "test/a.jsonl.gz", data: bytes = DATA) -> StoredObject:
    return store.put(key, data, retain_until=UNTIL, metadata=METADATA)


def test_what_was_put_is_read_back_by_version(store: ArchiveStore) -> None:
    stored = put(store)
    assert store.get(stored.key, stored.version_id) == DATA
    assert store.get(stored.key) == DATA
    assert (stored.size_bytes, stored.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert stored.metadata == METADATA


def test_same_object_again_is_success_and_no_second_version(store: ArchiveStore) -> None:
    assert put(store) == put(store)
    assert store.versions("test/") == [put(store)]


def test_another_object_under_the_same_name_is_corrupt_and_changes_nothing(store: ArchiveStore) -> None:
    put(store)
    with pytest.raises(Corrupt, match="other bytes"):
        put(store, data=b"something else")
    assert store.get("test/a.jsonl.gz") == DATA
    assert len(store.versions("test/")) == 1


def test_versions_stand_in_order_of_key_below_their_prefix(store: ArchiveStore) -> None:
    for key in ("test/b.json", "test/a.json", "other/c.json"):
        put(store, key)
    assert [stored.key for stored in store.versions("test/")] == ["test/a.json", "test/b.json"]
    assert store.versions("nothing/") == []


def test_a_missing_object_or_version_is_a_key_error(store: ArchiveStore) -> None:
    stored = put(store)
    with pytest.raises(KeyError):
        store.get("test/none.json")
    with pytest.raises(KeyError):
        store.get(stored.key, stored.version_id[::-1])


def test_an_empty_prefix_lists_everything(store: ArchiveStore) -> None:
    put(store, "x/1.json")
    put(store, "y/2.json")
    assert {"x/1.json", "y/2.json"} <= {stored.key for stored in store.versions("")}


# --- S3 alone ------------------------------------------------------------------------------------------------------


def test_s3_object_is_locked_as_asked(s3_store: S3ArchiveStore) -> None:
    stored = put(s3_store)
    assert (stored.mode, stored.retain_until) == ("COMPLIANCE", UNTIL)


def test_s3_lock_check_passes_on_a_real_bucket_and_again_with_the_same_canary(s3_store: S3ArchiveStore) -> None:
    s3_store.check_lock()
    s3_store.check_lock()
    assert len(s3_store.versions("canary/")) == 1


def test_s3_bucket_without_object_lock_is_refused_with_the_remedy(stack: Stack, bucket: str) -> None:
    plain_client(stack.env).create_bucket(Bucket=bucket + "-plain")
    store = S3ArchiveStore(client_of(stack.env), bucket + "-plain", clock=utc_now)
    with pytest.raises(Refused, match=r"no Object Lock.*create a bucket with Object Lock"):
        store.check_lock()
    with pytest.raises(Refused, match="Object Lock"):
        put(store)


def test_s3_bucket_that_does_not_exist_is_refused(stack: Stack) -> None:
    store = S3ArchiveStore(client_of(stack.env), "no-such-bucket-here", clock=utc_now)
    with pytest.raises(Refused, match=r"NoSuchBucket.*S3_AUDIT_BUCKET"):
        store.check_lock()


class ForgetfulClient:
    """The real client of a store whose lock holds nothing: it says yes to one attack (and does not harm the store)."""

    def __init__(self, client: S3Client, yes_to: str) -> None:
        self._client = client
        self._yes_to = yes_to

    def __getattr__(self, name: str) -> Any:
        return (lambda **_: {}) if name == self._yes_to else getattr(self._client, name)


@pytest.mark.parametrize(
    ("attack", "message"), [("delete_object", "be deleted"), ("put_object_retention", "be shortened")]
)
def test_s3_store_that_lets_a_locked_version_go_is_refused(
    stack: Stack, bucket: str, attack: str, message: str
) -> None:
    store = S3ArchiveStore(cast("S3Client", ForgetfulClient(client_of(stack.env), attack)), bucket, clock=utc_now)
    with pytest.raises(Refused, match=message):
        store.check_lock()


def test_s3_bucket_that_claims_to_lock_and_lets_us_delete_is_refused(stack: Stack, bucket: str) -> None:
    """The real store, with Object Lock: a lock of GOVERNANCE is none for credentials that may bypass it."""
    administrator = plain_client(stack.env)
    assert administrator.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"] == {
        "ObjectLockEnabled": "Enabled"
    }
    with pytest.raises(Refused, match=r"locked by GOVERNANCE be deleted.*nothing was archived"):
        S3ArchiveStore(administrator, bucket, clock=utc_now, mode="GOVERNANCE").check_lock()
    S3ArchiveStore(client_of(stack.env), bucket, clock=utc_now, mode="GOVERNANCE").check_lock()
    S3ArchiveStore(administrator, bucket, clock=utc_now, mode="COMPLIANCE").check_lock()


def test_s3_wrong_credentials_are_refused(stack: Stack, bucket: str) -> None:
    store = S3ArchiveStore(client_of(stack.env | {"S3_AUDIT_SECRET": "wrong"}), bucket, clock=utc_now)
    with pytest.raises(Refused, match="credentials"):
        store.get("x")


def test_s3_that_does_not_answer_is_unavailable(stack: Stack, bucket: str) -> None:
    store = S3ArchiveStore(client_of(stack.env, "http://127.0.0.1:9"), bucket, clock=utc_now)
    for attempt in (store.check_lock, lambda: put(store), lambda: store.get("x"), lambda: store.versions("")):
        with pytest.raises(Unavailable, match="s3 is unavailable"):
            attempt()


def test_s3_delete_marker_does_not_hide_the_locked_version(stack: Stack, s3_store: S3ArchiveStore, bucket: str) -> None:
    stored = put(s3_store)
    plain_client(stack.env).delete_object(Bucket=bucket, Key=stored.key)
    assert put(s3_store) == stored
    assert [found.size_bytes for found in s3_store.versions(stored.key)] == [len(DATA), -1]
    with pytest.raises(KeyError):
        s3_store.get(stored.key)
    assert s3_store.get(stored.key, stored.version_id) == DATA


def test_s3_equal_object_under_a_shorter_lock_is_locked_as_long_as_asked_and_never_shorter(
    s3_store: S3ArchiveStore,
) -> None:
    first, later = put(s3_store), UNTIL + dt.timedelta(days=1)
    stored = s3_store.put(first.key, DATA, retain_until=later, metadata=METADATA)
    assert (stored.version_id, stored.retain_until) == (first.version_id, later)
    assert put(s3_store).retain_until == later


def test_s3_equal_object_under_another_kind_of_lock_is_not_taken_for_ours(
    stack: Stack, bucket: str, s3_store: S3ArchiveStore
) -> None:
    governed = S3ArchiveStore(client_of(stack.env), bucket, clock=utc_now, mode="GOVERNANCE")
    key = put(governed).key
    with pytest.raises(Refused, match=r"is locked by GOVERNANCE until.*retention_mode"):
        s3_store.put(key, DATA, retain_until=UNTIL + dt.timedelta(days=1), metadata=METADATA)


# --- directory alone -----------------------------------------------------------------------------------------------


def test_a_directory_is_refused_as_an_archive_unless_it_is_only_read(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"locks nothing.*Object Lock"):
        FileArchiveStore(tmp_path).check_lock()
    FileArchiveStore(tmp_path, read_only=True).check_lock()
    with pytest.raises(Refused, match="read-only"):
        put(FileArchiveStore(tmp_path, read_only=True))


def test_a_directory_keeps_version_id_and_lock_of_what_was_copied(tmp_path: Path) -> None:
    original = StoredObject("a/b.json", "v-17", len(DATA), hashlib.sha256(DATA).hexdigest(), UNTIL, "COMPLIANCE", {})
    FileArchiveStore(tmp_path).add_copy(original, DATA)
    reader = FileArchiveStore(tmp_path, read_only=True)
    assert reader.versions("a/") == [original]
    assert reader.get("a/b.json", "v-17") == DATA
    with pytest.raises(Corrupt, match="differs"):
        FileArchiveStore(tmp_path).add_copy(original, b"other")


def test_an_altered_file_is_corrupt(tmp_path: Path) -> None:
    stored = put(FileArchiveStore(tmp_path))
    (tmp_path / stored.key).write_bytes(b"altered")
    with pytest.raises(Corrupt, match="other bytes"):
        FileArchiveStore(tmp_path).get(stored.key)


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a/", "a.version.json"])
def test_no_name_leads_out_of_the_directory(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        put(FileArchiveStore(tmp_path), key)


def test_our_own_credentials_store_nothing_without_a_lock(stack: Stack, bucket: str) -> None:
    """The archiver's IAM policy asks for the lock; the other conditions of it the store here does not know."""
    client = client_of(stack.env)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_object(Bucket=bucket, Key="test/unlocked", Body=DATA)
    lock: dict[str, Any] = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": UNTIL}
    client.put_object(Bucket=bucket, Key="test/locked", Body=DATA, ChecksumAlgorithm="SHA256", **lock)
