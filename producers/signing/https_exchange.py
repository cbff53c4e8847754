"""One question and its answer over HTTPS, on a connection that is kept: for the key services that speak HTTP.

Guarantees: an answer comes whole within the deadline, or Unavailable; an answer longer than the limit, a certificate
that the given CA did not issue, and a server that does not take our client certificate are Refused. Certificate
files are read again at each new connection, so that renewed ones need no restart. When a kept connection turns out to
be gone, the question is asked once more on a new one: so only send what may arrive twice (a signature may).
Does not: follow redirects, use proxies of the environment, or understand what it carries.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from ledger_core.errors import Refused, Unavailable

TIMEOUT_SECONDS: Final = 5.0
ANSWER_BYTES_MAX: Final = 1_000_000


class HttpsExchange:
    """A server at `url`. `ca_file` None: the system's authorities; `client_pair`: certificate and key files of ours.
    Raises Refused when `url` is not a URL of a server.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: str | None = None,
        client_pair: tuple[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise Refused(f"{url!r} is not a URL of a key service", remedy="give https://host:port")
        self._host, self._port, self._tls = parts.hostname, parts.port, parts.scheme == "https"
        self._base = parts.path.rstrip("/")
        self._ca_file, self._client_pair = ca_file, client_pair
        self._timeout_seconds = timeout_seconds
        self._kept: http.client.HTTPConnection | None = None

    def ask(
        self, name: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Status and body; `name` is who is asked, for messages. Raises Unavailable("signer"), Refused."""
        kept, self._kept = self._kept, None
        if kept is not None:
            try:
                return self._exchange(kept, method, path, body, headers)
            except (ConnectionError, http.client.HTTPException, ssl.SSLError):
                kept.close()  # it ended while idle
            except OSError as error:
                kept.close()
                raise Unavailable("signer", f"{name}: {error or type(error).__name__}") from error
        fresh = self._connection(name)
        try:
            return self._exchange(fresh, method, path, body, headers)
        except ssl.SSLCertVerificationError as error:
            fresh.close()
            raise Refused(
                f"{name}: its certificate is not accepted ({error.verify_message})",
                remedy="give the CA of the server's certificate, and the name that the certificate has",
            ) from error
        except ssl.SSLError as error:
            fresh.close()
            if "ALERT" not in (error.reason or ""):
                raise Unavailable("signer", f"{name}: {error.reason or error}{self._hint()}") from error
            raise Refused(
                f"{name} does not accept our side of TLS ({error.reason})",
                remedy="give a client certificate, with its key, that is valid and that the server trusts",
            ) from error
        except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as error:
            fresh.close()
            raise Unavailable("signer", f"{name}: {error or type(error).__name__}{self._hint()}") from error
        except (OSError, http.client.HTTPException) as error:
            fresh.close()
            raise Unavailable("signer", f"{name}: {error or type(error).__name__}") from error

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> tuple[int, bytes]:
        late = threading.Event()

        def cut() -> None:
            late.set()
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

        timer = threading.Timer(self._timeout_seconds, cut)  # the socket's own time-out begins anew with each byte
        timer.daemon = True
        timer.start()
        try:
            connection.request(method, self._base + path, body, dict(headers))
            response = connection.getresponse()
            answer = response.read(ANSWER_BYTES_MAX + 1)
            if response.length and len(answer) <= ANSWER_BYTES_MAX:
                raise http.client.IncompleteRead(b"", response.length)
        except (OSError, http.client.HTTPException) as error:
            if late.is_set():
                raise TimeoutError(f"no whole answer within {self._timeout_seconds:g} s") from error
            raise
        finally:
            timer.cancel()
        if len(answer) > ANSWER_BYTES_MAX:
            connection.close()
            raise Refused(
                f"{self._host} answered with more than {ANSWER_BYTES_MAX} bytes",
                remedy="check which server answers at that address",
            )
        if not response.will_close:
            self._kept = connection
        return response.status, answer

    def _hint(self) -> str:
        """TLS 1.3 refuses a client when that has spoken already, and the reason may be lost with the connection."""
        return " (if that stays so: does it accept our client certificate?)" if self._tls else ""

    def _connection(self, name: str) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_seconds)
        try:
            context = ssl.create_default_context(cafile=self._ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._client_pair is not None:
                context.load_cert_chain(*self._client_pair)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise Refused(
                f"{name}: the certificate files cannot be used ({error})",
                remedy=f"check the files {', '.join(filter(None, (self._ca_file, *(self._client_pair or ()))))}",
            ) from error
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_seconds, context=context)
