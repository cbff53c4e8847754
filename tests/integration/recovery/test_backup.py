"""The database comes back to any moment from encrypted copies; a copy that is not whole is refused, and named."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyrage import x25519

from finance.recovery.backup.assembly import catalogue_of, copies_of, restorable, restore_terms
from finance.recovery.backup.base.plan import Choice, Target
from finance.recovery.backup.base.restore import plan_of, restore
from finance.recovery.backup.base.verify import verify_place
from finance.recovery.backup.place.keys import wal_key
from finance.recovery.backup.place.manifest import digest_of
from finance.recovery.backup.place.seal import pack, read_recipients
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.workshop.devstack import Stack
from ledger_core.errors import Refused
from ledger_core.postgres.recovery.epochs import read_epoch
from ledger_core.postgres.session import session
from tests.support.backups import finance, lsn, notes, own_server, restored, streaming, switch, until_stored, write
from tests.support.buckets import create_bucket


@dataclasses.dataclass(frozen=True)
class Kept:
    """A cluster with one backup, its WAL, and what was committed at which moment: in a bucket with Object Lock, and in
    a folder beside it."""

    environ: dict[str, str]
    place: Path
    moments: dict[str, str]  # what was written last -> a time, and (in capitals) a WAL position
    folder: Path  # for data directories: the server's user reaches it


@pytest.fixture(scope="module")
def kept(stack: Stack) -> Iterator[Kept]:
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    bucket = {"BACKUP_PLACE": f"s3://{create_bucket(stack.env)}/finance/backups", "BACKUP_KEEP_DAYS": "1"}
    with own_server(stack, "backup") as (own, server):
        environ = {**inherited, **stack.env, **server, **bucket, "BACKUP_PARTIAL_SECONDS": "1"}
        place = own.place.path / "second-place"
        url, moments = environ["DATABASE_URL"], {}
        finance(environ, "migrate")
        with streaming(environ, "--also", str(place)):
            moments["a"] = write(url, "a")
            finance(environ, "backup", "create", "--also", str(place))
            for text in ("b", "c", "d"):
                moments[text], moments[text.upper()] = write(url, text), lsn(url)
                switch(url)
            moments["e"] = write(url, "e")
            until_stored(environ, lsn(url))
        yield Kept(environ, place, moments, own.place.path)


def directory(kept: Kept) -> Path:
    return kept.folder / f"restored-{uuid.uuid4().hex[:8]}"


def attempt(kept: Kept, tmp_path: Path, *also: str, place: Path | None = None) -> None:
    """The file part of a restore, in this process. Raises what the command would say."""
    environ = {**kept.environ, "BACKUP_PLACE": str(place or kept.place)}
    settings = Settings.from_env(environ, tmp_path)
    copies = copies_of(settings, also)
    terms = restore_terms(settings, copies, lambda _count: None)
    restore(terms, plan_of(terms, restorable(settings, copies, None), Target("latest"), Choice()), tmp_path / "data")


def verified(kept: Kept, tmp_path: Path, place: Path, *also: str) -> tuple[tuple[str, ...], list[str]]:
    """What `backup verify` finds, and what it heals."""
    settings = Settings.from_env({**kept.environ, "BACKUP_PLACE": str(place)}, tmp_path)
    copies = copies_of(settings, also)
    return verify_place(copies, catalogue_of(settings, copies, None, everywhere=True), lambda _count: None).findings, [
        line.partition(" in ")[0] for line in copies.healed
    ]


@pytest.mark.parametrize(("moment", "found"), [("latest", "abcde"), ("immediate", "a"), ("b", "ab"), ("C", "abc")])
def test_a_restore_holds_what_was_committed_by_its_moment_and_says_so_for_ever(
    kept: Kept, moment: str, found: str
) -> None:
    arguments = ("--to", kept.moments.get(moment, moment), "--reason", "disk lost")
    with restored(kept.environ, directory(kept), *arguments) as url:
        assert "".join(notes(url)) == found
        with session(url, application_name="test") as connection:
            epoch = read_epoch(connection)
        assert (epoch.epoch_no, epoch.kind) == (2, "restore")
        assert epoch.reason.startswith("disk lost (backup ")


def stored_files(place: Path) -> list[Path]:
    files = (path.relative_to(place) for path in place.rglob("*") if path.is_file())
    return sorted(path for path in files if ".writing" not in path.parts)


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_whichever_file_is_damaged_is_named_before_anything_is_written_and_a_second_place_heals_it(
    kept: Kept, tmp_path: Path, damage: str
) -> None:
    needed = [path for path in stored_files(kept.place) if needed_by_latest(path)]
    kinds = {re.sub(r"[0-9a-f]{64}|[0-9A-F]{24}|\d{5,}", "#", path.name) for path in needed}
    assert kinds == {"manifest.json", "part-#-#.age", "#-#-#.age", "#.partial-#-#.age", "newest.json", "stream.json"}
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    shutil.copytree(kept.place, whole)
    for path in needed:
        shutil.copytree(kept.place, broken)
        victim = broken / path
        if damage == "missing":
            victim.unlink()
        else:
            data = victim.read_bytes()
            victim.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        name = path.name.split("-")[0].removesuffix(".partial") if "base" not in path.parts else path.name
        with pytest.raises(Refused, match=name):
            attempt(kept, tmp_path, place=broken)
        assert not (tmp_path / "data").exists()
        assert any(name in finding for finding in verified(kept, tmp_path, broken)[0])
        findings, healed = verified(kept, tmp_path, broken, str(whole))
        assert findings == ()
        assert [key for key in healed if key.endswith(path.name)] == [path.as_posix()]
        assert victim.read_bytes() == (kept.place / path).read_bytes()
        shutil.rmtree(broken)


def test_a_segment_that_somebody_exchanged_is_named_and_one_laid_beside_it_is_never_used(
    kept: Kept, tmp_path: Path
) -> None:
    """Everybody can encrypt to a public key, and name a file by its digest."""
    broken = tmp_path / "broken"
    shutil.copytree(kept.place, broken)
    signed = next(path for path in stored_files(broken) if path.name.startswith("000000010000000000000004-"))
    forged = pack(bytes(2**24), read_recipients(kept.environ["BACKUP_RECIPIENTS"]))
    system, later = signed.parts[0], dt.datetime.now(dt.UTC)
    (broken / wal_key(system, "000000010000000000000004", later, digest_of(forged))).write_bytes(forged)
    assert verified(kept, tmp_path, broken) == ((), [])
    attempt(kept, tmp_path, place=broken)
    (broken / signed).unlink()
    with pytest.raises(Refused, match=re.escape(signed.name)):
        attempt(kept, tmp_path / "again", place=broken)
    assert any(signed.name in finding for finding in verified(kept, tmp_path, broken)[0])


def needed_by_latest(path: Path) -> bool:
    """All but the WAL from before the backup."""
    return "wal" not in path.parts or path.name >= "000000010000000000000003"


def test_a_directory_that_is_not_empty_is_never_written_over(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("18")
    with pytest.raises(Refused, match="not empty"):
        attempt(kept, tmp_path)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["PG_VERSION"]


def test_another_identity_opens_nothing(kept: Kept, tmp_path: Path) -> None:
    stranger = tmp_path / "identity.txt"
    stranger.write_text(f"{x25519.Identity.generate()}\n")
    with pytest.raises(Refused, match="BACKUP_IDENTITY_FILE"):
        attempt(dataclasses.replace(kept, environ={**kept.environ, "BACKUP_IDENTITY_FILE": str(stranger)}), tmp_path)
    assert not (tmp_path / "data").exists()


def test_nothing_in_the_place_can_be_read_without_a_key(kept: Kept) -> None:
    for path in (path for path in stored_files(kept.place) if path.suffix != ".json"):
        assert (kept.place / path).read_bytes().startswith(b"age-encryption.org/v1\n")


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("2020-01-01T12:00:00Z", "no backup of timeline 1 that ended before"),
        ("2099-01-01T12:00:00Z", "reaches only to"),
        ("0/1", "no backup"),
    ],
)
def test_a_moment_that_the_copies_do_not_reach_is_refused(kept: Kept, moment: str, said: str) -> None:
    told = finance(kept.environ, "backup", "restore", "--to", moment, "--target", str(directory(kept)), code=3)
    assert said in told["error"]["message"]


def test_what_cannot_be_right_is_refused_before_anything_is_written(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backups of another environment, a registry that lacks the key that signed them, a clock before them."""
    staging = {**kept.environ, "FINANCE_ENV": "staging", "FINANCE_DOMAIN": "example.com"}
    with pytest.raises(Refused, match="is of environment dev, this is staging"):
        attempt(dataclasses.replace(kept, environ=staging), tmp_path)
    registry = json.loads(Path(kept.environ["FINANCE_SIGNERS"]).read_text())
    registry["signers"] = [signer for signer in registry["signers"] if signer["algorithm"] != "ed25519"]
    lacking = tmp_path / "signers.json"
    lacking.write_text(json.dumps(registry))
    with pytest.raises(Refused, match=r"has no backup .*Remedy: name a signers.json that contains every key"):
        attempt(dataclasses.replace(kept, environ={**kept.environ, "FINANCE_SIGNERS": str(lacking)}), tmp_path)
    monkeypatch.setattr(clock, "utc_now", lambda: dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
    with pytest.raises(Refused, match=r"this clock says 2025-01-01.*Remedy: set the clock"):
        attempt(kept, tmp_path)
    assert not (tmp_path / "data").exists()
