"""A server that takes connections and never says a word: for deadlines of clients, and for how often they try."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def silent_server() -> Iterator[socket.socket]:
    """It listens on a port of 127.0.0.1; the kernel completes connections, nobody reads from them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def connections(server: socket.socket) -> int:
    """How many clients have connected since it was asked last."""
    server.setblocking(False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count
