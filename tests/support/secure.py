"""A secure stack, and those who should not get in: without a certificate, with a stranger's, with an expired one."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import psutil

from finance.workshop.devstack import Stack
from finance.workshop.devstack.authority import Authority, Pair

# A first word of each protocol that listens: HTTP, Postgres' request for TLS and for a session, Kafka's ApiVersions.
PLAIN = {
    "http": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "postgres": b"\x00\x00\x00\x28\x00\x03\x00\x00user\x00postgres\x00database\x00finance\x00\x00",
    "kafka": b"\x00\x00\x00\x13\x00\x12\x00\x00\x00\x00\x00\x01\x00\x09stranger\x00",
    "grpc": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
}
POSTGRES_TLS = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


@dataclass(frozen=True, slots=True)
class Strangers:
    """Folders shaped like FINANCE_TLS_DIR, in each of which one thing is wrong."""

    expired: Path
    other_authority: Path

    @staticmethod
    def make(stack: Stack, folder: Path, names: tuple[str, ...]) -> Strangers:
        now = dt.datetime.now(dt.UTC)
        trusted = Authority(stack.place.tls)
        expired, others = folder / "expired", Authority(folder / "others" / "tls")
        others.ensure(now)
        for name in names:
            pair = Pair(expired / name / "tls.crt", expired / name / "tls.key")
            trusted.issue(pair, name, now - dt.timedelta(days=9), now - dt.timedelta(hours=1))
        (expired / "ca.crt").write_bytes(trusted.certificate.read_bytes())
        others.certificate.write_bytes(trusted.certificate.read_bytes())  # so that it is the server who says no
        return Strangers(expired, others.folder)


def listening(stack: Stack) -> dict[int, str]:
    """Every TCP port on which a process of the stack listens -> its service."""
    ports = {}
    for status in stack.status():
        process = psutil.Process(status.pid)
        for member in [process, *process.children(recursive=True)]:
            for connection in member.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    ports[connection.laddr.port] = status.service
    return ports


def plain_answer(port: int, first: bytes) -> bytes:
    """What a port says to a client that speaks without TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        connection.settimeout(3)
        connection.sendall(first)
        with contextlib.suppress(OSError):
            return connection.recv(300)
    return b""


def tls_answer(port: int, service: str, ca: Path) -> str:
    """What a TLS client without a certificate gets: the error's name, or `answered ...`."""
    context = ssl.create_default_context(cafile=str(ca))
    first = {"kafka": PLAIN["kafka"], "postgres": PLAIN["postgres"]}.get(service, PLAIN["http"])
    raw = socket.create_connection(("127.0.0.1", port), timeout=300)
    try:
        raw.settimeout(5)
        if service == "postgres":
            raw.sendall(POSTGRES_TLS)
            if raw.recv(1) != b"S":
                return "no TLS"
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as connection:
            connection.sendall(first)
            said = connection.recv(300)  # with TLS 1.3 the server looks at the certificate after our handshake
            return f"answered {said!r}" if said else "closed"
    except (ssl.SSLError, OSError) as error:
        return f"{type(error).__name__}: {getattr(error, 'reason', None) or error}"
    finally:
        raw.close()


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
