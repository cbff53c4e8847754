"""The door under load and bad will: every bound holds, and one that is slow, large or mad holds up nobody else."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doors import TestDoor, door_yaml, open_test_door, tls_client
from tests.support.waits import until

LIMITS = (
    "{body_bytes_max: 1000, header_bytes_max: 2000, request_seconds_max: 1, handshake_seconds_max: 1, "
    "idle_seconds_max: 1, connections_max: 8, caller_connections_max: 8, requests_per_second_max: 5000}"
)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[TestDoor]:
    opened = open_test_door(tmp_path, door_yaml(limits=LIMITS))
    yield opened
    opened.door.close()


def dial(door: TestDoor) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", door.door.port), timeout=300)
    return tls_client(door.authority.path, door.client).wrap_socket(raw, server_hostname="localhost")


def said(sock: socket.socket) -> bytes:
    """Everything until the other side closes."""
    heard = b""
    with contextlib.suppress(OSError):
        while data := sock.recv(65_536):
            heard += data
    sock.close()
    return heard


def test_a_body_that_is_too_large_is_refused_before_it_is_read(door: TestDoor) -> None:
    sock = dial(door)
    sock.sendall(b"POST /change HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
    assert b" 413 " in (heard := said(sock))
    assert b"BODY_TOO_LARGE" in heard
    assert door.ask("POST", "/change", body=b"x" * 1000).json["bytes"] == 1000


def test_a_body_without_an_end_is_cut_off_at_the_bound(door: TestDoor) -> None:
    sock = dial(door)
    sock.sendall(b"POST /change HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(50):
            sock.sendall(b"64\r\n" + b"y" * 100 + b"\r\n")
    assert b"BODY_TOO_LARGE" in said(sock)


def test_headers_that_are_too_large_are_refused(door: TestDoor) -> None:
    sock = dial(door)
    sock.sendall(b"GET /look HTTP/1.1\r\nHost: x\r\nX-Long: " + b"z" * 3000 + b"\r\n\r\n")
    assert b" 431 " in (heard := said(sock))
    assert b"HEADERS_TOO_LARGE" in heard


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_client_that_sends_a_byte_now_and_then_is_cut_off_at_its_deadline(door: TestDoor, part: str) -> None:
    sock = dial(door)
    if part == "body":
        sock.sendall(b"POST /change HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n")
    with contextlib.suppress(OSError):
        for byte in b"GET /look HTTP/1.1\r\nX: " + b"s" * 200:
            sock.sendall(bytes([byte]))
            time.sleep(0.05)  # 200 of them would be ten times the deadline
            if door.metrics.turned_away["TOO_SLOW"]:
                break
    heard = said(sock)
    assert b" 408 " in heard
    assert b"TOO_SLOW" in heard


def test_slow_handshakes_hold_up_nobody(door: TestDoor) -> None:
    silent = [socket.create_connection(("127.0.0.1", door.door.port)) for _ in range(6)]
    assert door.ask().status == 200
    for sock in silent:
        assert said(sock) == b""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[TestDoor]:
    """Four connections, and patience with each of them."""
    limits = (
        "{connections_max: 4, caller_connections_max: 4, handshake_seconds_max: 60, request_seconds_max: 60, "
        "requests_per_second_max: 5000}"
    )
    opened = open_test_door(tmp_path, door_yaml(limits=limits))
    yield opened
    opened.door.close()


def known(door: TestDoor) -> ssl.SSLSocket:
    """A connection of a caller that was admitted, and may ask again."""
    sock = dial(door)
    asked_again(sock)
    return sock


def asked_again(sock: ssl.SSLSocket) -> None:
    sock.sendall(b"GET /look HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " in sock.recv(65_536)


def test_who_says_nothing_keeps_nobody_out_and_nobody_known_is_cut_off_for_room(small: TestDoor) -> None:
    caller = known(small)
    silent = [socket.create_connection(("127.0.0.1", small.door.port)) for _ in range(3)]
    mute = [dial(small) for _ in range(3)]  # past the handshake, which three silent ones were cut off for
    assert [said(sock) for sock in silent] == [b"", b"", b""]
    for _ in range(5):
        assert small.ask().status == 200
    asked_again(caller)
    assert small.metrics.turned_away["TOO_MANY_CONNECTIONS"] >= 4
    for sock in (caller, *mute):
        sock.close()


def test_strangers_of_many_addresses_do_not_make_a_caller_with_two_connections_the_crowd(tmp_path: Path) -> None:
    limits = "{connections_max: 8, caller_connections_max: 2, handshake_seconds_max: 60, request_seconds_max: 60}"
    opened = open_test_door(tmp_path, door_yaml(limits=limits))
    at = ("127.0.0.1", opened.door.port)
    strangers = [socket.create_connection(at, source_address=(f"127.0.1.{n}", 0)) for n in range(6)]
    caller = [dial(opened) for _ in range(2)]  # past the handshake, and not admitted yet
    strangers += [socket.create_connection(at, source_address=(f"127.0.2.{n}", 0)) for n in range(6)]
    until("six made room", lambda: opened.metrics.turned_away["TOO_MANY_CONNECTIONS"] == 6)
    for known_by_now in caller:
        asked_again(known_by_now)
    for sock in (*caller, *strangers):
        sock.close()
    opened.door.close()


def test_connections_beyond_a_callers_share_take_no_room_however_slowly_they_go(tmp_path: Path) -> None:
    """Who is told that it has too many reads the answer when it likes, and asks for more meanwhile."""
    small = open_test_door(tmp_path, door_yaml(limits="{connections_max: 8, requests_per_second_max: 5000}"))
    looker = small.authority.issue("looker")
    held = []
    for _ in range(16):
        raw = socket.create_connection(("127.0.0.1", small.door.port), timeout=300)
        held.append(tls_client(small.authority.path, looker).wrap_socket(raw, server_hostname="localhost"))
        held[-1].sendall(b"GET /look HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held[-1].recv(65_536)
        assert small.ask().status == 200
    for sock in held:
        sock.close()
    small.door.close()


def test_when_all_connections_are_known_callers_the_next_is_closed_and_room_comes_back(small: TestDoor) -> None:
    callers = [known(small) for _ in range(4)]
    with pytest.raises(OSError, match=r"."):
        small.ask()
    assert small.metrics.turned_away["TOO_MANY_CONNECTIONS"] == 1
    for caller in callers:
        asked_again(caller)
    callers[0].close()

    def let_in() -> bool:
        with contextlib.suppress(OSError):
            return small.ask().status == 200
        return False

    until("a caller left, the next one is let in", let_in)
    for caller in callers:
        caller.close()


SMUGGLED = {
    "two lengths": b"POST /change HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "no version": b"GET /look\r\n\r\n",
    "a length that is no number": b"POST /change HTTP/1.1\r\nHost: x\r\nContent-Length: 0x10\r\n\r\n",
    "a blank before the colon": b"GET /look HTTP/1.1\r\nHost : x\r\n\r\n",
    "a folded header": b"GET /look HTTP/1.1\r\nHost: x\r\n\tAuthorization: y\r\nX y: z\r\n\r\n",
    "another encoding": b"POST /change HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "a chunk that is no number": b"POST /change HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "no host": b"GET /look HTTP/1.1\r\n\r\n",
    "noise": bytes(range(256)) * 4,
    "tls in tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600),
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_can_be_read_in_two_ways_is_not_read_at_all(door: TestDoor, name: str) -> None:
    sock = dial(door)
    sock.sendall(SMUGGLED[name])
    heard = said(sock)
    assert b" 400 " in heard.splitlines()[0] or b" 501 " in heard.splitlines()[0]
    assert b'"ok":false' in heard
    assert heard.count(b"HTTP/1.1 ") == 1
    assert door.ask().status == 200


def test_two_authorizations_are_one_too_many(door: TestDoor) -> None:
    sock = dial(door)
    sock.sendall(b"GET /look HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n")
    assert b" 400 " in said(sock).splitlines()[0]


def test_requests_one_behind_the_other_are_answered_in_order(door: TestDoor) -> None:
    sock = dial(door)
    sock.sendall(
        b"POST /change HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        b"GET /look?n=2 HTTP/1.1\r\nHost: x\r\n\r\nGET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    heard = said(sock)
    assert [line.split()[1] for line in heard.splitlines() if line.startswith(b"HTTP/1.1")] == [b"200", b"200", b"404"]


def test_no_bytes_at_all_bring_the_door_down(door: TestDoor) -> None:
    """Mutations of good requests, and noise: each ends in an answer or a closed connection, never in a fault."""
    chance = random.Random(5)
    seeds = [
        b"POST /change HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /look?a=%41 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b.c\r\n\r\n",
        b"POST /change HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ]
    for _ in range(60):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        sock = dial(door)
        sock.sendall(bytes(data))
        socket.socket.shutdown(sock, socket.SHUT_WR)
        said(sock)
    assert door.metrics.answers[500] == 0
    assert door.ask().status == 200


def serial(door: TestDoor) -> object:
    with dial(door) as sock:
        found = sock.getpeercert()
    assert found
    return found["serialNumber"]


def test_certificates_are_renewed_under_load_and_no_request_is_lost(door: TestDoor) -> None:
    stop, failures, answered = threading.Event(), list[str](), list[int]()

    def hammer() -> None:
        while not stop.is_set():
            try:
                answered.append(door.ask().status)
            except OSError as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for thread in threads:
        thread.start()
    serials: set[object] = set()
    for _ in range(5):
        door.authority.issue("server", server=True, into=door.folder / "tls")
        until("the door shows the new certificate", lambda: serial(door) not in serials)
        serials.add(serial(door))
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(answered) == {200}


def test_closing_lets_a_request_in_hand_finish(door: TestDoor) -> None:
    sock = dial(door)
    sock.sendall(b"POST /change HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert sock.recv(1000).startswith(b"HTTP/1.1 100 "), "the request is in hand"
    sock.sendall(b"ab")
    closing = threading.Thread(target=door.door.close)
    closing.start()
    sock.sendall(b"c")
    assert b'"bytes":3' in said(sock)
    closing.join()
    with pytest.raises(OSError, match=r"."):
        door.ask()
