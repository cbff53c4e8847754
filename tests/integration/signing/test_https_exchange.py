"""One question to a server that is slow or breaks off: within the deadline there is a whole answer, or none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ledger_core.errors import Unavailable
from producers.signing.https_exchange import HttpsExchange
from tests.support.waits import PATIENCE_SECONDS

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads one request of each connection, and answers as it likes."""

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                sock.recv(65_536)
                answer(sock)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "the client let go of its connection"


def trickle(data: bytes) -> Callable[[socket.socket], None]:
    """A byte now and then, until the client has gone: each well within the time-out of a socket."""

    def answer(sock: socket.socket) -> None:
        gone = threading.Event()
        try:
            for byte in data:
                sock.sendall(bytes([byte]))
                gone.wait(0.1)
        except OSError:
            return

    return answer


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 90, HEAD + b"x" * 1000], ids=["head", "body"])
def test_an_answer_that_trickles_is_cut_off_at_the_deadline(data: bytes) -> None:
    with serving(trickle(data)) as url:
        exchange = HttpsExchange(url, timeout_seconds=0.5)
        with pytest.raises(Unavailable, match=r"no whole answer within 0\.5 s"):
            exchange.ask("it", "GET", "/", None, {})
        exchange.close()


def test_an_answer_that_breaks_off_is_none() -> None:
    with serving(lambda sock: sock.sendall(HEAD + b"half")) as url:
        exchange = HttpsExchange(url)
        with pytest.raises(Unavailable, match="IncompleteRead"):
            exchange.ask("it", "GET", "/", None, {})
        exchange.close()
