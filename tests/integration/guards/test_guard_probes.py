"""Guards that ask, on real servers: with a wrong role, database, signer or bucket no process starts."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

import psycopg
import pytest

from finance.guards.model import StartRefused
from finance.guards.probes import probe_archive, role_powers
from finance.guards.startup import check_start
from finance.settings.deployment import Settings
from finance.workshop.devstack import Stack
from ledger_core.errors import Unavailable
from ledger_core.postgres.schema.deployment import bind_deployment
from ledger_core.postgres.session import session
from schemas.topology.load import load_topology
from tests.support.buckets import s3_client
from tests.support.command_line import Finance as CommandLine
from tests.support.databases import role_url

Environ = dict[str, str]
DOMAIN: Final = "ledger.example.org"


@pytest.fixture
def staging(environ: Environ, stack: Stack) -> Environ:
    """Every setting of the dev stack, said to be staging; endpoints of loopback are left out where https is a must."""
    with session(environ["DATABASE_URL"], application_name="test") as connection:
        bind_deployment(connection, "staging", DOMAIN)
    return {**environ, "FINANCE_ENV": "staging", "FINANCE_DOMAIN": DOMAIN}


def faults(process: str, environ: Environ, cwd: Path) -> list[str]:
    """What a start is refused for; nothing when it is not."""
    try:
        check_start(process, environ, cwd)
    except StartRefused as error:
        return [str(fault) for fault in error.faults]
    return []


def as_superuser(environ: Environ, *statements: str) -> None:
    with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_sound_role_in_its_own_database_starts(staging: Environ, tmp_path: Path) -> None:
    assert faults("poster", staging, tmp_path) == []


TAMPERED: Final = (
    ("GRANT UPDATE ON entries TO finance_poster", "finance_poster may UPDATE entries"),
    ("GRANT DELETE ON lines TO finance_poster", "finance_poster may DELETE lines"),
    ("GRANT TRUNCATE ON verdicts TO finance_poster", "finance_poster may TRUNCATE verdicts"),
    ("GRANT UPDATE ON entries TO PUBLIC", "finance_poster may UPDATE entries"),
    ("GRANT CREATE ON SCHEMA public TO finance_poster", "finance_poster may create tables (DDL)"),
    ("ALTER TABLE personal_data OWNER TO finance_poster", "finance_poster owns 1 tables"),
    ("ALTER TABLE entries DISABLE TRIGGER entries_append_only", "schema.missing: trigger on"),
    ("DROP TRIGGER lines_must_balance ON lines", "lines_must_balance"),
)


@pytest.mark.parametrize(("statement", "said"), TAMPERED, ids=[statement for statement, _ in TAMPERED])
def test_a_role_with_too_much_or_a_schema_with_too_little_is_refused(
    staging: Environ, tmp_path: Path, statement: str, said: str
) -> None:
    as_superuser(staging, statement)
    told = faults("poster", staging, tmp_path)
    assert any(said in fault and "Remedy: " in fault for fault in told), told


def test_a_role_that_may_become_another_is_refused(staging: Environ, tmp_path: Path) -> None:
    as_superuser(staging, "GRANT finance_migrator TO finance_poster WITH INHERIT FALSE")  # of the whole cluster
    try:
        told = faults("poster", staging, tmp_path)
    finally:
        as_superuser(staging, "REVOKE finance_migrator FROM finance_poster")
    assert any("finance_poster is a member of finance_migrator" in fault for fault in told), told
    assert faults("poster", staging, tmp_path) == []


def test_a_superuser_is_refused_by_name_and_by_power(staging: Environ, tmp_path: Path) -> None:
    told = faults("poster", {**staging, "DATABASE_URL_POSTER": staging["DATABASE_URL"]}, tmp_path)
    assert any("logs in as postgres" in fault for fault in told)
    with psycopg.connect(staging["DATABASE_URL"]) as connection:
        _, found = role_powers(connection, "poster", production=True)
    assert ["is a superuser" in fault.message for fault in found] == [True]


def test_an_unencrypted_connection_and_no_other_is_refused_in_production(staging: Environ) -> None:
    plain = "FINANCE_TLS_DIR" not in staging
    with psycopg.connect(role_url(staging["DATABASE_URL"], "finance_poster")) as connection:
        _, found = role_powers(connection, "poster", production=True)
    assert ["is not encrypted" in fault.message for fault in found] == ([True] if plain else [])


def test_a_database_of_another_environment_or_of_none_is_refused(environ: Environ, tmp_path: Path) -> None:
    given = {**environ, "FINANCE_ENV": "staging", "FINANCE_DOMAIN": DOMAIN}
    assert any("belongs to no environment yet" in fault for fault in faults("poster", given, tmp_path))
    with session(environ["DATABASE_URL"], application_name="test") as connection:
        bind_deployment(connection, "production", DOMAIN)
    assert any("belongs to production of" in fault for fault in faults("poster", given, tmp_path))


def test_a_database_that_is_away_is_waited_for_by_the_process_itself(staging: Environ, tmp_path: Path) -> None:
    away = {**staging, "DATABASE_URL_POSTER": "postgresql://finance_poster@127.0.0.1:1/none"}
    assert faults("poster", away, tmp_path) == []


def required(environ: Environ, **changes: str) -> Environ:
    """In dev with REQUIRE_KMS: the signer's guard alone."""
    return {**environ, "REQUIRE_KMS": "true", **changes}


