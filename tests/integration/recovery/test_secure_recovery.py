"""The ledger comes back over mutual TLS alone: WAL leaves to one certificate, and a drill meets no server without."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from finance.workshop.devstack import Stack
from tests.support import buckets, kafka, topics
from tests.support.backups import finance, lsn, own_server, streaming, until_stored
from tests.support.command_line import quick_topology
from tests.support.databases import role_url
from tests.support.waits import until

WALSENDER = (
    "SELECT ssl, client_dn, usename FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE backend_type = 'walsender'"
)


@pytest.fixture(scope="module")
def environ(secure_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A ledger of its own on a server of its own, both met by certificates."""
    kafka.know(secure_stack.env)
    prefix = f"t{uuid.uuid4().hex[:8]}."
    created = topics.create_topics(secure_stack.env["KAFKA_BROKERS"], prefix)
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    with own_server(secure_stack, "recovery") as (_, server):
        yield {
            **inherited,
            **secure_stack.env,
            **server,
            "FINANCE_TOPIC_PREFIX": prefix,
            "FINANCE_TOPOLOGY": quick_topology(str(topics.TOPOLOGY), tmp_path_factory.mktemp("topology")),
            "S3_AUDIT_BUCKET": buckets.create_bucket(secure_stack.env),
            "BACKUP_PARTIAL_SECONDS": "1",
        }
    topics.delete_topics(secure_stack.env["KAFKA_BROKERS"], created)


def test_a_ledger_streamed_and_backed_up_by_certificate_comes_back_by_every_way(
    environ: dict[str, str], tmp_path: Path
) -> None:
    url = environ["DATABASE_URL"]
    finance(environ, "migrate")
    with streaming(environ):
        finance(environ, "publish", "--synthetic", "100")
        finance(environ, "run", "all", "--until-idle")
        finance(environ, "audit", "export")
        finance(environ, "backup", "create")
        with psycopg.connect(url, autocommit=True) as connection:
            until(
                "it streams by certificate",
                lambda: connection.execute(WALSENDER).fetchall() == [(True, "/CN=backup", "finance_backup")],
            )
        until_stored(environ, lsn(url))
    told = finance(environ, "drill", "all", "--report", str(tmp_path))
    assert {way["way"]: way["sound"] for way in told["ways"]} == dict.fromkeys(
        ("archive", "topic", "pitr", "keys"), True
    )
    for what in ("ledger", "archive", "audit"):
        assert finance(environ, "verify", what)["ok"]


@pytest.mark.parametrize(("role", "said"), [("poster", "no pg_hba.conf entry"), ("backup", "certificate")])
def test_wal_leaves_to_nobody_else(environ: dict[str, str], tmp_path: Path, role: str, said: str) -> None:
    """Neither to another role by its own certificate, nor to the right role by none."""
    address = role_url(environ["DATABASE_URL"], f"finance_{role}")
    address = address if role != "backup" else address.partition("&sslcert")[0]
    command = [str(Path(environ["PG_BIN"]) / "pg_receivewal"), "--dbname", address, "--directory", str(tmp_path)]
    done = subprocess.run(
        [*command, "--no-loop"], capture_output=True, text=True, timeout=300, env={"HOME": "/nowhere"}
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert not any(tmp_path.iterdir())


def test_the_migrator_comes_in_by_its_own_certificate_and_nobody_as_the_migrator(environ: dict[str, str]) -> None:
    migrator = role_url(environ["DATABASE_URL"], "finance_migrator")
    finance({**environ, "DATABASE_URL": migrator}, "migrate", "--check")
    for name in ("poster", "api", "backup", "marketplace"):
        with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
            psycopg.connect(migrator.replace("/migrator/tls.", f"/{name}/tls."))
