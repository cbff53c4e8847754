"""A signing proxy over real HTTPS, as proxies in the field are: it reads one spelling or all, and may lie."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from producers.signing.local import LocalKey
from tests.support.throwaway_ca import Files

API_KEY = "the-api-key-of-a-test"
Lie = Callable[[LocalKey, bytes], bytes]


@dataclass
class SigningProxy:
    """What it holds and how it behaves; fields may be changed while it runs."""

    key: LocalKey
    kid: str = "proxy-v1"
    reads: str = "payload_b64"  # or hash, digest_hex: the one spelling of a digest that it knows
    answers: tuple[str, str] = ("signature_b64", "signer_kid")
    api_key: str | None = API_KEY
    shows_key: bool = True
    signs_notes: bool = True
    status: int | None = None  # answer everything with this
    shown_pem: str | None = None  # instead of its own key
    alg: str | None = None  # instead of its own algorithm
    body: bytes | None = None  # instead of the answer to /sign
    lie: Lie | None = None
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    def hang_up(self) -> None:
        """End every connection, as a server does with idle ones."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def sign(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.requests.append(request)
        if request.get("kind") == "note":
            text = base64.b64decode(request["payload_b64"])
            if not self.signs_notes or len(text) == 32:
                return 400, {"error": "payload_b64 must hold 32 bytes"}
            signature = self.lie(self.key, text) if self.lie else self.key.sign_text(text)
        else:
            given = request[self.reads]
            digest = base64.b64decode(given) if self.reads == "payload_b64" else bytes.fromhex(given)
            signature = self.lie(self.key, digest) if self.lie else self.key.sign_digest(digest)
        signature_field, kid_field = self.answers
        answer = {signature_field: base64.b64encode(signature).decode(), kid_field: self.kid}
        return 200, {**answer, "alg": self.alg or self.key.algorithm, "ts": "2026-01-01T00:00:00Z"}

    def look(self, path: str) -> tuple[int, dict[str, Any]]:
        if path == "/health":
            return 200, {"ok": True, "signer_kid": self.kid}
        if path.partition("?")[0] == "/public-key" and self.shows_key:
            return 200, {"signer_kid": self.kid, "public_key_pem": self.shown_pem or self.key.public_key().pem}
        return 404, {"error": "not found"}


@contextmanager
def serving(proxy: SigningProxy, server: Files, *, client_ca: str | None = None) -> Iterator[SigningProxy]:
    """Serve it on a free port of 127.0.0.1; with `client_ca` only to clients whose certificate hangs on it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def setup(self) -> None:
            proxy.connections.append(self.request)
            super().setup()

        def do_GET(self) -> None:
            self._answer(proxy.look(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(proxy.sign(json.loads(body)))

        def _answer(self, outcome: tuple[int, dict[str, Any]]) -> None:
            status, answer = outcome
            if proxy.api_key is not None and self.headers["Authorization"] != f"Bearer {proxy.api_key}":
                status, answer = 401, {"error": "who are you"}
            data = proxy.body if proxy.body is not None and self.path == "/sign" else json.dumps(answer).encode()
            self.send_response(proxy.status or status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Tests look at `requests`."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that are refused, or go away, are what some tests are about."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    listener = Server(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    proxy.url = f"https://127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