def test_a_required_signer_that_signs_and_is_registered_starts(environ: Environ, tmp_path: Path) -> None:
    assert faults("prover", required(environ), tmp_path) == []


def test_a_required_signer_that_is_away_ends_the_start_as_unavailable(environ: Environ, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="signer"):
        check_start("prover", required(environ, KMS_ENDPOINT="http://127.0.0.1:1"), tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"AUDIT_SIGNING_KMS_KEY_ID": "alias/no-such-key"}, "no-such-key"),
        ({"AUDIT_SIGNING_ALG": "rsa-sha256"}, "Remedy"),  # the key is Ed25519
    ],
    ids=["no such key", "another algorithm"],
)
def test_a_required_signer_that_cannot_sign_is_refused(
    environ: Environ, tmp_path: Path, changes: Environ, said: str
) -> None:
    told = faults("prover", required(environ, **changes), tmp_path)
    assert any(said in fault for fault in told), told


def test_a_key_that_the_registry_does_not_hold_is_refused(environ: Environ, tmp_path: Path) -> None:
    (tmp_path / "signers.json").write_text('{"signers": []}')
    told = faults("prover", required(environ, FINANCE_SIGNERS=str(tmp_path / "signers.json")), tmp_path)
    assert any("regist" in fault for fault in told), told


def archive_faults(environ: Environ, tmp_path: Path) -> list[str]:
    settings = Settings.from_env(environ, tmp_path)
    topology = load_topology(settings.topology_path, topic_prefix=settings.topic_prefix)
    return [str(fault) for fault in probe_archive(settings, topology, "archiver").faults]


def test_a_bucket_that_locks_is_accepted_and_one_without_object_lock_refused(environ: Environ, tmp_path: Path) -> None:
    assert archive_faults(environ, tmp_path) == []
    name = f"test-{uuid.uuid4().hex[:16]}"
    s3_client(environ).create_bucket(Bucket=name)
    told = archive_faults({**environ, "S3_AUDIT_BUCKET": name}, tmp_path)
    assert any("Remedy" in fault for fault in told), told


def test_a_protected_branch_needs_a_signing_path_that_answers(environ: Environ) -> None:
    finance = CommandLine(environ)
    assert finance.json("guard", "branch", "--branch", "feature/x") == {
        "ok": True,
        "branch": "feature/x",
        "protected": False,
    }
    for branch in ("main", "release/1.4", "refs/heads/main", "origin/release/1.4", " main\n"):
        told = finance.json("guard", "branch", "--branch", branch, code=3)
        assert "REQUIRE_KMS" in told["error"]["message"]
        assert "verified it" in finance.json("guard", "branch", "--branch", branch, REQUIRE_KMS="Yes")["evidence"]
    away = finance.json(
        "guard", "branch", "--branch", "main", code=4, REQUIRE_KMS="1", KMS_ENDPOINT="http://127.0.0.1:1"
    )
    assert away["error"]["kind"] == "unavailable"


def test_the_doctor_says_what_it_saw_and_refuses_what_a_start_would(environ: Environ) -> None:
    finance = CommandLine(environ)
    told = {check["name"]: check for check in finance.json("doctor", code=1)["checks"]}
    assert told["signer answers"]["state"] == told["bucket locks"]["state"] == "sound"
    assert told["database as the poster"]["evidence"].startswith("finance_poster, ")
    assert told["exports reach the archive"]["state"] == "found"  # nothing was archived in this test
    assert told["security engineer and finance lead signed off"]["state"] == "not checkable"
    away = finance.json("doctor", code=1, KAFKA_BROKERS="127.0.0.1:1", DATABASE_URL_POSTER="postgresql://127.0.0.1:1/x")
    states = {check["name"]: check["state"] for check in away["checks"]}
    assert states["topics as the topology"] == states["database as the poster"] == "unavailable"
    told = {check["name"]: check["state"] for check in finance.json("doctor", "--production", code=3)["checks"]}
    assert told["settings of every process"] == told["signing path required"] == "refused"
    as_superuser(environ, "GRANT UPDATE ON entries TO finance_poster")
    assert "may UPDATE entries" in str(finance.json("doctor", code=3))


def test_a_process_that_is_refused_says_every_fault_and_touches_nothing(environ: Environ) -> None:
    changes = {"FINANCE_ENV": "production", "NODE_ENV": "staging", "DEV_SKIP_MTLS": "yes"}
    said = CommandLine(environ)("run", "poster", code=3, **changes)
    assert "poster does not start, " in said
    assert sum(line.startswith(" - ") for line in said.splitlines()) >= 5
    with psycopg.connect(environ["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM shards").fetchone() == (0,)
