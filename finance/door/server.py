"""The listener of a door: threads, routes, answers.

Guarantees: at most `connections_max` connections, each with a thread of its own, handshake included, so that no slow
one delays another; when all are taken, one that nobody knows yet makes room for the next (the oldest; of an address
that has more of them than one caller may, before those of others), so that who says nothing keeps nobody out, and a
known caller's connection is never cut for it; one caller has at most `caller_connections_max` of them, those that
the last answer still waits for to be read included; strangers
learn nothing but that they are strangers, not even which paths exist; a fault of a route is a 500 that says nothing,
with its traceback in the log; a revocation counts from the next request on, and a connection under older certificates
ends after it. `close` lets requests in hand finish.
Does not: authenticate (`gate.py` does), or make plaintext safe: `setup.py` says where that may be.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

import h11
import structlog

from finance.door import who
from finance.door.caller import Caller, PeerCertificate
from finance.door.connection import Connection, Gone
from finance.door.gate import LOOPBACK, Gate
from finance.door.problem import Answer, DoorMetrics, Problem, Request, Route
from finance.door.tls import Tls, TlsContexts
from ledger_core.errors import Refused, Unavailable

ACCEPT_SECONDS: Final = 0.5
CLOSE_SECONDS: Final = 5.0
ROOM_SECONDS: Final = 0.5  # for a connection that is shut to be gone
QUERY_FIELDS_MAX: Final = 16
Place = tuple[socket.socket, str]  # a connection, and the address that it comes from

log = structlog.get_logger("door")


class Door:
    """Serves `routes`, (method, path) -> Route, until closed. `port` 0 takes a free one: read it from `.port`.

    `contexts` None: plaintext. Raises OSError when the address cannot be had.
    """

    def __init__(
        self,
        routes: Mapping[tuple[str, str], Route],
        gate: Gate,
        contexts: TlsContexts | None,
        *,
        host: str,
        port: int,
        metrics: DoorMetrics,
    ) -> None:
        self._routes, self._gate, self._contexts, self._metrics = routes, gate, contexts, metrics
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._listener = socket.create_server((host, port), family=family, backlog=128)
        self._listener.settimeout(ACCEPT_SECONDS)
        self.port: int = self._listener.getsockname()[1]
        self.tls = contexts is not None
        self._room = threading.BoundedSemaphore(gate.limits.connections_max)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._idle: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._unknown: dict[threading.Thread, Place] = {}  # nobody's: never admitted, or one too many; oldest first
        self._known: dict[threading.Thread, tuple[str, Place]] = {}  # whose it is, once somebody was admitted on it
        self._acceptor = threading.Thread(target=self._accept, name="door", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Take no more, let what is in hand finish within CLOSE_SECONDS."""
        self._closing.set()
        _shut(self._listener)
        self._acceptor.join()
        with self._lock:
            threads, idle = list(self._threads), list(self._idle)
        for sock in idle:
            _shut(sock)
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, address = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if not self._closing.is_set():
                    log.error("door.accept_failed", detail=str(error))
                    self._closing.wait(0.1)
                continue
            if not self._room.acquire(blocking=False) and not self._make_room():
                self._turned_away("TOO_MANY_CONNECTIONS", address[0], "connections_max of door.yaml")
                sock.close()
                continue
            thread = threading.Thread(target=self._serve, args=(sock, address[0]), name="door-caller", daemon=True)
            with self._lock:
                self._threads.add(thread)
                self._unknown[thread] = sock, address[0]
            thread.start()

    def _make_room(self) -> bool:
        """Let one go that nobody knows yet. False: all are known callers'."""
        with self._lock:
            held = Counter(address for _, address in self._unknown.values())
            # An address is a crowd beyond a caller's share: else many strangers would make one of a caller's address.
            crowd = max(held.values(), default=0)
            least = crowd if crowd > self._gate.limits.connections_of_a_caller else 0
            oldest = next((thread for thread, (_, address) in self._unknown.items() if held[address] >= least), None)
            if oldest is None:
                return False
            sock, address = self._unknown.pop(oldest)
        self._turned_away("TOO_MANY_CONNECTIONS", address, "not known yet, and others wait")
        _shut(sock)
        return self._room.acquire(timeout=ROOM_SECONDS)

    def _serve(self, raw: socket.socket, address: str) -> None:
        try:
            tls = None if self._contexts is None else self._contexts.current()
            sock = raw if tls is None else self._handshake(raw, tls.context, address)
            if sock is not None:
                self._converse(sock, tls, address)
        except Exception:
            log.exception("door.fault", address=address)
        finally:
            raw.close()
            self._room.release()
            with self._lock:
                self._threads.discard(threading.current_thread())
                self._unknown.pop(threading.current_thread(), None)
                self._known.pop(threading.current_thread(), None)

    def _handshake(self, raw: socket.socket, context: ssl.SSLContext, address: str) -> ssl.SSLSocket | None:
        """TLS, in the caller's own thread and time."""
        raw.settimeout(self._gate.limits.handshake_seconds_max)
        try:
            sock = context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
            with self._lock:
                if threading.current_thread() not in self._unknown:
                    sock.close()  # it was to make room, before there was this socket to shut
                    return None
                self._unknown[threading.current_thread()] = sock, address  # `raw` is an empty shell from here on
            sock.do_handshake()
            return sock
        except (OSError, ValueError) as error:
            reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
            self._turned_away("HANDSHAKE", address, str(reason))
            return None

    def _converse(self, sock: socket.socket, tls: Tls | None, address: str) -> None:
        connection = Connection(sock, self._gate.limits)
        try:
            certificate = _certificate(sock)
            first = True
            while not self._closing.is_set():
                self._mark_idle(sock, True)
                try:
                    head = connection.read_head(first=first)
                    self._mark_idle(sock, False)
                except Problem as problem:
                    self._turned_away(problem.code, address, problem.message)
                    self._metrics.door_answered(problem.status)
                    connection.answer(problem.answer(), close=True)
                    return
                if head is None:
                    return
                answer = self._answer(connection, head, certificate, address)
                stale = self._contexts is not None and self._contexts.current() is not tls
                self._metrics.door_answered(answer.status)
                if not connection.answer(answer, close=stale or self._closing.is_set()):
                    return
                first = False
        except Gone:
            return
        finally:
            self._mark_idle(sock, False)
            connection.close()

    def _answer(
        self, connection: Connection, head: h11.Request, certificate: PeerCertificate | None, address: str
    ) -> Answer:
        """One request: admitted, routed, allowed, read, done; in this order. Raises Gone."""
        caller = None
        method, target = head.method.decode("ascii"), head.target.decode("ascii", "replace")
        path, _, query = target.partition("?")
        try:
            if certificate is not None and self._contexts is not None and self._contexts.current().revoked(certificate):
                raise who.unknown("the client certificate is revoked", code="CERTIFICATE_REVOKED")
            caller = self._gate.admit(certificate, _authorization(head), address)
            self._take_share(caller)
            route = self._route(method, path)
            self._gate.check(caller, route.scope, changes=route.changes)
            fields = dict(parse_qsl(query, max_num_fields=QUERY_FIELDS_MAX))
            body = connection.read_body(head)
        except Problem as problem:
            self._turned_away(problem.code, address, problem.message, caller=caller.name if caller else None)
            return problem.answer()
        except ValueError:
            return Problem(400, "BAD_QUERY", "the query cannot be read").answer()
        return _done(route.handler, Request(method, path, fields, body, caller))

    def _take_share(self, caller: Caller) -> None:
        """This connection is that caller's. Raises Problem when it has too many: this one ends with the answer."""
        connections_max, thread = self._gate.limits.connections_of_a_caller, threading.current_thread()
        with self._lock:
            _, place = self._known.pop(thread, ("", self._unknown.get(thread)))
            if place is None:
                return  # it was shut to make room: nobody hears the answer
            held = sum(name == caller.name for name, _ in self._known.values())
            if held < connections_max or caller.by == LOOPBACK:  # where there is no door.yaml, that is everybody
                self._unknown.pop(thread, None)
                self._known[thread] = caller.name, place
                return
            self._unknown[thread] = place  # nobody's until it is gone, however slowly: it makes room for others
        raise Problem(
            429,
            "TOO_MANY_CONNECTIONS",
            f"this caller has {connections_max} connections already",
            remedy="use those, or close some (caller_connections_max in door.yaml)",
            headers={"Connection": "close", "Retry-After": "1"},
        )

    def _route(self, method: str, path: str) -> Route:
        route = self._routes.get((method, path))
        if route is not None:
            return route
        others = sorted(other for other, known in self._routes if known == path)
        if others:
            raise Problem(405, "METHOD_NOT_ALLOWED", f"{path} takes no {method}", headers={"Allow": ", ".join(others)})
        known = ", ".join(sorted({path for _, path in self._routes}))
        raise Problem(404, "NOT_FOUND", f"only {known} are here")

    def _mark_idle(self, sock: socket.socket, idle: bool) -> None:
        with self._lock:
            (self._idle.add if idle else self._idle.discard)(sock)
        if idle and self._closing.is_set():
            _shut(sock)

    def _turned_away(self, code: str, address: str, detail: str, caller: str | None = None) -> None:
        self._metrics.door_turned_away(code)
        level = log.debug if code == "TOO_MANY_REQUESTS" else log.warning  # a flood is a number, not a log
        level("door.turned_away", code=code, address=address, caller=caller, detail=detail)


