"""The signing proxy in trouble: a key that is away, slow, wrong or mad, a disk that is full, a log that is touched."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finance.settings.clock import utc_now
from finance.signing_proxy.request_log import RequestLog
from ledger_core.errors import Refused, Unavailable
from tests.support.proxies import KIDS, TestProxy, running_proxy
from tests.support.waits import PATIENCE_SECONDS

RSA, ED = KIDS


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[TestProxy]:
    with running_proxy(tmp_path) as running:
        yield running
        assert running.report().findings == []


def test_a_key_service_that_is_away_is_503_and_nothing_is_on_record_as_signed(proxy: TestProxy) -> None:
    proxy.keys[ED].error = Unavailable("signer", "the KMS does not answer")
    reply = proxy.sign()
    assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "UNAVAILABLE", "5")
    assert proxy.events() == ["asked", "failed:KEY_UNAVAILABLE"]
    health = proxy.door.ask(path="/health")
    assert (health.status, health.code) == (503, "UNHEALTHY")
    proxy.keys[ED].error = None
    assert proxy.sign().status == 200
    assert proxy.door.ask(path="/health").status == 200
    assert proxy.report().unfinished == set()


def test_a_signature_of_another_key_never_leaves(proxy: TestProxy) -> None:
    proxy.keys[ED].forge = True
    reply = proxy.sign()
    assert reply.code == "REFUSED"
    assert b"signature_b64" not in reply.body
    assert proxy.events() == ["asked", "failed:KEY_REFUSED"]


def test_a_disabled_key_is_refused_with_the_reason(proxy: TestProxy) -> None:
    proxy.keys[RSA].error = Refused("the key is disabled", remedy="enable it")
    reply = proxy.sign(RSA)
    assert (reply.status, reply.json["remedy"]) == (403, "enable it")


def test_a_full_disk_signs_nothing_and_mends_itself(proxy: TestProxy) -> None:
    """A real one: the kernel lets the file grow no further, in the middle of a line."""
    assert proxy.sign().status == 200
    before = proxy.keys[ED].asked
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (proxy.log_path.stat().st_size + 50, hard))
    try:
        replies = [proxy.sign() for _ in range(3)]
        health = proxy.door.ask(path="/health")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {reply.status for reply in replies} == {503}
    assert health.code == "UNHEALTHY"
    assert proxy.keys[ED].asked == before, "the key was not even asked"
    assert proxy.sign().status == 200
    assert proxy.events() == ["asked", "signed", "recovered", "asked", "signed"]


def test_a_log_that_somebody_else_touches_signs_nothing(proxy: TestProxy) -> None:
    moved = proxy.log_path.with_name("moved.log")
    proxy.log_path.rename(moved)
    assert proxy.sign().status == 503
    moved.rename(proxy.log_path)
    assert proxy.sign().status == 200
    with proxy.log_path.open("ab") as file:
        file.write(b"")
    assert proxy.sign().status == 200
    whole = proxy.log_path.read_bytes()
    os.truncate(proxy.log_path, len(whole) - 10)
    assert proxy.sign().status == 503
    proxy.log_path.write_bytes(whole)
    assert proxy.sign().status == 503, "not before a restart"


def test_an_fsync_that_fails_ends_signing(tmp_path: Path) -> None:
    failing: list[bool] = [False]

    def fsync(handle: int) -> None:
        if failing[0]:
            raise OSError(5, "Input/output error")
        os.fsync(handle)

    log = RequestLog(tmp_path / "log", clock=utc_now, fsync=fsync)
    log.append({"event": "asked"})
    failing[0] = True
    with pytest.raises(Unavailable):
        log.append({"event": "asked"})
    failing[0] = False
    with pytest.raises(Unavailable, match="Restart"):
        log.append({"event": "asked"})
    log.close()


def test_who_waits_too_long_for_a_slow_key_is_told_so_and_may_ask_again(
    proxy: TestProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finance.signing_proxy.service.WAIT_SECONDS_MAX", 0.05)
    asked, answer = threading.Event(), threading.Event()

    def slow() -> None:
        asked.set()
        assert answer.wait(PATIENCE_SECONDS)

    proxy.keys[ED].before = slow
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(proxy.sign)
        assert asked.wait(PATIENCE_SECONDS)
        reply = proxy.sign(nonce="nonce-0001")
        answer.set()
        assert first.result().status == 200
    assert (reply.status, reply.code) == (503, "BUSY")
    assert proxy.sign(nonce="nonce-0001").status == 200, "it was not used up"
    assert sorted(proxy.events()) == sorted(["asked", "refused:BUSY", "signed", "asked", "signed"])


def test_whatever_goes_wrong_with_a_key_is_on_record(proxy: TestProxy) -> None:
    def fault() -> None:
        raise ZeroDivisionError

    proxy.keys[ED].before = fault
    reply = proxy.sign()
    assert (reply.status, reply.code) == (500, "FAULT")
    assert proxy.events() == ["asked", "failed:FAULT"]
    assert proxy.report().unfinished == set()
