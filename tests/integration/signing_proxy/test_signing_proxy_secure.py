"""The signing proxy on the secure stack, by the stack's own certificates: in front of its KMS, behind mutual TLS."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from finance.guards.probes import probe_signer
from finance.settings.deployment import Settings
from finance.workshop.devstack import Stack
from finance.workshop.devstack.authority import Authority, Pair
from ledger_core.errors import Refused, Unavailable
from producers.signing.https_exchange import HttpsExchange
from schemas.topology.load import load_topology
from tests.support import buckets, databases
from tests.support.command_line import Finance, quick_topology
from tests.support.proxy_process import proxy_process
from tests.support.signing import kms_admin
from tests.support.topics import TOPOLOGY

KID = "finance-dev-ed25519-v1"
DOOR = """
version: 1
client_certificate: required
roles: {signer: [sign, verify]}
callers:
"""


@pytest.fixture(scope="module")
def stack(secure_stack: Stack) -> Stack:
    """In this file every test works on the secure stack."""
    return secure_stack


@pytest.fixture
def environ(stack: Stack, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A database, topics with their ACLs and a bucket of its own there."""
    env = stack.env
    url = databases.create_database(env["DATABASE_URL"], databases.ensure_template(env["DATABASE_URL"]))
    roles = {name: name.removeprefix("DATABASE_URL_").lower() for name in env if name.startswith("DATABASE_URL_")}
    made = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **env,
        **{name: databases.role_url(url, f"finance_{role}") for name, role in roles.items()},
        "DATABASE_URL": url,
        "FINANCE_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
        "FINANCE_TOPOLOGY": quick_topology(str(TOPOLOGY), tmp_path),
        "S3_AUDIT_BUCKET": buckets.create_bucket(env),
    }
    Finance(made)("topics", "apply")
    yield made
    databases.drop_database(env["DATABASE_URL"], url)


def proxy_environ(stack: Stack, folder: Path, environ: dict[str, str]) -> dict[str, str]:
    """What the proxy is given: a door with a certificate of the stack's authority, and the processes as callers."""
    authority, now = Authority(stack.place.tls), dt.datetime.now(dt.UTC)
    tls = folder / "tls"
    began, ends = now - dt.timedelta(minutes=5), now + dt.timedelta(days=1)
    authority.issue(Pair(tls / "tls.crt", tls / "tls.key"), "signing-proxy", began, ends, server=True)
    (tls / "ca.crt").write_bytes(authority.certificate.read_bytes())
    callers = [
        f'  {name}: {{roles: [signer], certificates: ["subject:CN={name}"], signing_keys: [{KID}]}}\n'
        for name in ("prover", "archiver", "notary")
    ]
    (folder / "door.yaml").write_text(DOOR + "".join(callers))
    (folder / "log").mkdir(mode=0o700)
    mac_key = kms_admin(stack.env).create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    own = {
        "DOOR_TLS_DIR": str(tls),
        "DOOR_CONFIG": str(folder / "door.yaml"),
        "SIGNING_PROXY_HOST": "127.0.0.1",
        "SIGNING_PROXY_LOG": str(folder / "log" / "proxy.log"),
        "SIGNING_PROXY_LOG_MAC_KEY": mac_key["KeyMetadata"]["KeyId"],
    }
    return {name: value for name, value in environ.items() if not name.startswith("DATABASE_URL")} | own


def by_proxy(environ: dict[str, str], url: str) -> dict[str, str]:
    """The processes' settings, with this proxy in the place of the KMS."""
    direct = ("AUDIT_SIGNING_KMS_KEY_ID", "REQUIRE_KMS")
    rest = {name: value for name, value in environ.items() if name not in direct}
    return {**rest, "AUDIT_SIGNING_KIND": "proxy", "SIGNING_PROXY_URL": url, "REQUIRE_SIGNING_PROXY": "true"}


def ask(stack: Stack, url: str, name: str | None) -> int:
    pair = None if name is None else (f"{stack.place.tls}/{name}/tls.crt", f"{stack.place.tls}/{name}/tls.key")
    exchange = HttpsExchange(url, ca_file=str(stack.place.tls / "ca.crt"), client_pair=pair)
    try:
        return exchange.ask("the proxy", "GET", "/health", None, {})[0]
    finally:
        exchange.close()


def test_every_process_signs_through_a_witness_by_its_own_certificate(
    stack: Stack, environ: dict[str, str], tmp_path: Path
) -> None:
    given = proxy_environ(stack, tmp_path, environ)
    with proxy_process({**given, "REQUIRE_KMS": "true"}, "--witness") as proxy:
        assert proxy.url, proxy.said
        assert [ask(stack, proxy.url, name) for name in ("prover", "notary", "kernel")] == [200, 200, 401]
        with pytest.raises((Refused, Unavailable), match=r"(?i)certificate|closed|reset"):
            ask(stack, proxy.url, None)
        finance = Finance(by_proxy(environ, proxy.url))
        for count in ("60", "40"):  # the second time the witness has something to hold it against
            finance("publish", "--synthetic", count, "--seed", count)
            finance("run", "all", "--until-idle")
        assert finance.json("status")["finished"] is True
        for what in ("ledger", "archive", "audit"):
            assert finance.json("verify", what)["ok"] is True
    told = Finance(given).json("signing-proxy", "log", "verify")
    assert (told["mac_checked"], told["unfinished"]) == (True, [])
    assert "refused" not in told["events"]
    said = (tmp_path / "log" / "proxy.log").read_text()
    for name in ("prover", "archiver", "notary"):
        assert f'"principal":"subject:CN={name} serial' in said


def test_a_production_of_it_starts_and_a_prover_has_its_digest_signed_there(
    stack: Stack, environ: dict[str, str], tmp_path: Path
) -> None:
    production = {
        **environ,
        "FINANCE_ENV": "production",
        "NODE_ENV": "production",
        "FINANCE_DOMAIN": "ledger.example.org",
        "REQUIRE_KMS": "true",
    }
    given = proxy_environ(stack, tmp_path, production)
    with proxy_process(given) as proxy:
        assert proxy.url, proxy.said
        settings = Settings.from_env(by_proxy(production, proxy.url), tmp_path)
        probed = probe_signer(settings, load_topology(settings.topology_path), "prover")
        assert (probed.faults, "proxy) signed" in probed.evidence) == ((), True)
    (tmp_path / "log").chmod(0o777)
    with proxy_process(given) as refused:
        assert refused.exit_code == 3, refused.said
    assert "written to by everybody" in "".join(refused.said)
