"""A file that is replaced whole: the old content or the new one, whatever fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from producers.storage.whole_file import replace_file


def test_the_new_content_is_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for data in (b"old", b"new"):
        replace_file(path, data)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_mode_holds_over_what_a_killed_process_left(tmp_path: Path) -> None:
    left = tmp_path / "key.new"
    left.write_bytes(b"half a file, and longer than the new one")
    left.chmod(0o644)
    replace_file(tmp_path / "key", b"secret", mode=0o600)
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_disk_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    replace_file(path, b"old")

    def fails(_handle: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk is full"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path], "nothing is left behind"


def test_file_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def note(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").resolve().name)
        real(handle)

    monkeypatch.setattr(os, "fsync", note)
    replace_file(tmp_path / "state.json", b"new")
    assert synced == ["state.json.new", tmp_path.name]
