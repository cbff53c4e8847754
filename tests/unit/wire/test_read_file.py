"""A file of somebody else is read whole up to its limit, or refused: no wait, no device, no more than the limit."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from ledger_core.errors import Refused
from schemas.read_file import FileLines, open_file, read_file, read_text


def test_a_file_is_read_up_to_its_limit_and_a_link_to_one_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("grün".encode())
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        assert read_file(tmp_path / name, 5) == "grün".encode()
        assert read_text(tmp_path / name, 5) == "grün"
        with pytest.raises(Refused, match="longer than 4 bytes"):
            read_file(tmp_path / name, 4)
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "file", 5, "ascii")
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none", 5)


@pytest.mark.parametrize("kind", ["FIFO", "folder", "device", "link to a FIFO"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    if kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(Refused, match="not a regular file"):
            open_file(path)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_lines_are_read_again_and_again_plain_or_packed(tmp_path: Path) -> None:
    text = b"one\ntwo\nthree"
    (tmp_path / "plain").write_bytes(text)
    (tmp_path / "packed").write_bytes(gzip.compress(text))
    for name in ("plain", "packed"):
        lines = FileLines(tmp_path / name, 5)
        assert list(lines) == list(lines) == [b"one\n", b"two\n", b"three"]
        with pytest.raises(Refused, match="a line of more than 4 bytes"):
            list(FileLines(tmp_path / name, 4))
    (tmp_path / "half").write_bytes(gzip.compress(os.urandom(1000))[:-9])
    with pytest.raises(Refused, match="cannot be read"):
        list(FileLines(tmp_path / "half"))