def _done(handler: Callable[[Request], Answer], request: Request) -> Answer:
    try:
        return handler(request)
    except Problem as problem:
        return problem.answer()
    except Unavailable as error:
        message = f"{error.what} does not answer now"
        return Problem(503, "UNAVAILABLE", message, headers={"Retry-After": "5"}).answer()
    except Refused as error:
        return Problem(403, "REFUSED", error.message, remedy=error.remedy).answer()
    except Exception:
        log.exception("door.fault", path=request.path, caller=request.caller.name)
        return Problem(500, "FAULT", "a fault of this service; its log says more").answer()


def _authorization(head: h11.Request) -> str | None:
    """Raises Problem when there are two."""
    found = [value for name, value in head.headers if name == b"authorization"]
    if len(found) > 1:
        raise Problem(400, "BAD_HTTP", "there are two Authorization headers")
    return found[0].decode("latin-1") if found else None


def _certificate(sock: socket.socket) -> PeerCertificate | None:
    """What the other side has shown, and TLS has checked. Raises ValueError when it cannot be read."""
    der = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
    return None if der is None else PeerCertificate.from_der(der)


def _shut(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(
            sock, socket.SHUT_RDWR
        )  # of an SSLSocket, too: its own would pull it from under a reader
    except OSError:
        return
