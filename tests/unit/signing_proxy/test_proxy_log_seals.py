"""A sealed log: what stands before its newest seal cannot be rewritten by who holds the file and not the key."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import itertools
from pathlib import Path
from typing import Any

import pytest

from finance.signing_proxy import log_seal, log_verify
from finance.signing_proxy.log_seal import Seal, Sealer, seal_message, seal_of
from finance.signing_proxy.log_verify import LogReport, verify_log
from finance.signing_proxy.request_log import LogHead, RequestLog, parse_line
from ledger_core.errors import Refused, Unavailable

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class KeyInMemory:
    """HMAC_SHA_256 under a key of its own; away when told so."""

    def __init__(self, secret: bytes = b"the key") -> None:
        self._secret = secret
        self.away = False
        self.made = 0

    key_id = "alias/test-log"

    def make(self, message: bytes) -> bytes:
        if self.away:
            raise Unavailable("mac", "the KMS does not answer")
        self.made += 1
        return hmac.digest(self._secret, message, "sha256")

    def verify(self, message: bytes, mac: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(self._secret, message, "sha256"), mac)

    def close(self) -> None:
        """Nothing to let go."""


class Bench:
    """A log, its key and its sealer; `now` are seconds."""

    def __init__(self, path: Path) -> None:
        self.path, self.key, self.now = path, KeyInMemory(), 0.0

    def open(self) -> Bench:
        self.log = RequestLog(self.path, clock=lambda: NOW, fsync=lambda _: None)
        try:
            self.sealer = Sealer(self.log, self.key, monotonic=lambda: self.now)
        except (Refused, Unavailable):
            self.log.close()
            raise
        return self

    def ask(self, count: int = 1) -> None:
        for _ in range(count):
            self.log.append({"event": "asked", "caller": "prover"})

    def close(self) -> None:
        self.sealer.close()
        self.log.close()

    def events(self) -> list[str]:
        records = [parse_line(line) for line in self.path.read_bytes().splitlines()]
        return [record["event"] for record in records if record is not None]

    def report(self, **more: Any) -> LogReport:
        def holds(seal: Seal) -> bool:
            return self.key.verify(seal.message, seal.mac)

        return verify_log(self.path.read_bytes().splitlines(keepends=True), seal_holds=holds, **more)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name, value in (("SEAL_RECORDS", 5), ("UNSEALED_RECORDS_MAX", 20), ("GAP_RECORDS_MAX", 25)):
        monkeypatch.setattr(log_seal, name, value)
    monkeypatch.setattr(log_verify, "GAP_RECORDS_MAX", 25)
    return Bench(tmp_path / "log")


def forged(path: Path, events: list[dict[str, str]]) -> None:
    """A whole log with a sound chain, written by somebody who holds the file."""
    path.unlink()
    log = RequestLog(path, clock=lambda: NOW, fsync=lambda _: None)
    for event in events:
        log.append(event)
    log.close()


def records_of(path: Path) -> list[dict[str, str]]:
    found = [parse_line(line) for line in path.read_bytes().splitlines()]
    told = ("seq", "ts", "hash", "prev_hash")
    return [{name: value for name, value in record.items() if name not in told} for record in found if record]


def test_a_log_begins_with_a_seal_and_is_sealed_by_count_by_time_and_at_its_end(bench: Bench) -> None:
    bench.open()
    bench.ask(4)
    bench.sealer.beat()
    assert bench.events() == ["sealed", *["asked"] * 4]
    bench.ask()
    bench.sealer.beat()
    assert bench.events()[-1] == "sealed"
    bench.now += 61
    bench.sealer.beat()
    assert bench.key.made == 2, "nothing new, nothing to seal"
    bench.ask()
    bench.sealer.beat()
    bench.now += 59
    bench.sealer.beat()
    assert bench.key.made == 2
    bench.now += 2
    bench.sealer.beat()
    assert bench.key.made == 3
    bench.ask()
    bench.close()
    assert bench.events()[-2:] == ["asked", "sealed"]
    report = bench.report()
    assert (report.findings, report.events["sealed"]) == ([], 4)
    assert report.sealed is not None
    assert report.sealed.head.seq == report.head.seq - 1


def test_history_that_was_written_anew_is_found_and_does_not_start(bench: Bench) -> None:
    bench.open()
    bench.ask(3)
    bench.close()
    told = records_of(bench.path)
    told[2]["caller"] = "somebody else"
    forged(bench.path, told)
    assert verify_log(bench.path.read_bytes().splitlines(keepends=True)).findings, "the seal is over another head"
    with pytest.raises(Refused, match="does not lead from its newest seal"):
        bench.open()


def test_history_that_was_written_anew_with_seals_to_match_has_no_mac_of_the_key(bench: Bench) -> None:
    bench.open()
    bench.ask(3)
    bench.close()
    other = Bench(bench.path.with_name("other"))
    other.key = KeyInMemory(b"another key")
    other.open()
    other.ask(2)
    other.close()
    bench.path.write_bytes(other.path.read_bytes())
    assert bench.report().findings == ["record 4: the seal was not made by that key"]
    with pytest.raises(Refused, match="was not made by"):
        bench.open()


def test_a_log_without_seals_is_neither_sound_nor_continued(bench: Bench) -> None:
    bench.open()
    bench.ask(3)
    bench.close()
    forged(bench.path, [{"event": "asked", "caller": "prover"}] * 3)
    assert bench.report().findings == ["no seal is in it"]
    with pytest.raises(Refused, match="no seal"):
        bench.open()


def test_a_tail_behind_the_newest_seal_is_bounded(bench: Bench) -> None:
    bench.open()
    bench.close()
    forged(bench.path, [*records_of(bench.path), *[{"event": "asked", "caller": "prover"}] * 30])
    assert any("have no seal" in finding for finding in bench.report().findings)
    with pytest.raises(Refused, match="does not lead"):
        bench.open()


def test_a_crash_leaves_a_tail_that_the_next_start_seals(bench: Bench) -> None:
    bench.open()
    bench.ask(3)
    bench.log.close()
    assert bench.report().sound
    bench.open()
    bench.now += 100
    bench.sealer.beat()
    bench.now += 100
    bench.sealer.beat()
    bench.close()
    assert bench.events() == ["sealed", "asked", "asked", "asked", "sealed"]


def test_without_the_key_nothing_begins_and_a_key_that_stays_away_stops_what_is_asked(bench: Bench) -> None:
    bench.key.away = True
    with pytest.raises(Unavailable):
        bench.open()
    bench.key.away = False
    bench.open()
    bench.key.away = True
    for _ in range(20):
        bench.ask()
        bench.now += 1
        bench.sealer.beat()
    with pytest.raises(Unavailable, match="could not be sealed"):
        bench.ask()
    assert not bench.log.sound
    bench.key.away = False
    bench.now += 10
    bench.sealer.beat()
    bench.ask()
    bench.close()
    assert bench.report().findings == []


def test_a_key_that_is_away_for_too_long_stops_what_is_asked(bench: Bench) -> None:
    bench.open()
    bench.key.away = True
    bench.ask()
    bench.sealer.beat()
    bench.now += 601
    bench.sealer.beat()
    with pytest.raises(Unavailable, match="could not be sealed"):
        bench.ask()
    bench.close()


def test_a_seal_over_a_head_that_never_was_is_found(bench: Bench) -> None:
    bench.open()
    bench.ask(2)
    head = LogHead(2, hashlib.sha256(b"no record").digest())
    mac = "AAAA"
    bench.log.append(
        {"event": "sealed", "mac": mac, "sealed_seq": "2", "sealed_hash": head.hash.hex() if head.hash else ""}
    )
    bench.close()
    assert any("seals a head that is not there" in finding for finding in bench.report().findings)


BAD = [
    {"sealed_seq": "1"},
    {"sealed_seq": "0", "sealed_hash": "00" * 32},
    {"sealed_seq": "-1"},
    {"sealed_seq": "9" * 20, "sealed_hash": "00" * 32},
    {"sealed_seq": "1", "sealed_hash": "xx"},
    {"sealed_seq": "1", "sealed_hash": "00" * 32, "mac": "?"},
]


@pytest.mark.parametrize("said", BAD)
def test_a_seal_that_says_nothing_is_none(said: dict[str, str]) -> None:
    assert seal_of({"event": "sealed", "seq": "3", "mac": "AAAA", **said}) is None


def test_what_is_sealed_tells_heads_apart() -> None:
    heads = [LogHead(0, None), *(LogHead(seq, bytes([byte]) * 32) for seq, byte in itertools.product((1, 11), (0, 1)))]
    assert len({seal_message(head) for head in heads}) == 5
