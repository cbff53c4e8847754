"""door.yaml as typed data: who may come in, as whom, for what, and how much of it. One file for each HTTP surface.

Guarantees: closed world: an unknown or repeated key is a fault, and so is a role that nothing defines, or a principal
that stands for two callers; every fault is listed at once. It holds no secret: an API key stands there as its SHA-256,
with its end.
Does not: know which scopes a surface has, or read files.

    version: 1
    client_certificate: required
    roles: {signer: [sign, verify], monitor: [metrics]}
    callers:
      prover:
        roles: [signer]
        certificates: ["URI:spiffe://example.com/finance/prover", "subject:CN=prover"]
        signing_keys: [finance-ed25519-v1]
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from ledger_core.errors import Refused
from schemas.strict_yaml import YAMLError, load_yaml

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Principal = Annotated[str, msgspec.Meta(pattern=r"^(URI|DNS|email|subject):[!-~ ]{1,500}$")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=100_000)]


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A long-lived key by its hash, so that the file is not a secret; after `expires` it opens nothing."""

    sha256: Sha256  # of the key, lower-case hex
    expires: dt.datetime


class CallerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One caller: the principals that are it, its roles, its share, and the keys it may have signatures of."""

    roles: tuple[Name, ...]  # what it may do; the roles of DoorConfig
    certificates: tuple[Principal, ...] = ()  # URI:..., DNS:..., email:... or subject:...
    tokens: tuple[Text, ...] = ()  # the `sub` of its tokens
    api_keys: tuple[ApiKey, ...] = ()  # by their hashes
    signing_keys: tuple[Text, ...] = ()  # kids; only the signing proxy asks
    requests_per_second_max: Rate | None = None  # None: the door's own limit


class TokenRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bearer token must say. `keys` names a JWKS file of public keys beside this file."""

    issuer: Text  # exact `iss`
    audience: Text  # exact `aud`
    keys: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
    life_seconds_max: Positive = 900  # from iat to exp
    clock_skew_seconds_max: Annotated[int, msgspec.Meta(ge=0, le=300)] = 30  # allowed on either side


class DoorLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of one door; units last in the names. A changed `connections_max` counts from the next start on."""

    body_bytes_max: Positive = 65_536  # of one request
    header_bytes_max: Positive = 16_384  # request line and headers together
    handshake_seconds_max: Rate = 5.0  # TLS, from accept on
    request_seconds_max: Rate = 10.0  # from the first byte of a request to its last
    answer_seconds_max: Rate = 10.0  # to send an answer
    idle_seconds_max: Rate = 60.0  # between two requests of one connection
    connections_max: Positive = 64
    caller_connections_max: Positive | None = None  # of one caller; None: a quarter of connections_max, 2 at least
    requests_per_second_max: Rate = 50.0  # of one caller, unless it has its own
    stranger_requests_per_second_max: Rate = 2.0  # of one address that nobody knows

    @property
    def connections_of_a_caller(self) -> int:
        """So many that no caller alone takes all."""
        return self.caller_connections_max or max(2, self.connections_max // 4)


class DoorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file, checked."""

    version: Literal[1]  # of the file's format
    roles: Mapping[Name, tuple[Name, ...]]  # role -> names of the operations it allows
    callers: Mapping[Name, CallerSpec]  # name -> how it is known
    client_certificate: Literal["required", "optional"] = "required"  # whether one must be shown
    tokens: TokenRules | None = None  # None: bearer tokens are refused
    limits: DoorLimits = DoorLimits()  # defaults where the file is silent


def parse_door_config(text: str, name: str) -> DoorConfig:
    """Read door.yaml; `name` stands in messages. Raises Refused with every fault."""
    try:
        config = msgspec.convert(load_yaml(text), DoorConfig)
    except (YAMLError, msgspec.ValidationError) as error:
        raise Refused(f"{name} is not a door configuration: {error}", remedy=f"correct {name}") from None
    faults = list(_faults(config))
    if faults:
        listed = "".join(f"\n  - {fault}" for fault in faults)
        raise Refused(f"{name} has {len(faults)} fault(s):{listed}\n", remedy=f"correct them in {name}")
    return config


def _faults(config: DoorConfig) -> Iterator[str]:
    principals: Counter[str] = Counter()
    for name, caller in config.callers.items():
        for role in caller.roles:
            if role not in config.roles:
                yield f"callers.{name}.roles: no role is called {role!r}"
        if caller.tokens and config.tokens is None:
            yield f"callers.{name}.tokens: there is no section `tokens` to check them by"
        if config.client_certificate == "required" and not caller.certificates:
            yield f"callers.{name}.certificates: nobody comes in without one here (client_certificate: required)"
        for key in caller.api_keys:
            if key.expires.tzinfo is None:
                yield f"callers.{name}.api_keys: expires wants a zone (2027-01-31T00:00:00Z)"
        if len(caller.certificates) + len(caller.tokens) + len(caller.api_keys) == 0:
            yield f"callers.{name}: has no certificate, token or API key, so it never comes in"
        principals.update(caller.certificates)
        principals.update(f"token subject {subject}" for subject in caller.tokens)
        principals.update(f"API key {key.sha256[:12]}…" for key in caller.api_keys)
    if (config.limits.caller_connections_max or 0) > config.limits.connections_max:
        yield "limits.caller_connections_max: one caller would take more than connections_max"
    for principal, count in principals.items():
        if count > 1:
            yield f"callers: {principal!r} stands there {count} times"
