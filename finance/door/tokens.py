"""Short-lived bearer tokens: a signed JWT (RFC 7519, RFC 9068 manners) -> its claims, or a Problem.

Guarantees: only EdDSA (Ed25519) and ES256, each key with its one algorithm, found by `kid`; `iss`, `aud`, `sub`, `iat`,
`exp` are there and right; a token lives no longer than the rules say, and no longer than its `exp` plus the clock skew;
one from the future waits. The clock is an argument. A key file that holds a private or symmetric key is refused.
Does not: know callers or remember `jti` (`who.py`, `gate.py`), or fetch keys: they are a file.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import jwt
import msgspec

from finance.door.caller import Token
from finance.door.problem import Problem
from ledger_core.errors import Refused
from schemas.authority.door import TokenRules

KEYS_MAX: Final = 64
TOKEN_BYTES_MAX: Final = 8192
_NO_CHECKS: Final[Any] = {
    f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
}  # the library's clock cannot be given: the claims are checked below


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says. `scopes` are the words of `scope`."""

    subject: str  # `sub`: whom the token stands for
    scopes: frozenset[str]
    token: Token  # its times and id


class _Jwk(msgspec.Struct):
    """A public key of a JWKS file (RFC 7517); `d` and `k` would be a secret."""

    kid: str
    kty: str
    crv: str = ""
    x: str = ""
    y: str = ""
    d: str = ""
    k: str = ""


class _Jwks(msgspec.Struct):
    keys: tuple[_Jwk, ...]


class TokenKeys:
    """The public keys of the issuer by kid."""

    def __init__(self, keys: Mapping[str, tuple[str, Any]]) -> None:
        self._keys = keys

    @classmethod
    def from_json(cls, data: bytes, name: str) -> TokenKeys:
        """Read a JWKS. `name` stands in messages. Raises Refused."""
        keys: dict[str, tuple[str, Any]] = {}
        try:
            found = msgspec.json.decode(data, type=_Jwks).keys
        except msgspec.DecodeError as error:
            raise Refused(f"{name} is not a JWKS: {error}", remedy='give {"keys":[…]} with public keys') from None
        for key in found:
            algorithm = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256"}.get((key.kty, key.crv))
            if key.d or key.k:
                raise Refused(f"{name}: key {key.kid} is not a public key", remedy="take it out, and make a new one")
            if algorithm is None or key.kid in keys or len(keys) == KEYS_MAX:
                raise Refused(
                    f"{name}: key {key.kid} is of another kind, stands there twice, or is one too many",
                    remedy=f"give up to {KEYS_MAX} Ed25519 or P-256 keys, each with a kid of its own",
                )
            point = {"kid": key.kid, "kty": key.kty, "crv": key.crv, "x": key.x, **({"y": key.y} if key.y else {})}
            try:
                keys[key.kid] = (algorithm, jwt.PyJWK(point, algorithm).key)
            except (jwt.PyJWTError, ValueError, TypeError) as error:  # of the library, or of those that it calls
                raise Refused(f"{name}: key {key.kid}: {error}", remedy="give a sound public key") from None
        return cls(keys)

    def check(self, token: str, rules: TokenRules, now: dt.datetime) -> Claims:
        """The claims of a token that is signed, meant for us, and of now. Raises Problem."""
        try:
            header = jwt.get_unverified_header(token[:TOKEN_BYTES_MAX])
            algorithm, key = self._keys[header["kid"]]
            claims = jwt.decode(token, key, algorithms=[algorithm], options=_NO_CHECKS)
        except KeyError:
            _no("TOKEN_KEY_UNKNOWN", "the token's key is not known here")
        except (jwt.PyJWTError, ValueError, TypeError):
            _no("TOKEN_BAD", "the token is not sound, or its signature is not")
        return _checked(claims, rules, now)


def _checked(claims: Mapping[str, object], rules: TokenRules, now: dt.datetime) -> Claims:
    audience = claims.get("aud")
    if claims.get("iss") != rules.issuer:
        _no("TOKEN_ISSUER", "the token comes from another issuer")
    if rules.audience not in (audience if isinstance(audience, list) else [audience]):
        _no("TOKEN_AUDIENCE", "the token is for another audience")
    skew = dt.timedelta(seconds=rules.clock_skew_seconds_max)
    issued, expires = _time(claims, "iat"), _time(claims, "exp")
    begins = _time(claims, "nbf") if "nbf" in claims else issued
    if now >= expires + skew:
        _no("TOKEN_EXPIRED", "the token has expired", "fetch a new one")
    if max(begins, issued) > now + skew:
        _no("TOKEN_NOT_YET", "the token is not valid yet", "set the clocks right")
    if expires - issued > dt.timedelta(seconds=rules.life_seconds_max):
        _no("TOKEN_LIFE", f"the token is made for more than {rules.life_seconds_max} s", "ask for a shorter one")
    subject, scope, jti = claims.get("sub"), claims.get("scope", ""), claims.get("jti")
    if not isinstance(subject, str) or not isinstance(scope, str):
        _no("TOKEN_BAD", "sub and scope are texts")
    if jti is not None and not (isinstance(jti, str) and 8 <= len(jti) <= 128):
        _no("TOKEN_BAD", "jti is a text of 8 to 128 characters")
    return Claims(subject, frozenset(scope.split()), Token(jti, issued, expires + skew))


def _time(claims: Mapping[str, object], name: str) -> dt.datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 253_402_300_800:
        _no("TOKEN_BAD", f"the token has no {name} that is a time")
    return dt.datetime.fromtimestamp(value, dt.UTC)


def _no(code: str, message: str, remedy: str = "") -> NoReturn:
    raise Problem(401, code, message, remedy=remedy, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
