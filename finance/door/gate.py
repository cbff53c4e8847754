"""Who may come in, with the memory that this takes: files that change, rates, tokens that were used.

Guarantees: `admit` gives a caller or raises a Problem before a byte of the body is read; a caller's requests are
bounded by its own rate, those of strangers by their address; what changes something takes a token only once, also over
restarts, and only one that was surely issued after the memory of used ones began. Callers and keys follow their files.
Does not: read requests or know routes; it is asked by `server.py`, and can be asked by any other server.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from finance.door import who
from finance.door.caller import Caller, PeerCertificate
from finance.door.files import Reloaded
from finance.door.memory import TokenBuckets
from finance.door.problem import DoorMetrics, Problem
from finance.door.tokens import TokenKeys
from finance.door.used_once import UsedOnce
from ledger_core.errors import Refused
from schemas.authority.door import DoorConfig, DoorLimits, parse_door_config
from schemas.read_file import read_text

CONFIG_BYTES_MAX: Final = 1_000_000
BURST_SECONDS: Final = 2.0  # a caller may be this far ahead of its rate
LOOPBACK: Final = "loopback"


@dataclass(frozen=True, slots=True)
class Rules:
    """door.yaml and the keys it names, of one moment."""

    config: DoorConfig  # who may call, and what for
    keys: TokenKeys | None  # that sign tokens; None when no token is accepted


class Gate:
    """Decides with the rules as they are now. `path` None: no door.yaml, everybody is the caller `loopback`.

    `used` None: no token changes anything here.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        metrics: DoorMetrics,
        clock: Callable[[], dt.datetime],
        used: UsedOnce | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._monotonic, self._used = clock, monotonic, used
        self._callers, self._strangers = TokenBuckets(), TokenBuckets()  # apart: no flood of addresses drops a caller's
        self._reloaded = None if path is None else _reloaded(path, metrics)

    @property
    def config(self) -> DoorConfig | None:
        return None if self._reloaded is None else self._reloaded.current().config

    @property
    def limits(self) -> DoorLimits:
        config = self.config
        return DoorLimits() if config is None else config.limits

    def admit(self, certificate: PeerCertificate | None, authorization: str | None, address: str) -> Caller:
        """Who calls, within its rate. Raises Problem: 401, 403, 429."""
        if self._reloaded is None:
            return self._within_rate(Caller(LOOPBACK, "loopback", address, frozenset()), DoorLimits())
        rules = self._reloaded.current()
        limits = rules.config.limits
        try:
            caller = self._caller(rules, certificate, authorization)
        except Problem:
            _take(self._strangers, house_of(address), limits.stranger_requests_per_second_max, self._monotonic())
            raise
        return self._within_rate(caller, limits)

    def check(self, caller: Caller, scope: str | None, *, changes: bool) -> None:
        """Whether the caller may do this, and its token has not done it before. Raises Problem: 401, 403, 503."""
        if caller.by == LOOPBACK:
            return
        who.check_scope(caller, scope)
        token = caller.token
        if token is None or not changes:
            return
        if token.jti is None:
            raise who.unknown("a token that changes something wants a jti", code="TOKEN_WITHOUT_JTI")
        rules = None if self.config is None else self.config.tokens
        if self._used is None or rules is None:
            raise who.unknown("no token changes anything here", code="TOKENS_NOT_TAKEN")
        now = self._clock().timestamp()
        kept_seconds = rules.life_seconds_max + 2.0 * rules.clock_skew_seconds_max
        try:
            # Its issuer's clock may be ahead by the skew, and `iat` has no fractions.
            if token.issued_at.timestamp() <= self._used.since(now) + rules.clock_skew_seconds_max:
                raise who.unknown(
                    "the token was issued before this service remembers which ones were used",
                    code="TOKEN_BEFORE_START",
                    remedy="fetch a new token",
                )
            first = self._used.use(
                caller.name, "token", token.jti, now=now, kept_seconds=kept_seconds, kept_seconds_min=kept_seconds
            )
        except OverflowError:
            raise Problem(503, "BUSY", "too many tokens to remember", headers={"Retry-After": "30"}) from None
        except OSError as error:
            raise Problem(503, "UNAVAILABLE", f"tokens that were used cannot be remembered: {error}") from None
        if not first:
            raise who.unknown("the token was used before", code="TOKEN_REPLAYED", remedy="fetch a new token")

    def _caller(self, rules: Rules, certificate: PeerCertificate | None, authorization: str | None) -> Caller:
        now = self._clock()
        held: Caller | None = None
        bearer: Caller | None = None
        if authorization is not None:
            bearer = _bearer(rules, who.bearer_of(authorization), now)
        if certificate is not None:
            try:
                held = who.caller_of_certificate(rules.config, certificate, now)
            except Problem as problem:  # where a token is enough, an unknown certificate does no harm
                if bearer is None or rules.config.client_certificate == "required":
                    raise problem
        elif rules.config.client_certificate == "required":
            raise who.unknown("a client certificate is needed", code="NO_CREDENTIAL")
        return who.both(held, bearer)

    def _within_rate(self, caller: Caller, limits: DoorLimits) -> Caller:
        rate = caller.requests_per_second_max or limits.requests_per_second_max
        _take(self._callers, caller.name, rate, self._monotonic())
        return caller


def house_of(address: str) -> str:
    """What a stranger is counted by: an IPv4 address, or the /64 of an IPv6 one: its holder has all of them."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


def _take(buckets: TokenBuckets, key: str, rate: float, now: float) -> None:
    wait_seconds = buckets.wait_seconds(key, rate=rate, burst=max(1.0, rate * BURST_SECONDS), now=now)
    if wait_seconds:
        raise Problem(
            429,
            "TOO_MANY_REQUESTS",
            f"more than {rate:g} requests a second",
            remedy="wait as Retry-After says (requests_per_second_max in door.yaml)",
            headers={"Retry-After": str(int(wait_seconds) + 1)},
        )


def _bearer(rules: Rules, bearer: str, now: dt.datetime) -> Caller:
    if not who.is_token(bearer):
        return who.caller_of_api_key(rules.config, bearer, now)
    if rules.keys is None or rules.config.tokens is None:
        raise who.unknown("this service accepts no tokens", code="TOKENS_NOT_TAKEN")
    return who.caller_of_claims(rules.config, rules.keys.check(bearer, rules.config.tokens, now))


def _reloaded(path: Path, metrics: DoorMetrics) -> Reloaded[Rules]:
    lock = threading.Lock()
    files = [path]

    def read() -> Rules:
        config = parse_door_config(_text(path), path.name)
        keys_path = None if config.tokens is None else path.parent / config.tokens.keys
        keys = None if keys_path is None else TokenKeys.from_json(_text(keys_path).encode(), keys_path.name)
        with lock:
            files[:] = [path] if keys_path is None else [path, keys_path]
        return Rules(config, keys)

    return Reloaded("callers", lambda: tuple(files), read, metrics.reload_failed)


def _text(path: Path) -> str:
    try:
        return read_text(path, CONFIG_BYTES_MAX)
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read ({error})", remedy="name a sound door.yaml with DOOR_CONFIG") from error
