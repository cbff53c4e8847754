"""A key in the transit engine of OpenBao or Vault. The private key never leaves it.

Guarantees: RSA signs the digest as it is (`prehashed`, `pkcs1v15`: left alone, the engine would sign with PSS); Ed25519
is pure Ed25519 over the bytes given. One version of the key is pinned, since each version is another key with another
kid: rotating the engine's key changes nothing here before the new version is registered and configured. Each call is
tried once within a deadline; the failure says whether waiting helps.
Does not: verify (see verified_signer), retry, or renew its token. Policy: read on keys/<name>, update on sign/<name>/*.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from ledger_core.errors import Refused, Unavailable
from ledger_core.ports import Algorithm
from ledger_core.signing.signatures import PublicKey, to_sign
from producers.signing.https_exchange import HttpsExchange

_KEY_TYPES: Final = {"ed25519": "ed25519", "rsa-2048": "rsa-sha256", "rsa-3072": "rsa-sha256", "rsa-4096": "rsa-sha256"}
_SIGNATURE: Final = re.compile(r"vault:v([0-9]+):([A-Za-z0-9+/]+=*)")


class _Version(msgspec.Struct):
    public_key: str = ""


class _KeyData(msgspec.Struct):
    type: str
    latest_version: int
    keys: dict[str, _Version]


class _KeyAnswer(msgspec.Struct):
    data: _KeyData


class _Signed(msgspec.Struct):
    signature: str


class _SignAnswer(msgspec.Struct):
    data: _Signed


AnswerT = TypeVar("AnswerT", _KeyAnswer, _SignAnswer)


class TransitKey:
    """A KeyService on version `key_version` of one transit key; None means the newest at the first question."""

    def __init__(
        self,
        exchange: HttpsExchange,
        key_name: str,
        algorithm: Algorithm,
        *,
        token: str,
        key_version: int | None = None,
        mount: str = "transit",
    ) -> None:
        self._exchange = exchange
        self._key_name, self._algorithm, self._mount = key_name, algorithm, mount
        self._version = key_version
        self._headers = {"X-Vault-Token": token, "Content-Type": "application/json"}

    @property
    def name(self) -> str:
        version = "" if self._version is None else f" v{self._version}"
        return f"transit key {self._mount}/{self._key_name}{version}"

    @property
    def algorithm(self) -> Algorithm:
        return self._algorithm

    @property
    def claimed_kid(self) -> None:
        return None

    def public_key(self) -> PublicKey:
        """The pinned version's public key, checked for the wanted algorithm. Raises Refused on another key or none, and
        Unavailable.
        """
        data = self._ask("GET", f"keys/{quote(self._key_name, safe='')}", None, _KeyAnswer).data
        if _KEY_TYPES.get(data.type) != self._algorithm:
            raise Refused(
                f"{self.name} is of type {data.type}, not for {self._algorithm}",
                remedy="set AUDIT_SIGNING_ALG and the key name to what belongs together",
            )
        self._version = self._version or data.latest_version
        version = data.keys.get(str(self._version))
        if version is None:
            known = ", ".join(sorted(data.keys, key=int))
            raise Refused(f"{self.name} does not exist", remedy=f"pin a version that does: {known}")
        try:
            return PublicKey.parse(version.public_key)
        except ValueError as error:
            raise Refused(f"{self.name}: {error}", remedy="use an RSA (2048 bits or more) or Ed25519 key") from error

    def sign_digest(self, digest: bytes) -> bytes:
        return self._sign(digest)

    def sign_text(self, text: bytes) -> bytes:
        """Ed25519 signs the text itself, RSA its SHA-256."""
        return self._sign(to_sign(self._algorithm, text))

    def close(self) -> None:
        self._exchange.close()

    def _sign(self, message: bytes) -> bytes:
        if self._version is None:
            self.public_key()
        request: dict[str, object] = {"input": base64.b64encode(message).decode(), "key_version": self._version}
        if self._algorithm == "rsa-sha256":
            request |= {"prehashed": True, "hash_algorithm": "sha2-256", "signature_algorithm": "pkcs1v15"}
        path = f"sign/{quote(self._key_name, safe='')}"
        text = self._ask("POST", path, msgspec.json.encode(request), _SignAnswer).data.signature
        match = _SIGNATURE.fullmatch(text)
        if match is None or int(match[1]) != self._version:
            raise Refused(
                f"{self.name} answered a signature of another form or version: {text[:40]!r}",
                remedy="pin the version that is registered, and check which server answers at that address",
            )
        try:
            return base64.b64decode(match[2], validate=True)
        except binascii.Error as error:
            raise Refused(
                f"{self.name}: the signature is not base64", remedy="check which server answers at that address"
            ) from error

    def _ask(self, method: str, path: str, body: bytes | None, kind: type[AnswerT]) -> AnswerT:
        status, answer = self._exchange.ask(self.name, method, f"/v1/{self._mount}/{path}", body, self._headers)
        if status != 200:
            raise self._failure(status, answer)
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.DecodeError as error:
            raise Refused(
                f"{self.name}: an answer of another form ({error})", remedy="check which server answers at that address"
            ) from error

    def _failure(self, status: int, answer: bytes) -> Unavailable | Refused:
        detail = f"{self.name}: HTTP {status} {' '.join(answer.decode(errors='replace').split())[:200]}"
        if status in (412, 429, 472, 473) or status >= 500:  # standby not caught up, throttled, sealed, broken
            return Unavailable("signer", detail)
        remedies = {
            400: "check the key's type and version",
            403: "give a valid token whose policy has read on keys/<name> and update on sign/<name>",
            404: "name a key that exists, and the engine's mount",
        }
        return Refused(detail, remedy=remedies.get(status, "read the server's answer; nothing was signed"))
