"""A key behind a signing proxy: a small service that holds (or reaches) the key and signs digests it is sent.

The wire (docs/SIGNING.md): `POST /sign` with the digest in every spelling that proxies in the field read, and answers
in every spelling that they give; `GET /public-key` where there is one, else the kid of `GET /health` names the key of
the registry. A note is signed by Ed25519 as its own text, which no digest can stand for: it is sent whole, as
`payload_b64` with `"kind": "note"`. RSA signs its SHA-256, a digest like any other.
A proxy that is a witness (it says so with its key, or by its first 409) gets with a checkpoint the size it signed last
and the proof that the two are one history; where it names another size than expected, it is asked once more.
Guarantees: an answer under another kid, algorithm or form than expected is Refused; what a witness refuses is
SignerRefused (WITNESS). Does not: verify (see verified_signer), retry otherwise, or follow redirects.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Final, TypeVar
from urllib.parse import quote

import msgspec

from ledger_core.errors import Refused, SignerFailure, SignerRefused, Unavailable
from ledger_core.ports import Algorithm, TreeHistory
from ledger_core.signing.mac_keys import MAC_ALGORITHM, MacKey
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import PublicKey
from producers.signing.https_exchange import HttpsExchange


class _Named(msgspec.Struct):
    """The four spellings of a kid."""

    signer_kid: str | None = None
    signer_id: str | None = None
    signerId: str | None = None  # noqa: N815  as proxies in the field spell it
    kid: str | None = None

    def kids(self) -> set[str]:
        return {kid for kid in (self.signer_kid, self.signer_id, self.signerId, self.kid) if kid}


class _Key(_Named):
    public_key_pem: str = ""
    public_key: str = ""
    witness: bool = False


class _Signed(_Named):
    signature_b64: str | None = None
    signature: str | None = None
    alg: str | None = None


class _Witness(msgspec.Struct):
    """What a witness says when it does not sign."""

    code: str = ""
    message: str = ""
    known_size: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,19}$")] | None = None


AnswerT = TypeVar("AnswerT", _Named, _Key, _Signed)
Note = dict[str, str | list[str]]
WITNESS_CODES: Final = ("OLD_SIZE", "LOG_SHRANK", "LOG_FORKED", "LOG_INCONSISTENT", "NO_CHECKPOINT")
ASK_AGAIN: Final = ("OLD_SIZE", "LOG_SHRANK")  # it knows another size than the one before ours
_LOOK: Final = "check which server answers at SIGNING_PROXY_URL; nothing was signed"


class ProxyKey:
    """A KeyService on a signing proxy, on its key `kid`; None: on the one key that it has.

    `registry` gives the key of a proxy that names it and does not show it.
    """

    def __init__(
        self,
        exchange: HttpsExchange,
        algorithm: Algorithm,
        registry: SignerRegistry,
        *,
        api_key: str | None,
        kid: str | None = None,
    ) -> None:
        self._exchange = exchange
        self._algorithm = algorithm
        self._registry = registry
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._kid = kid
        self._witness = False

    @property
    def name(self) -> str:
        return "the signing proxy"

    @property
    def algorithm(self) -> Algorithm:
        return self._algorithm

    @property
    def claimed_kid(self) -> str | None:
        return self._kid

    def public_key(self) -> PublicKey | MacKey:
        """What the proxy shows under `/public-key`; without that, the registered key of the kid it has. Raises
        SignerRefused on a key of another algorithm; Refused, Unavailable.
        """
        wanted = "" if self._kid is None else f"?kid={quote(self._kid, safe='')}"
        status, answer = self._ask("GET", f"/public-key{wanted}", None)
        shown = self._read(answer, _Key) if status == 200 else None
        if shown is None:
            if status not in (404, 405):
                raise self._failure(status, answer)
            status, answer = self._ask("GET", "/health", None)
            if status != 200:
                raise self._failure(status, answer)
        named = shown or self._read(answer, _Named)
        self._kid = self._one_kid(named)
        self._witness = self._witness or (shown is not None and shown.witness)
        has_none = shown is None or self._algorithm == MAC_ALGORITHM  # a MAC key has no public key to be shown
        key = self._registered_key(self._kid) if shown is None or has_none else self._shown_key(shown)
        if key.algorithm != self._algorithm:
            raise SignerRefused(
                SignerFailure.WRONG_KEY,
                f"{self.name} has a key for {key.algorithm}, not {self._algorithm}",
                remedy="set AUDIT_SIGNING_ALG and SIGNING_PROXY_URL to what belongs together",
            )
        return key

    def sign_digest(self, digest: bytes) -> bytes:
        spelled: Note = {
            "payload_b64": base64.b64encode(digest).decode(),
            "hash": digest.hex(),
            "digest_hex": digest.hex(),
        }
        return self._signature(*self._post({**spelled, "kind": "digest"}))

    def sign_text(self, text: bytes) -> bytes:
        """Ed25519 signs the text itself, RSA its SHA-256."""
        if self._algorithm == "rsa-sha256":
            return self.sign_digest(hashlib.sha256(text).digest())
        return self._signature(*self._post(_note(text)), note=True)

    def sign_checkpoint(self, text: bytes, history: TreeHistory) -> bytes:
        """As `sign_text`; to a witness with the proof that it wants. Raises SignerRefused when the witness refuses the
        checkpoint.
        """
        if self._algorithm == "rsa-sha256":
            return self.sign_text(text)
        told = _continuing(text, history, history.old_size) if self._witness else _note(text)
        status, answer = self._post(told)
        said = self._refusal(status, answer)
        if said is not None and said.code in ASK_AGAIN and said.known_size is not None:
            self._witness = True
            status, answer = self._post(_continuing(text, history, int(said.known_size)))
            said = self._refusal(status, answer)
        if said is not None and said.code in WITNESS_CODES:
            raise SignerRefused(
                SignerFailure.WITNESS,
                f"{self.name} is a witness and does not sign this checkpoint: {said.code}, {said.message}",
                remedy="find out which history is the true one, RUNBOOK section 13 A; nothing was signed",
            )
        return self._signature(status, answer, note=True)

    def close(self) -> None:
        self._exchange.close()

    def _post(self, request: Note) -> tuple[int, bytes]:
        named = {} if self._kid is None else {"signer_kid": self._kid}
        return self._ask("POST", "/sign", msgspec.json.encode({**request, **named, "alg": self._algorithm}))

    def _refusal(self, status: int, answer: bytes) -> _Witness | None:
        """What was answered, where that may be the word of a witness."""
        if status not in (409, 422):
            return None
        try:
            return msgspec.json.decode(answer, type=_Witness)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _signature(self, status: int, answer: bytes, *, note: bool = False) -> bytes:
        if status != 200:
            raise self._failure(status, answer, note=note)
        signed = self._read(answer, _Signed)
        kid = self._one_kid(signed)
        if self._kid is not None and kid != self._kid:
            raise SignerRefused(
                SignerFailure.WRONG_KEY,
                f"{self.name} signed with {kid}, and had the key {self._kid} before",
                remedy="a rotation starts here, not behind the proxy: register the new key, then configure its kid",
            )
        if signed.alg not in (None, self._algorithm):
            raise Refused(f"{self.name} signed with {signed.alg}, not {self._algorithm}", remedy=_LOOK)
        try:
            return base64.b64decode(signed.signature_b64 or signed.signature or "", validate=True)
        except binascii.Error as error:
            raise Refused(f"{self.name}: the signature is not base64", remedy=_LOOK) from error

    def _one_kid(self, named: _Named) -> str:
        kids = named.kids()
        if len(kids) != 1:
            said = " and ".join(sorted(kids)) or "no kid"
            raise Refused(f"{self.name} gives its key {said}, and one is wanted", remedy=_LOOK)
        return kids.pop()

    def _shown_key(self, shown: _Key) -> PublicKey:
        try:
            return PublicKey.parse(shown.public_key_pem or shown.public_key)
        except ValueError as error:
            raise SignerRefused(
                SignerFailure.WRONG_KEY,
                f"{self.name}: {error}",
                remedy="give it an RSA (2048 bits or more, e of 65537 or more) or Ed25519 key",
            ) from error

    def _registered_key(self, kid: str) -> PublicKey | MacKey:
        registered = self._registry.find(kid)
        if registered is None:
            raise SignerRefused(
                SignerFailure.WRONG_KEY,
                f"{self.name} signs as {kid}, which is not in the signer registry",
                remedy="publish its key first in signers.json (FINANCE_SIGNERS), or ask the proxy that is registered",
            )
        return registered.public_key

    def _read(self, answer: bytes, kind: type[AnswerT]) -> AnswerT:
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(f"{self.name}: an answer of another form ({error})", remedy=_LOOK) from error

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        return self._exchange.ask(self.name, method, path, body, self._headers)

    def _failure(self, status: int, answer: bytes, *, note: bool = False) -> Unavailable | Refused:
        detail = f"{self.name}: HTTP {status} {' '.join(answer.decode(errors='replace').split())[:200]}"
        if status in (408, 425, 429) or status >= 500:
            return Unavailable("signer", detail)
        remedies = {
            401: "give a valid SIGNING_PROXY_API_KEY or client certificate",
            403: "let the proxy allow this caller and this key",
            404: "correct the path in SIGNING_PROXY_URL",
        }
        refused = "the proxy does not sign checkpoint notes (kind note): let it, or put an RSA key behind it"
        default = refused if note else "read the proxy's answer; nothing was signed"
        return Refused(detail, remedy=remedies.get(status, default))


def _note(text: bytes) -> Note:
    return {"payload_b64": base64.b64encode(text).decode(), "kind": "note"}


def _continuing(text: bytes, history: TreeHistory, size: int) -> Note:
    """The note, with the proof from the tree of `size`, which the witness signed last."""
    hashes = [base64.b64encode(found).decode() for found in history.consistency(size)]
    return {**_note(text), "old_size": str(size), "consistency": hashes}
