"""Signing proxies for tests: the real service behind its real door, on keys in memory that can be made to fail."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finance.door.used_once import UsedOnce
from finance.settings.clock import utc_now
from finance.signing_proxy.log_verify import LogReport, verify_log
from finance.signing_proxy.request_log import Record, RequestLog, parse_line
from finance.signing_proxy.service import SigningProxy
from finance.signing_proxy.witness import WitnessState
from ledger_core.errors import FinanceError
from ledger_core.ports import Algorithm
from ledger_core.signing.registry import RegisteredSigner
from ledger_core.signing.signatures import PublicKey
from producers.signing.local import LocalKey
from producers.signing.verified_signer import KeyService, VerifiedSigner, pin
from tests.support.doors import BEFORE, Reply, TestDoor, door_yaml, open_test_door
from tests.support.signing import NOW, register

DIGEST = hashlib.sha256(b"a range of the ledger").digest()
KIDS = ("proxy-rsa", "proxy-ed25519")


@functools.cache  # RSA keys take their time
def _two_keys(algorithm: Algorithm) -> tuple[LocalKey, LocalKey]:
    return LocalKey.generate(algorithm, env="dev"), LocalKey.generate(algorithm, env="dev")


class FaultyKey:
    """A key service that fails when `error` is set, or answers with another key's signature when `forge` is."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._key, self._other = _two_keys(algorithm)
        self.error: FinanceError | None = None
        self.forge = False
        self.asked = 0
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    name = "a key that can fail"
    claimed_kid: str | None = None

    @property
    def algorithm(self) -> Algorithm:
        return self._key.algorithm

    def public_key(self) -> PublicKey:
        return self._key.public_key()

    def sign_digest(self, digest: bytes) -> bytes:
        return self._signed(lambda key: key.sign_digest(digest))

    def sign_text(self, text: bytes) -> bytes:
        return self._signed(lambda key: key.sign_text(text))

    def close(self) -> None:
        """Nothing to let go."""

    def _signed(self, sign: Callable[[LocalKey], bytes]) -> bytes:
        self.asked += 1
        self.before()
        if self.error is not None:
            raise self.error
        signature = sign(self._other if self.forge else self._key)
        self.after()
        return signature


def pinned(key: KeyService, kid: str) -> VerifiedSigner:
    return pin(key, register(key, kid), now=NOW)


@dataclass(slots=True)
class TestProxy:
    """A proxy with two keys; the caller prover may use both, looker may not sign, other may sign with none."""

    __test__ = False

    door: TestDoor
    log_path: Path
    keys: dict[str, FaultyKey]
    registered: dict[str, RegisteredSigner]
    told: Counter[str] = field(default_factory=Counter)
    log: Any = None

    def post(self, path: str = "/sign", body: object = None, **more: Any) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.door.ask("POST", path, body=data, **more)

    def sign(self, kid: str = KIDS[1], **more: Any) -> Reply:
        return self.post(body={"digest_hex": DIGEST.hex(), "kid": kid, **more})

    def records(self) -> list[Record]:
        found = [parse_line(line) for line in self.log_path.read_bytes().splitlines()]
        return [record for record in found if record is not None]

    def events(self) -> list[str]:
        return [record["event"] + (f":{record['code']}" if "code" in record else "") for record in self.records()]

    def report(self) -> LogReport:
        with self.log_path.open("rb") as lines:
            return verify_log(lines)


def proxy_yaml(client_certificate: str = "optional", limits: str = "{requests_per_second_max: 5000}") -> str:
    text = door_yaml(client_certificate, limits)
    text = text.replace("[look, change]", "[sign, verify, metrics]")
    return text.replace(
        '    certificates: ["URI:', f"    signing_keys: [{', '.join(KIDS)}]\n" + '    certificates: ["URI:', 1
    )


@contextmanager
def running_proxy(
    folder: Path,
    *,
    witness: bool = False,
    kids: Sequence[str] = KIDS,
    text: str | None = None,
    services: Mapping[str, KeyService] | None = None,
    used: Path | None = None,
) -> Iterator[TestProxy]:
    """On keys in memory, or on `services` by the kid that each is to have."""
    algorithms: dict[str, Algorithm] = {KIDS[0]: "rsa-sha256", KIDS[1]: "ed25519"}
    keys = {kid: FaultyKey(algorithms[kid]) for kid in kids} if services is None else {}
    signers = [pinned(service, kid) for kid, service in (services or keys).items()]
    text = text or proxy_yaml().replace(", ".join(KIDS), ", ".join(signer.kid for signer in signers))
    log_path = folder / "proxy.log"
    request_log = RequestLog(log_path, clock=utc_now)
    state = WitnessState(folder / "witness.json") if witness else None
    told: Counter[str] = Counter()
    remembered = UsedOnce(used or folder / "used", now=BEFORE)
    proxy = SigningProxy(
        signers, request_log, state, clock=utc_now, told=lambda verdict: told.update([verdict]), used=remembered
    )
    door = open_test_door(folder, text, proxy.routes(), used=remembered)
    registered = {signer.registered.kid: signer.registered for signer in signers}
    try:
        yield TestProxy(door, log_path, keys, registered, told, request_log)
    finally:
        door.door.close()
        request_log.close()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
