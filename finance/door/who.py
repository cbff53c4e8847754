"""Who is calling: facts of a certificate, token or API key -> Caller, or a Problem. Pure: any server can ask it.

Guarantees: a principal is a caller only when door.yaml names it, letter by letter; a certificate that names two callers
is nobody; an expired credential is nobody; a caller's scopes are those of its roles, and a token can only narrow them;
a certificate and a token of two callers on one request are refused.
Does not: check chains or signatures (TLS and `tokens.py` do), remember tokens or count requests (`gate.py` does).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from typing import Final, Literal

from finance.door.caller import Caller, PeerCertificate, Token
from finance.door.problem import Problem
from finance.door.tokens import Claims
from schemas.authority.door import DoorConfig

API_KEY_CHARS_MIN: Final = 32
_BEARER: Final = re.compile(r"[Bb]earer +([A-Za-z0-9._~+/=-]{1,8192})")


def bearer_of(authorization: str) -> str:
    """The credential of an Authorization header. Raises Problem for another scheme or form."""
    match = _BEARER.fullmatch(authorization.strip())
    if match is None:
        raise unknown("the Authorization header is not `Bearer` and a token")
    return match[1]


def is_token(bearer: str) -> bool:
    """Whether a bearer credential has the form of a JWT: three parts. An API key has no dots."""
    return bearer.count(".") == 2


def caller_of_certificate(config: DoorConfig, certificate: PeerCertificate, now: dt.datetime) -> Caller:
    """The caller that carries one of the certificate's names. Raises Problem."""
    if not certificate.not_before <= now <= certificate.not_after:
        raise unknown("the client certificate is not valid now", code="CERTIFICATE_EXPIRED")
    found = {
        name: principal
        for name, spec in config.callers.items()
        for principal in spec.certificates
        if principal in certificate.names
    }
    if len(found) != 1:
        words = "no caller known here has this client certificate" if not found else "it names more than one caller"
        raise unknown(words, code="CALLER_UNKNOWN")
    ((name, principal),) = found.items()
    return _caller(config, name, "certificate", f"{principal} serial {certificate.serial:x}")


def caller_of_api_key(config: DoorConfig, key: str, now: dt.datetime) -> Caller:
    """The caller whose API key has this hash. Raises Problem."""
    hashed = hashlib.sha256(key.encode()).hexdigest()
    for name, spec in config.callers.items():
        for known in spec.api_keys:
            if known.sha256 == hashed and len(key) >= API_KEY_CHARS_MIN:
                if known.expires <= now:
                    raise unknown("the API key has expired", code="API_KEY_EXPIRED")
                return _caller(config, name, "api key", f"API key {hashed[:12]}")
    raise unknown("no caller known here has this bearer key", code="CALLER_UNKNOWN")


def caller_of_claims(config: DoorConfig, claims: Claims) -> Caller:
    """The caller that is the subject of a checked token, with the scopes that both grant. Raises Problem."""
    for name, spec in config.callers.items():
        if claims.subject in spec.tokens:
            caller = _caller(config, name, "token", f"token of {claims.subject}")
            return _with(caller, caller.scopes & claims.scopes, claims.token)
    raise unknown("no caller known here has this token", code="CALLER_UNKNOWN")


def both(certificate: Caller | None, bearer: Caller | None) -> Caller:
    """One caller of what a request carries: one credential, or two that agree. Raises Problem."""
    if certificate is None or bearer is None:
        caller = certificate or bearer
        if caller is None:
            raise unknown("a client certificate or a bearer token is needed", code="NO_CREDENTIAL")
        return caller
    if certificate.name != bearer.name:
        raise Problem(403, "CALLERS_DIFFER", "the certificate and the bearer token belong to two callers")
    return _with(certificate, certificate.scopes & bearer.scopes, bearer.token)


def check_scope(caller: Caller, scope: str | None) -> None:
    """Raise Problem unless `caller` may do what needs `scope` (None: whoever is known may)."""
    if scope is not None and scope not in caller.scopes:
        raise Problem(
            403,
            "SCOPE_MISSING",
            f"{caller.name} may not do this: scope {scope} is needed",
            remedy=f"give one of its roles the scope {scope} in door.yaml, and a token that names it",
        )


def unknown(message: str, *, code: str = "UNAUTHENTICATED", remedy: str = "") -> Problem:
    """A 401: it says nothing but why this credential is not accepted."""
    return Problem(401, code, message, remedy=remedy, headers={"WWW-Authenticate": "Bearer"})


def _caller(config: DoorConfig, name: str, by: Literal["certificate", "token", "api key"], principal: str) -> Caller:
    spec = config.callers[name]
    scopes = frozenset(scope for role in spec.roles for scope in config.roles[role])
    return Caller(name, by, principal, scopes, frozenset(spec.signing_keys), spec.requests_per_second_max)


def _with(caller: Caller, scopes: frozenset[str], token: Token | None) -> Caller:
    return Caller(
        caller.name,
        caller.by,
        caller.principal,
        scopes,
        caller.signing_keys,
        caller.requests_per_second_max,
        token,
    )
