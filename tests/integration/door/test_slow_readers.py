"""Who reads an answer slowly holds a connection for `answer_seconds_max` and no longer, whatever it takes meanwhile.

The deadline is one for the whole answer. A reader that takes a little all the time is cut off like one that takes
nothing: each of its reads ends a wait of the socket, and must not begin another.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finance.door.connection import Connection, Gone
from finance.door.problem import Answer, Request, Route
from schemas.authority.door import DoorLimits
from tests.support.doors import TestDoor, door_yaml, open_test_door, tls_client
from tests.support.waits import until

ANSWER = b"a" * 64_000_000  # far above what the kernel keeps for a socket
READ_BYTES, PAUSE_SECONDS = 65_536, 0.02  # at least 19 s for all of it: many times the deadline of one second
ASK = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = "{answer_seconds_max: 1, connections_max: 2, caller_connections_max: 2, requests_per_second_max: 5000}"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[TestDoor]:
    def large(_: Request) -> Answer:
        return Answer(200, ANSWER)

    routes = {("GET", "/large"): Route(large, "look"), ("GET", "/look"): Route(lambda _: Answer.of({}), "look")}
    opened = open_test_door(tmp_path, door_yaml(limits=LIMITS), routes)
    yield opened
    opened.door.close()


def read_slowly(sock: socket.socket, pause_seconds: float = PAUSE_SECONDS) -> int:
    """How many bytes came until the other side closed."""
    size = 0
    with contextlib.suppress(OSError):
        while data := sock.recv(READ_BYTES):
            size += len(data)
            time.sleep(pause_seconds)
    sock.close()
    return size


def dialled(door: TestDoor) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", door.door.port), timeout=300)
    return tls_client(door.authority.path, door.client).wrap_socket(raw, server_hostname="localhost")


def test_a_slow_reader_of_a_large_answer_is_cut_off_and_gives_its_place_back(door: TestDoor) -> None:
    slow = [dialled(door) for _ in range(2)]  # all there are
    sizes: list[int] = []
    readers = [threading.Thread(target=lambda sock=sock: sizes.append(read_slowly(sock))) for sock in slow]
    for sock in slow:
        sock.sendall(ASK)
    for reader in readers:
        reader.start()

    def let_in() -> bool:
        with contextlib.suppress(OSError):
            return door.ask().status == 200
        return False

    until("another one is let in", let_in)
    for reader in readers:
        reader.join(timeout=300)
    assert len(sizes) == 2
    assert max(sizes) < len(ANSWER), "it was read to its end"


def steps(seconds: float) -> Callable[[], float]:
    """A clock that goes on by so much whenever it is asked."""
    return itertools.count(0.0, seconds).__next__


@pytest.mark.parametrize(
    ("pause_seconds", "clock"), [(PAUSE_SECONDS, time.monotonic), (0.0, steps(0.01))], ids=["slow", "fast, but late"]
)
def test_a_slow_reader_in_plaintext_is_cut_off_too(pause_seconds: float, clock: Callable[[], float]) -> None:
    """As at /metrics, which may be plaintext on a loopback address. `late`: each part goes at once, and time is up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=300)
        served, _ = listener.accept()
    connection = Connection(served, DoorLimits(answer_seconds_max=1), clock)
    client.sendall(ASK)
    assert connection.read_head(first=True) is not None
    sizes: list[int] = []
    reader = threading.Thread(target=lambda: sizes.append(read_slowly(client, pause_seconds)))
    reader.start()
    with pytest.raises(Gone):
        connection.answer(Answer(200, ANSWER), close=False)
    connection.close()
    reader.join(timeout=300)
    assert sizes
    assert sizes[0] < len(ANSWER)


def test_who_reads_nothing_at_all_leaves_nothing_behind(door: TestDoor) -> None:
    """What the kernel still keeps for it goes with the connection: else thousands of them would fill its memory."""
    mute = dialled(door)
    mute.sendall(ASK)
    until("it was cut off", lambda: cut_off(mute))
    mute.close()
    assert door.ask().status == 200


def cut_off(sock: socket.socket) -> bool:
    """Whether the other side has reset the connection; nothing is read, so its end is not seen behind what was sent."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
