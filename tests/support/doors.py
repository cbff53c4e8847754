"""Doors for tests, the clients that knock, and an issuer of tokens."""

from __future__ import annotations

import datetime as dt
import hashlib
import http.client
import json
import ssl
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from finance.door.gate import Gate
from finance.door.problem import Answer, Request, Route
from finance.door.server import Door
from finance.door.tls import DoorFiles, TlsContexts
from finance.door.used_once import UsedOnce
from tests.support.certificates import Pair, TestAuthority, write_whole

ISSUER, AUDIENCE = "https://id.example.com/", "finance-test"
API_KEY = "k" * 40
BEFORE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()  # what was used since then is remembered
URI = "spiffe://example.com/finance/prover"


@dataclass(slots=True)
class CountedMetrics:
    """What a door told."""

    answers: Counter[int] = field(default_factory=Counter)
    turned_away: Counter[str] = field(default_factory=Counter)
    expiry: dict[str, float] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)

    def door_answered(self, status: int) -> None:
        self.answers[status] += 1

    def door_turned_away(self, code: str) -> None:
        self.turned_away[code] += 1

    def certificate_expires(self, certificate: str, at: float) -> None:
        self.expiry[certificate] = at

    def reload_failed(self, what: str) -> None:
        self.failures[what] += 1


class Issuer:
    """Signs tokens; `write` gives the door its public keys."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {
            "ed": ed25519.Ed25519PrivateKey.generate(),
            "ec": ec.generate_private_key(ec.SECP256R1()),
        }

    def write(self, path: Path) -> None:
        algorithms: dict[str, Any] = {"ed": jwt.algorithms.OKPAlgorithm, "ec": jwt.algorithms.ECAlgorithm}
        keys = [json.loads(algorithms[kid].to_jwk(key.public_key())) for kid, key in self.keys.items()]
        named = [{**key, "kid": kid} for kid, key in zip(self.keys, keys, strict=True)]
        write_whole(path, json.dumps({"keys": named}).encode())

    def token(self, kid: str = "ed", *, lived: float = 0, life: float = 300, **claims: object) -> str:
        """A good token, issued `lived` seconds ago for `life` seconds; `claims` replace, None takes out."""
        now = dt.datetime.now(dt.UTC).timestamp() - lived
        said: dict[str, object] = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "prover@example.com", "scope": "look change",
            "iat": int(now), "exp": int(now + life), "jti": f"jti-{now}-{len(claims)}",
        }  # fmt: skip
        said = {name: value for name, value in {**said, **claims}.items() if value is not None}
        algorithm = "EdDSA" if kid == "ed" else "ES256"
        return jwt.encode(said, self.keys[kid], algorithm=algorithm, headers={"kid": kid})


def door_yaml(client_certificate: str = "required", limits: str = "{}", more: str = "") -> str:
    """A door for the callers prover (certificate, token, key), looker (certificate), other (certificate)."""
    return f"""
version: 1
client_certificate: {client_certificate}
limits: {limits}
tokens: {{issuer: "{ISSUER}", audience: {AUDIENCE}, keys: keys.json}}
roles: {{changer: [look, change], looker: [look]}}
callers:
  prover:
    roles: [changer]
    certificates: ["URI:{URI}", "subject:CN=prover"]
    tokens: [prover@example.com]
    api_keys:
      - {{sha256: {hashlib.sha256(API_KEY.encode()).hexdigest()}, expires: 2099-01-01T00:00:00Z}}
      - {{sha256: {hashlib.sha256(b"x" * 40).hexdigest()}, expires: 2020-01-01T00:00:00Z}}
  looker: {{roles: [looker], certificates: ["subject:CN=looker"]}}
  other: {{roles: [changer], certificates: ["subject:CN=other"], requests_per_second_max: 1}}
{more}"""


@dataclass(slots=True)
class TestDoor:
    """A running door with everything around it."""

    __test__ = False

    folder: Path
    authority: TestAuthority
    issuer: Issuer
    metrics: CountedMetrics
    door: Door
    client: Pair

    def configure(self, text: str) -> None:
        write_whole(self.folder / "door.yaml", text.encode())

    def ask(self, method: str = "GET", path: str = "/look", **more: Any) -> Reply:
        return ask(self.door.port, method, path, authority=self.authority.path, **{"pair": self.client, **more})


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told

    @property
    def code(self) -> str:
        """Of a refusal, which always has its one shape."""
        told = self.json
        assert told["ok"] is False
        assert told["message"]
        assert set(told) >= {"ok", "code", "message"}
        return str(told["code"])


def open_test_door(
    folder: Path,
    text: str | None = None,
    routes: dict[tuple[str, str], Route] | None = None,
    *,
    used: UsedOnce | None = None,
) -> TestDoor:
    """On a port of its own. `used` None: what was used is remembered in the folder, for as long as tokens live."""
    authority, issuer, metrics = TestAuthority(folder / "ca"), Issuer(), CountedMetrics()
    tls = folder / "tls"
    authority.issue("server", server=True, into=tls)
    (tls / "ca.crt").write_bytes(authority.path.read_bytes())
    issuer.write(folder / "keys.json")
    (folder / "door.yaml").write_text(text or door_yaml())
    used = used or UsedOnce(folder / "used", now=BEFORE)
    gate = Gate(folder / "door.yaml", metrics=metrics, clock=lambda: dt.datetime.now(dt.UTC), used=used)
    assert gate.config is not None
    required = gate.config.client_certificate == "required"
    contexts = TlsContexts(
        DoorFiles(tls), certificate_required=required, metrics=metrics, clock=lambda: dt.datetime.now(dt.UTC)
    )
    door = Door(routes or ROUTES, gate, contexts, host="127.0.0.1", port=0, metrics=metrics)
    return TestDoor(folder, authority, issuer, metrics, door, authority.issue("prover", uri=URI))


def tls_client(authority: Path, pair: Pair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def ask(
    port: int,
    method: str,
    path: str,
    *,
    authority: Path,
    pair: Pair | None,
    body: bytes | None = None,
    bearer: str | None = None,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Reply:
    """One request on a connection of its own. Raises OSError when the door lets nobody speak."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=300, context=context or tls_client(authority, pair)
    )
    try:
        sent = {**(headers or {}), **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        return Reply(answer.status, dict(answer.headers.items()), answer.read())
    finally:
        connection.close()


def _look(request: Request) -> Answer:
    return Answer.of({"ok": True, "caller": request.caller.name, "by": request.caller.by, "query": dict(request.query)})


def _change(request: Request) -> Answer:
    return Answer.of({"ok": True, "caller": request.caller.name, "bytes": len(request.body)})


def _fault(_: Request) -> Answer:
    raise ZeroDivisionError("a secret of the house")


ROUTES = {
    ("GET", "/look"): Route(_look, "look"),
    ("POST", "/change"): Route(_change, "change", changes=True),
    ("GET", "/fault"): Route(_fault, None),
}
