"""The log of the signing proxy: what is changed or torn shows, and a crash at any byte is mended by the next start."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finance.signing_proxy.log_verify import LogReport, verify_log
from finance.signing_proxy.request_log import LogHead, RequestLog, parse_line
from ledger_core.errors import Refused

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
COUNT = itertools.count()


def opened(path: Path) -> RequestLog:
    return RequestLog(path, clock=lambda: NOW, fsync=lambda _: None)


def written(path: Path, records: int = 5) -> bytes:
    log = opened(path)
    for number in range(records):
        log.append({"event": "asked" if number % 2 == 0 else "signed", "caller": f"caller-{number}"})
    log.close()
    return path.read_bytes()


def check(data: bytes, known: LogHead | None = None) -> LogReport:
    return verify_log(data.splitlines(keepends=True), known=known)


def test_a_log_chains_over_restarts(tmp_path: Path) -> None:
    written(tmp_path / "log", 3)
    data = written(tmp_path / "log", 3)
    report = check(data)
    assert (report.records, report.head.seq, report.findings) == (6, 6, [])
    first = parse_line(data.splitlines()[0])
    assert first is not None
    assert "prev_hash" not in first
    assert first["ts"] == "2026-01-01T00:00:00.000000Z"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = written(tmp_path_factory.mktemp("log") / "log", 4)
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))
    assert not check(whole[:at] + bytes([other]) + whole[at + 1 :]).sound


def test_lines_taken_out_moved_or_repeated_are_found(tmp_path: Path) -> None:
    lines = written(tmp_path / "log").splitlines(keepends=True)
    for kept in itertools.combinations(range(5), 4):
        if kept != (0, 1, 2, 3):
            assert not check(b"".join(lines[index] for index in kept)).sound
    assert not check(b"".join([lines[1], lines[0], *lines[2:]])).sound
    assert not check(b"".join([*lines, lines[4]])).sound


def test_a_finding_names_its_line(tmp_path: Path) -> None:
    data = written(tmp_path / "log")
    assert check(data.replace(b"caller-4", b"caller-5")).findings == ["line 5: no record, or its hash does not fit"]
    assert check(data.replace(b"caller-1", b"caller-5")).findings[0] == "line 2: no record, or its hash does not fit"
    assert check(data[:-1]).findings[0].startswith("line 5: has no end")


def test_an_end_cut_off_shows_against_a_head_that_was_noted(tmp_path: Path) -> None:
    data = written(tmp_path / "log")
    head = check(data).head
    cut = b"".join(data.splitlines(keepends=True)[:3])
    assert check(cut).sound
    assert not check(cut, head).sound
    assert check(data, check(cut).head).sound
    assert not check(data, LogHead(3, bytes(32))).sound


@given(st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_a_crash_at_any_byte_is_mended_by_the_next_start(
    tmp_path_factory: pytest.TempPathFactory, missing: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    whole = written(path, 3)
    last = len(whole.splitlines(keepends=True)[-1])
    torn = whole[: -min(missing, last)]
    path.write_bytes(torn)
    log = opened(path)
    log.append({"event": "asked", "caller": "after"})
    log.close()
    data = path.read_bytes()
    report = check(data)
    assert report.findings == []
    assert data.startswith(torn), "nothing is ever taken away"
    assert report.records >= 3


def test_several_torn_lines_are_named_together(tmp_path: Path) -> None:
    path = tmp_path / "log"
    whole = written(path, 2)
    path.write_bytes(whole + b'{"event":\n{"caller')
    opened(path).close()
    data = path.read_bytes()
    assert check(data).findings == []
    assert not check(data.replace(b'{"event":\n', b'{"evil":\n')).sound
    assert not check(data.replace(b'{"event":\n', b"")).sound


def test_a_file_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a line of an application\n" * 2000)
    with pytest.raises(Refused, match="not records"):
        opened(path)
    assert path.read_bytes() == b"a line of an application\n" * 2000


def test_a_log_belongs_to_one_process(tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    with pytest.raises(Refused, match="locked by another"):
        opened(tmp_path / "log")
    log.close()
    opened(tmp_path / "log").close()


@pytest.mark.parametrize("where", ["/proc/version", "missing/log", "."])
def test_a_log_that_cannot_be_written_refuses_the_start(tmp_path: Path, where: str) -> None:
    with pytest.raises(Refused, match="cannot be opened"):
        opened(tmp_path / where)


def test_a_name_in_any_writing_is_written_down(tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    log.append({"event": "asked", "caller": "Zoë\0 \ud800 \U0001f600 e\u0301\n"})
    log.close()
    assert check((tmp_path / "log").read_bytes()).findings == []


def test_what_was_asked_and_never_answered_is_told(tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    first = log.append({"event": "asked"})
    log.append({"event": "asked"})
    log.append({"event": "signed", "asked_seq": str(first.seq)})
    log.close()
    assert check((tmp_path / "log").read_bytes()).unfinished == {"2"}
