"""A key on a PKCS#11 token: a hardware security module, or SoftHSM2. The private key never leaves it.

Guarantees: RSA gets the SHA-256 DigestInfo through CKM_RSA_PKCS (given the bare 32 bytes, a token signs them without
an error, and nothing verifies); Ed25519 is pure Ed25519 through CKM_EDDSA. A call that has no deadline of its own gets
one. A wrong PIN is tried once in the life of a process, since tokens lock after a few. Token errors that a new session
may mend are Unavailable, and the session is opened anew at the next try.
Does not: verify (see verified_signer), retry, or make keys (see key_maker_pkcs11). The token needs the private key
(CKA_SIGN) and the public key object under one label.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import pkcs11
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11 import exceptions as p11

from ledger_core.errors import FinanceError, Refused, SignerFailure, SignerRefused, Unavailable
from ledger_core.ports import Algorithm
from ledger_core.signing.signatures import PublicKey, to_sign

TIMEOUT_SECONDS: Final = 5.0
DIGEST_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017 section 9.2: SHA-256
EC_POINT_PREFIX: Final = b"\x04\x20"  # CKA_EC_POINT is a DER OCTET STRING around the 32 bytes

_KEY_TYPES: Final = {"rsa-sha256": KeyType.RSA, "ed25519": KeyType.EC_EDWARDS}
_PIN_ERRORS: Final = (
    p11.PinIncorrect,
    p11.PinInvalid,
    p11.PinLenRange,
    p11.PinExpired,
    p11.PinLocked,
    p11.UserPinNotInitialized,
)
_REMEDIES: Final[dict[type[Exception], str]] = {
    p11.NoSuchKey: "store the private and the public key under the label AUDIT_SIGNING_PKCS11_KEY names",
    p11.MultipleObjectsReturned: "give each key a label of its own on the token",
    p11.MultipleTokensReturned: "give each token a label of its own",
    p11.MechanismInvalid: "use a token that has CKM_RSA_PKCS or CKM_EDDSA, and a key that fits AUDIT_SIGNING_ALG",
    p11.KeyTypeInconsistent: "set AUDIT_SIGNING_ALG and AUDIT_SIGNING_PKCS11_KEY to what belongs together",
}

ResultT = TypeVar("ResultT")
_refused_pins: dict[tuple[str, str, str], Refused] = {}  # a service that is built anew must not try them again
_running: threading.Thread | None = None  # the library is asked one thing at a time, by whichever key


class Pkcs11Key:
    """A KeyService on the key `label` of the token `token`; `module` is the path of the vendor's shared library."""

    def __init__(
        self,
        module: str,
        token: str,
        label: str,
        algorithm: Algorithm,
        *,
        pin: str,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._module, self._token, self._label, self._pin = module, token, label, pin
        self._algorithm = algorithm
        self._timeout_seconds = timeout_seconds
        self._session: pkcs11.Session | None = None
        self._private: Any = None

    @property
    def name(self) -> str:
        return f"PKCS#11 key {self._token}/{self._label}"

    @property
    def algorithm(self) -> Algorithm:
        return self._algorithm

    @property
    def claimed_kid(self) -> None:
        return None

    def public_key(self) -> PublicKey:
        """The public key object beside the private one, checked by our rules."""
        return self._within_deadline(self._read_public_key)

    def sign_digest(self, digest: bytes) -> bytes:
        return self._within_deadline(lambda: self._sign(digest))

    def sign_text(self, text: bytes) -> bytes:
        """Ed25519 signs the text itself, RSA its SHA-256."""
        return self.sign_digest(to_sign(self._algorithm, text))

    def close(self) -> None:
        """End the session. A token that is gone has ended it already."""
        session, self._session, self._private = self._session, None, None
        if session is not None:
            try:
                session.close()
            except p11.PKCS11Error:
                return

    def _sign(self, message: bytes) -> bytes:
        self._open()
        if self._algorithm == "ed25519":
            return cast(bytes, self._private.sign(message, mechanism=Mechanism.EDDSA))
        return cast(bytes, self._private.sign(DIGEST_INFO + message, mechanism=Mechanism.RSA_PKCS))

    def _read_public_key(self) -> PublicKey:
        key = self._find(self._open(), ObjectClass.PUBLIC_KEY)
        try:
            if self._algorithm == "ed25519":
                point = bytes(key[Attribute.EC_POINT])
                raw = point.removeprefix(EC_POINT_PREFIX) if len(point) == 34 else point
                return PublicKey.from_key(Ed25519PublicKey.from_public_bytes(raw))
            exponent = int.from_bytes(bytes(key[Attribute.PUBLIC_EXPONENT]), "big")
            modulus = int.from_bytes(bytes(key[Attribute.MODULUS]), "big")
            return PublicKey.from_key(RSAPublicNumbers(exponent, modulus).public_key())
        except ValueError as error:
            raise SignerRefused(
                SignerFailure.WRONG_KEY,
                f"{self.name}: {error}",
                remedy="use an RSA (2048 bits or more, e of 65537 or more) or Ed25519 key",
            ) from error

    def _open(self) -> pkcs11.Session:
        """The session with its private key; logged in. Two keys of one token share the login of the process."""
        if self._session is not None:
            return self._session
        session = self._login()
        try:
            private = self._find(session, ObjectClass.PRIVATE_KEY)
            if not hasattr(private, "sign"):
                raise Refused(
                    f"{self.name} may not sign", remedy="give it CKA_SIGN, or rotate to another registered key"
                )
        except BaseException:
            session.close()  # tokens have few
            raise
        self._session, self._private = session, private
        return session

    def _find(self, session: pkcs11.Session, kind: ObjectClass) -> Any:
        """The one key of this label. Read to the end: a search that is left open fails when its session has ended."""
        wanted = {Attribute.CLASS: kind, Attribute.KEY_TYPE: _KEY_TYPES[self._algorithm], Attribute.LABEL: self._label}
        found = list(session.get_objects(wanted))
        if not found:
            raise p11.NoSuchKey(f"No key matching {wanted}")
        if len(found) > 1:
            raise p11.MultipleObjectsReturned(f"More than 1 key matches {wanted}")
        return found[0]

    def _login(self, *, rw: bool = False) -> pkcs11.Session:
        refused = _refused_pins.get((self._module, self._token, self._pin))
        if refused is not None:
            raise refused
        token = self._find_token()
        try:
            return token.open(rw=rw, user_pin=self._pin)
        except p11.UserAlreadyLoggedIn:
            return token.open(rw=rw)

    def _find_token(self) -> pkcs11.Token:
        try:
            library = pkcs11.lib(self._module)
        except (p11.PKCS11Error, RuntimeError, OSError) as error:
            raise Refused(
                f"the PKCS#11 module {self._module} cannot be loaded ({error or type(error).__name__})",
                remedy="set PKCS11_MODULE to the vendor's library, and what it needs to find its configuration",
            ) from error
        return library.get_token(token_label=self._token)

    def _within_deadline(self, ask: Callable[[], ResultT]) -> ResultT:
        """Ask on a thread that may be left behind: a library that hangs must not hang the process."""
        global _running
        if _running is not None and _running.is_alive():
            raise Unavailable("signer", f"{self.name}: the token has not answered the question before")
        outcome: list[ResultT] = []
        failure: list[BaseException] = []

        def run() -> None:
            try:
                outcome.append(ask())
            except BaseException as error:  # carried over to the thread that asked, without what it holds
                traceback.clear_frames(error.__traceback__)
                failure.append(error)

        _running = threading.Thread(target=run, name="pkcs11", daemon=True)
        _running.start()
        _running.join(self._timeout_seconds)
        if _running.is_alive():
            raise Unavailable("signer", f"{self.name}: no answer in {self._timeout_seconds:g} s")
        if failure:
            raise self._failure(failure[0]) from failure[0]
        return outcome[0]

    def _failure(self, error: BaseException) -> BaseException:
        if isinstance(error, FinanceError) or not isinstance(error, p11.PKCS11Error):
            return error
        words = f"{self.name}: {type(error).__name__} {error}".rstrip()
        if isinstance(error, _PIN_ERRORS):
            refused = Refused(
                f"{words}; it is not tried again, since tokens lock",
                remedy="set PKCS11_PIN (or PKCS11_PIN_FILE) to the user PIN of the token, and start again",
            )
            _refused_pins[self._module, self._token, self._pin] = refused
            return refused
        self.close()
        for kind, remedy in _REMEDIES.items():
            if isinstance(error, kind):
                return Refused(words, remedy=remedy)
        if isinstance(error, p11.NoSuchToken):
            words = f"no token {self._token} is there: is the HSM connected, and PKCS11_TOKEN right?"
        return Unavailable("signer", words)
