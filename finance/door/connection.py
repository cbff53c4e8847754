"""One connection of the door: bytes in, bytes out, each within its deadline.

Guarantees: h11 reads the requests (RFC 9112, strictly: one spelling of where a request ends, so nothing is smuggled);
head, body and answer each have a bound in bytes and a deadline that one byte a second does not move; a body is read
only once its caller was admitted, and never past `body_bytes_max`. Who is too slow for an answer is reset at its
deadline: no courtesy delays that, and the kernel keeps nothing for it. An answer is sent once the kernel has all of it.
Does not: decide anything.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import h11

from finance.door.problem import Answer, Problem
from schemas.authority.door import DoorLimits

READ_BYTES: Final = 65_536
WRITE_BYTES: Final = 65_536  # at once: TLS waits for all of it
LINGER_SECONDS: Final = 1.0
LINGER_BYTES_MAX: Final = 1_048_576
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER for no time: close() resets, and drops what was not taken


class Gone(Exception):
    """The other side has left, or is too slow for another word."""


class Connection:
    """HTTP/1.1 on one socket, TLS or not; the socket belongs to it."""

    def __init__(
        self, sock: socket.socket, limits: DoorLimits, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._sock = sock
        self._limits = limits
        self._monotonic = monotonic
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes_max)
        self._deadline = 0.0
        self._gone = False  # a word to it has failed: nothing more is owed to it

    def read_head(self, *, first: bool) -> h11.Request | None:
        """The next request's head; None when there is no other. Raises Problem, Gone."""
        begun = first or bool(self._http.trailing_data[0])
        seconds = self._limits.request_seconds_max if begun else self._limits.idle_seconds_max
        self._deadline = self._monotonic() + seconds
        while True:
            event = self._next_event()
            if isinstance(event, h11.Request):
                size = len(event.target) + sum(len(name) + len(value) for name, value in event.headers)
                if size > self._limits.header_bytes_max:  # h11 bounds only what came in parts
                    raise Problem(431, "HEADERS_TOO_LARGE", f"a head of {size} bytes")
                return event
            if event is not h11.NEED_DATA:
                return None
            try:
                data = self._receive()
            except TimeoutError:
                if not begun or not self._http.trailing_data[0]:
                    return None  # it had nothing to ask
                raise self._too_slow() from None
            if not begun:
                begun = True
                self._deadline = self._monotonic() + self._limits.request_seconds_max
            self._feed(data)

    def read_body(self, head: h11.Request) -> bytes:
        """The whole body. Raises Problem (408, 413), Gone."""
        bytes_max = self._limits.body_bytes_max
        declared = next((value for name, value in head.headers if name == b"content-length"), b"0")
        if int(declared) > bytes_max:
            raise _too_large(bytes_max)
        if self._http.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[]))
        parts: list[bytes] = []
        size = 0
        while True:
            event = self._next_event()
            if isinstance(event, h11.Data):
                size += len(event.data)
                if size > bytes_max:
                    raise _too_large(bytes_max)
                parts.append(bytes(event.data))
            elif event is h11.NEED_DATA:
                try:
                    data = self._receive()
                except TimeoutError:
                    raise self._too_slow() from None
                if not data:
                    raise Gone
                self._feed(data)
            else:
                return b"".join(parts)

    def answer(self, answer: Answer, *, close: bool) -> bool:
        """Send it; whether another request may follow. Raises Gone."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return False
        close = close or self._http.their_state not in (h11.DONE, h11.MUST_CLOSE)
        headers = {
            "Date": formatdate(usegmt=True),
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            **answer.headers,
            **({"Connection": "close"} if close else {}),
        }
        self._deadline = self._monotonic() + self._limits.answer_seconds_max
        response = h11.Response(
            status_code=answer.status, headers=list(headers.items()), reason=HTTPStatus(answer.status).phrase
        )
        self._send(response, h11.Data(data=answer.body), h11.EndOfMessage())
        if set(self._http.states.values()) == {h11.DONE}:
            self._http.start_next_cycle()
            return True
        return False

    def close(self) -> None:
        """Let the other side read the last answer before the socket goes: what lies unread would reset it."""
        if self._gone:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        else:
            self._linger()
        with contextlib.suppress(OSError):
            self._sock.close()

    def _linger(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            deadline, left = self._monotonic() + LINGER_SECONDS, LINGER_BYTES_MAX
            while left > 0 and (seconds := deadline - self._monotonic()) > 0:
                self._sock.settimeout(seconds)
                data = self._sock.recv(READ_BYTES)
                if not data:
                    break
                left -= len(data)

    def _next_event(self) -> object:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            code = "HEADERS_TOO_LARGE" if error.error_status_hint == 431 else "BAD_HTTP"
            raise Problem(error.error_status_hint, code, f"this is not a readable HTTP request: {error}") from None

    def _feed(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise Gone from error

    def _receive(self) -> bytes:
        self._sock.settimeout(self._seconds_left())
        try:
            return self._sock.recv(READ_BYTES)
        except TimeoutError:
            raise
        except OSError as error:
            raise Gone from error

    def _seconds_left(self) -> float:
        seconds = self._deadline - self._monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def _send(self, *events: h11.Event) -> None:
        try:
            data = memoryview(b"".join(self._http.send(event) or b"" for event in events))
            while data:  # not sendall: that one deadline counts for the whole must not depend on the kind of socket
                self._sock.settimeout(self._seconds_left())
                data = data[self._sock.send(data[:WRITE_BYTES]) :]
        except (OSError, h11.LocalProtocolError) as error:
            self._gone = True
            raise Gone from error

    def _too_slow(self) -> Problem:
        return Problem(
            408,
            "TOO_SLOW",
            f"the request was not whole after {self._limits.request_seconds_max:g} s",
            remedy="send it at once (request_seconds_max in door.yaml)",
        )


def _too_large(bytes_max: int) -> Problem:
    return Problem(
        413, "BODY_TOO_LARGE", f"the body has more than {bytes_max} bytes", remedy="send less (body_bytes_max)"
    )
