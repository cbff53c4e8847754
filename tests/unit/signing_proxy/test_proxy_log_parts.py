"""The log in parts: one chain over all of them, begun when a part is full, whatever crashes or is moved away."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from finance.signing_proxy.log_file import lines_back, parts_of
from finance.signing_proxy.log_verify import LogReport, verify_log
from finance.signing_proxy.request_log import LogHead, RequestLog, parse_line
from ledger_core.errors import Refused

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
EVER = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def opened(path: Path, part_bytes_max: int = 1000) -> RequestLog:
    return RequestLog(path, clock=lambda: NOW, part_bytes_max=part_bytes_max, fsync=lambda _: None)


def grown(path: Path, records: int, part_bytes_max: int = 1000) -> LogHead:
    log = opened(path, part_bytes_max)
    for number in range(records):
        log.append({"event": "asked", "caller": f"caller-{number}"})
    log.close()
    return log.head


def check(parts: Iterable[Path], **more: Any) -> LogReport:
    lines = itertools.chain.from_iterable(part.read_bytes().splitlines(keepends=True) for part in parts)
    return verify_log(lines, **more)


def test_a_full_part_is_followed_by_another_and_the_chain_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    head = grown(path, 20)
    parts = parts_of(path)
    assert [part.name for part in parts] == ["log", *(f"log.{number}" for number in range(2, len(parts) + 1))]
    assert len(parts) > 3
    assert all(part.stat().st_size < 1400 for part in parts)
    report = check(parts)
    assert (report.findings, report.head) == ([], head)
    assert grown(path, 5).seq == 25
    assert check(parts_of(path)).sound


def test_parts_that_are_elsewhere_are_followed_from_their_head(tmp_path: Path) -> None:
    path = tmp_path / "log"
    grown(path, 20)
    first, *later = parts_of(path)
    between = check([first]).head
    assert check(later).findings[0].startswith("line 1: record ")
    assert check(later, after=between).sound
    assert not check([*later[1:]], after=between).sound, "a part in the middle is missing"
    first.rename(tmp_path / "elsewhere")
    assert grown(path, 1).seq == 21, "the newest part says how it goes on"
    assert check(parts_of(path), after=between).sound


@pytest.mark.parametrize("left", [b"", b'{"caller":"tor'], ids=["before the first line", "in the first line"])
def test_a_crash_at_the_beginning_of_a_part_is_mended(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "log"
    head = grown(path, 3, part_bytes_max=10_000)
    (tmp_path / "log.2").write_bytes(left)
    assert grown(path, 2).seq == head.seq + 2 + (1 if left else 0)
    assert check(parts_of(path)).findings == []


def test_an_empty_part_without_the_one_before_does_not_begin_anew(tmp_path: Path) -> None:
    grown(tmp_path / "log", 3, part_bytes_max=10_000)
    (tmp_path / "log").rename(tmp_path / "elsewhere")
    (tmp_path / "log.2").touch()
    with pytest.raises(Refused, match=r"log.2, which is empty"):
        opened(tmp_path / "log")


def test_a_part_that_cannot_be_begun_lets_the_one_before_grow(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = opened(path)
    (tmp_path / "log.2").mkdir()
    for _ in range(8):
        log.append({"event": "asked"})
    (tmp_path / "log.2").rmdir()
    assert path.stat().st_size > 1000
    log.append({"event": "asked"})
    log.close()
    assert len(parts_of(path)) == 2
    assert check(parts_of(path)).findings == []


def test_whoever_holds_an_older_part_does_not_hold_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = opened(path)
    for _ in range(8):
        log.append({"event": "asked"})
    with pytest.raises(Refused, match="locked by another"):
        opened(path)
    log.close()


def test_names_that_only_look_like_parts_are_none(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for name in ("log", "log.2", "log.10", "log.1", "log.02", "log.2.gz", "log.x", "alog", "log.witness.json"):
        (tmp_path / name).touch()
    assert [part.name for part in parts_of(path)] == ["log", "log.2", "log.10"]
    assert parts_of(tmp_path / "missing" / "log") == []


def test_lines_come_back_newest_first_over_blocks_and_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finance.signing_proxy.log_file.BLOCK_BYTES", 7)
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"first line\n\nthird\n")
    two.write_bytes(b"fourth\ntorn")
    assert list(lines_back([one, two])) == [b"torn", b"fourth", b"third", b"", b"first line"]
    assert list(lines_back([one, two], bytes_max=7)) == [b"torn"]
    assert list(lines_back([])) == []


def test_what_is_recent_is_found_over_parts_and_not_beyond_its_time(tmp_path: Path) -> None:
    path, moments = tmp_path / "log", itertools.count()
    log = RequestLog(path, clock=lambda: NOW + dt.timedelta(hours=next(moments)), part_bytes_max=900)
    for number in range(12):
        log.append({"event": "asked", **({"nonce": f"nonce-{number}"} if number % 3 == 0 else {})})
    found = list(log.recent(NOW + dt.timedelta(hours=3), b'"nonce":'))
    assert [record["nonce"] for record in found] == ["nonce-9", "nonce-6", "nonce-3"]
    assert len(list(log.recent(EVER, b""))) == 12
    log.close()


def test_a_name_that_would_burst_a_line_is_cut_and_not_refused(tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    log.append({"event": "asked", "principal": "\u20ac" * 5000})
    log.close()
    (line,) = (tmp_path / "log").read_bytes().splitlines()
    record = parse_line(line)
    assert record is not None
    assert len(record["principal"]) == 1024
