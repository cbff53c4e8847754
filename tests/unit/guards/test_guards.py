"""The guards of a start, case by case: what was given, the exit code, and what is said. All faults at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from finance.cli.main import run
from finance.guards.checklist import BY_HAND, Check, Result, checks, exit_code
from finance.guards.model import EVERYBODY, Given, GuardFault, one_line
from finance.guards.probes import Probed
from finance.guards.settings_guards import SETTINGS_GUARDS, settings_faults
from finance.settings.variables import PROCESSES
from ledger_core.errors import Refused, Unavailable
from tests.support.guard_environments import CERTIFICATE, RANDOM, sound

ROOT: Final = Path(__file__).parents[3]
POSTER: Final = "DATABASE_URL_POSTER"

# By a signing proxy instead of KMS.
PROXY: Final[dict[str, str | None]] = {
    "REQUIRE_KMS": None,
    "AUDIT_SIGNING_KMS_KEY_ID": None,
    "REQUIRE_SIGNING_PROXY": "1",
    "SIGNING_PROXY_URL": "https://proxy",
    "SIGNING_PROXY_API_KEY": RANDOM,
}

# By a keys file.
FILE: Final[dict[str, str | None]] = {"AUDIT_SIGNING_KMS_KEY_ID": None, "AUDIT_SIGNING_ALG": None}
KMS_TABLE: Final = '[signing]\nkind = "kms"\nkey = "alias/finance"\n'

# (who starts, what is spoilt: None takes a variable away, what is said)
CASES: Final[tuple[tuple[str, dict[str, str | None], str], ...]] = (
    ("poster", {"FINANCE_ENV": "prod"}, "FINANCE_ENV is 'prod'"),
    ("poster", {"FINANCE_ENV": None}, "NODE_ENV is production and FINANCE_ENV is not set"),
    ("poster", {"FINANCE_ENV": "staging"}, "NODE_ENV is production and FINANCE_ENV is staging"),
    ("poster", {"NODE_ENV": "development"}, "NODE_ENV is development and FINANCE_ENV is production"),
    ("poster", {"FINANCE_DOMAIN": None}, "FINANCE_DOMAIN is not set"),
    ("poster", {"FINANCE_DOMAIN": "example.com"}, "FINANCE_DOMAIN is not set to a domain of yours"),
    ("poster", {"FINANCE_DOMAIN": "a b"}, "FINANCE_DOMAIN is 'a b'"),
    ("poster", {"REQUIRE_KMS": None}, "neither REQUIRE_KMS nor REQUIRE_SIGNING_PROXY is true"),
    ("poster", {"REQUIRE_KMS": "false"}, "neither REQUIRE_KMS nor REQUIRE_SIGNING_PROXY is true"),
    ("poster", {"REQUIRE_KMS": "0", "REQUIRE_SIGNING_PROXY": "No"}, "neither REQUIRE_KMS nor REQUIRE_SIGNING_PROXY"),
    ("poster", {"REQUIRE_KMS": "ture"}, "REQUIRE_KMS is 'ture'"),
    ("poster", {"DEV_SKIP_MTLS": "off"}, "DEV_SKIP_MTLS is 'off'"),
    ("prover", {"AUDIT_SIGNING_KMS_KEY_ID": None}, "AUDIT_SIGNING_KMS_KEY_ID is not set, and REQUIRE_KMS is true"),
    ("prover", {"AUDIT_SIGNING_KMS_KEY_ID": "  "}, "AUDIT_SIGNING_KMS_KEY_ID is not set"),
    ("prover", {"REQUIRE_KMS": "no", "REQUIRE_SIGNING_PROXY": "Y"}, "SIGNING_PROXY_URL is not set"),
    ("prover", {**PROXY, "SIGNING_PROXY_API_KEY": None, "FINANCE_TLS_DIR": None},
     "SIGNING_PROXY_API_KEY is not set, and no client certificate is given either"),
    ("prover", {**PROXY, "SIGNING_PROXY_URL": "http://p"}, "SIGNING_PROXY_URL is 'http://p'"),
    ("prover", {"SIGNING_PROXY_URL": "https://p"}, "more than one signing key is named"),
    ("prover", {"AUDIT_SIGNING_KMS_KEY_ID": None, "AUDIT_SIGNING_KEY_FILE": "k"}, "names a key in a file"),
    ("prover", {"AUDIT_SIGNING_KMS_KEY_ID": None, "AUDIT_SIGNING_KEY_FILE": "k"}, "and a key of kind local signs"),
    ("poster", {"OUTGOING_AUDIT_SIGNING_KEY_FILE": "k"}, "no variable names that key any more"),
    ("prover", {"SIGNING_KEYS_FILE": "outgoing.toml"}, "SIGNING_KEYS_FILE and AUDIT_SIGNING_ALG are both set"),
    ("prover", FILE | {"SIGNING_KEYS_FILE": "/nowhere/keys.toml"}, "/nowhere/keys.toml cannot be read"),
    ("poster", FILE | {"SIGNING_KEYS_FILE": "outgoing.toml"}, "`key` of [outgoing] in "),
    ("prover", FILE | {"SIGNING_KEYS_FILE": "cosigner.toml"}, "REQUIRE_KMS is true, and a key of kind local signs"),
    ("poster", FILE | {"SIGNING_KEYS_FILE": "proxy.toml"}, "proxy.toml is not kms, and REQUIRE_KMS is true"),
    ("prover", {"AUDIT_SIGNING_KIND": "hsm"}, "AUDIT_SIGNING_KIND is 'hsm'"),
    ("prover", {"AUDIT_SIGNING_ALG": "hmac-sha256"}, "proofs would carry a MAC alone, which no stranger can check"),
    ("prover", {"AUDIT_SIGNING_ALG": "hmac-sha256", "AUDIT_SIGNING_MAC_WAIVER": "Ada"}, "does not say who waives"),
    ("prover", {"AUDIT_SIGNING_ALG": "hmac-sha256", "AUDIT_SIGNING_MAC_WAIVER": ": why"}, "does not say who waives"),
    ("prover", {"AUDIT_SIGNING_ALG": "hmac-sha256", "AUDIT_SIGNING_MAC_WAIVER": "Ada: internal"},
     "is a MAC key, which cannot sign a checkpoint"),
    ("archiver", {"AUDIT_SIGNING_ALG": "hmac-sha256"}, "is a MAC key, which cannot sign a manifest"),
    ("notary", {"AUDIT_SIGNING_ALG": "hmac-sha256"}, "is a MAC key, which cannot sign an event of the audit chain"),
    ("prover", {"AUDIT_SIGNING_ALG": "RSA-SHA256"}, "AUDIT_SIGNING_ALG is 'RSA-SHA256'"),
    ("prover", {"KMS_ENDPOINT": "http://kms:4566"}, "KMS_ENDPOINT is plain http"),
    ("poster", {"FINANCE_ADMIN_TOKEN_FILE": "/nowhere/token"}, "/nowhere/token cannot be read"),
    ("poster", {"FINANCE_ADMIN_TOKEN_FILE": "open", "SENTRY_DSN_FILE": "/nowhere"}, "everybody may read"),
    ("archiver", {"S3_AUDIT_SECRET_FILE": "open"}, "S3_AUDIT_SECRET and S3_AUDIT_SECRET_FILE are both set"),
    ("poster", {"FINANCE_SIGNERS": None}, "FINANCE_SIGNERS is not set, and no key signs that is not registered"),
    ("prover", {"FINANCE_SIGNERS": None}, "FINANCE_SIGNERS is not set, and no key signs that is not registered"),
    ("prover", {"FINANCE_SIGNERS": "/nowhere/signers.json"}, "/nowhere/signers.json cannot be read"),
    ("poster", {"DEV_SKIP_MTLS": "true"}, "DEV_SKIP_MTLS is true"),
    ("poster", {"DEV_SKIP_MTLS": "YES"}, "DEV_SKIP_MTLS is true"),
    ("poster", {"DEV_SKIP_MTLS": "1"}, "DEV_SKIP_MTLS is true"),
    ("poster", {"FINANCE_TLS_DIR": None}, "FINANCE_TLS_DIR is not set, and certificates are needed on every hop"),
    ("poster", {POSTER: None}, "DATABASE_URL_POSTER is not set, and the poster has a database role of its own"),
    ("poster", {POSTER: "postgresql://finance_poster@db/finance"}, "DATABASE_URL_POSTER has sslmode=prefer"),
    ("poster", {POSTER: "postgresql://finance_poster@db/f?sslmode=require"}, "has sslmode=require"),
    ("poster", {POSTER: "postgresql://finance_poster@db/f?sslmode=verify-full"}, "has no sslrootcert"),
    ("poster", {POSTER: "postgresql://finance_poster@db/f?sslmode=verify-full&sslrootcert=c"}, "no client certificate"),
    ("poster", {POSTER: f"postgresql://postgres@db/finance?{CERTIFICATE}"}, "DATABASE_URL_POSTER logs in as postgres"),
    ("poster", {POSTER: f"postgresql://db/finance?{CERTIFICATE}"}, "DATABASE_URL_POSTER logs in as the OS user"),
    ("poster", {POSTER: "postgresql://finance_poster@db/f?sslmod=x"}, "DATABASE_URL_POSTER is not a Postgres address"),
    ("poster", {"DATABASE_URL": "postgresql://finance_migrator@db/finance"}, "the owner's address, is given"),
    ("poster", {"KAFKA_BROKERS": None}, "KAFKA_BROKERS is not set"),
    ("archiver", {"S3_AUDIT_BUCKET": None}, "S3_AUDIT_BUCKET is not set, and the archiver stores audit batches"),
    ("archiver", {"S3_AUDIT_REGION": None}, "S3_AUDIT_REGION is not set"),
    ("archiver", {"S3_AUDIT_ACCESS_KEY": None}, "S3_AUDIT_ACCESS_KEY is not set"),
    ("archiver", {"S3_AUDIT_SECRET": None}, "S3_AUDIT_SECRET is not set"),
    ("archiver", {"S3_AUDIT_ENDPOINT": "http://s3:9000"}, "S3_AUDIT_ENDPOINT is not https"),
    ("archiver", {"S3_AUDIT_ENDPOINT": "HTTP://s3:9000"}, "S3_AUDIT_ENDPOINT is not https"),
    ("prover", {"KMS_ENDPOINT": "Http://kms:4566"}, "KMS_ENDPOINT is plain http"),
    ("poster", {"PROM_ENDPOINT": "http://[::1"}, "PROM_ENDPOINT is not an http(s) address"),
    ("poster", {"METRICS_HOST": "0.0.0.0"}, "0.0.0.0 is not a loopback address, and DOOR_TLS_DIR is not set"),
    ("poster", {"DOOR_CONFIG": "door.yaml"}, "DOOR_TLS_DIR and DOOR_CONFIG come together"),
    ("poster", {"SENTRY_DSN": "sentry"}, "SENTRY_DSN is not an http(s) address"),
    ("poster", {"SENTRY_DSN": "http://key@sentry/1"}, "SENTRY_DSN is not https"),
    ("poster", {"OTEL_COLLECTOR_URL": "collector:4317"}, "OTEL_COLLECTOR_URL is not an http(s) address"),
    ("poster", {"PROM_ENDPOINT": "https://"}, "PROM_ENDPOINT is not an http(s) address"),
    ("poster", {"FINANCE_ADMIN_TOKEN": "admin"}, "FINANCE_ADMIN_TOKEN is short or guessable"),
    ("poster", {"FINANCE_ADMIN_TOKEN": "a" * 40}, "FINANCE_ADMIN_TOKEN is short or guessable"),
    ("poster", {"FINANCE_ADMIN_TOKEN": RANDOM, "S3_AUDIT_SECRET": RANDOM}, "is used for something else"),
    ("poster", {"PORT": "70000"}, "PORT is '70000'"),
    ("poster", {"PORT": "http"}, "PORT is 'http'"),
)  # fmt: skip


def environment(folder: Path, process: str, changes: dict[str, str | None]) -> dict[str, str]:
    changed = {**sound(folder), **changes}
    for table in ("outgoing", "cosigner"):
        (folder / f"{table}.toml").write_text(f'{KMS_TABLE}[{table}]\nkind = "local"\nkey = "k.pem"\n')
    (folder / "proxy.toml").write_text('[signing]\nkind = "proxy"\nkey = "https://p"\n')
    (folder / "kms.toml").write_text(KMS_TABLE)
    (folder / "open").write_text(RANDOM)
    (folder / "open").chmod(0o644)
    others = {f"DATABASE_URL_{role.upper()}" for role in (*PROCESSES, "reading")} - {f"DATABASE_URL_{process.upper()}"}
    return {name: value for name, value in changed.items() if value is not None and name not in others}


@pytest.mark.parametrize(("process", "changes", "said"), CASES, ids=[f"{p} {c}"[:80] for p, c, _ in CASES])
def test_a_misconfigured_start_is_refused_with_exit_3_and_the_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    process: str,
    changes: dict[str, str | None],
    said: str,
) -> None:
    monkeypatch.setattr(os, "environ", environment(tmp_path, process, changes))
    monkeypatch.chdir(tmp_path)
    assert run(["run", process]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"finance: refused: {process} does not start, ")
    faults = [line for line in lines if line.startswith(" - ")]
    assert any(said in line and ". Remedy: " in line for line in faults), faults
    assert f"{len(faults)} fault" in lines[0]
    assert lines[-1].startswith("Remedy: mend all of them")


def test_there_are_at_least_forty_cases_and_every_guard_has_one() -> None:
    assert len(CASES) >= 50
    assert len(SETTINGS_GUARDS) == len(set(SETTINGS_GUARDS)) >= 17


@pytest.mark.parametrize("process", PROCESSES)
def test_a_sound_production_has_no_fault(tmp_path: Path, process: str) -> None:
    assert settings_faults(Given.of(process, environment(tmp_path, process, {}), tmp_path)) == []


def test_a_signing_proxy_will_do_instead_of_kms(tmp_path: Path) -> None:
    changes = {**PROXY, "FINANCE_TLS_DIR": None, "KAFKA_TLS_CERT_FILE": "c", "KAFKA_TLS_KEY_FILE": "k"}
    assert settings_faults(Given.of("prover", environment(tmp_path, "prover", changes), tmp_path)) == []


def test_a_keys_file_will_do_instead_of_variables(tmp_path: Path) -> None:
    changes = FILE | {"SIGNING_KEYS_FILE": "kms.toml"}
    assert settings_faults(Given.of("prover", environment(tmp_path, "prover", changes), tmp_path)) == []


def test_a_secret_from_a_file_is_as_good_as_a_variable(tmp_path: Path) -> None:
    environ = environment(tmp_path, "archiver", {"S3_AUDIT_SECRET": None, "S3_AUDIT_SECRET_FILE": "secret"})
    (tmp_path / "secret").write_text(RANDOM + "\n")
    (tmp_path / "secret").chmod(0o600)
    assert settings_faults(Given.of("archiver", environ, tmp_path)) == []


def test_every_wrong_file_is_told_at_once(tmp_path: Path) -> None:
    wrong: dict[str, str | None] = {"FINANCE_ADMIN_TOKEN_FILE": "open", "SENTRY_DSN_FILE": "/nowhere"}
    assert len(settings_faults(Given.of("poster", environment(tmp_path, "poster", wrong), tmp_path))) == 2


def test_all_processes_at_once_have_no_fault_either(tmp_path: Path) -> None:
    given = Given.of(EVERYBODY, {**sound(tmp_path), "DATABASE_URL": "postgresql://finance_migrator@db/f"}, tmp_path)
    assert settings_faults(given) == []


@pytest.mark.parametrize("spelling", ["true", "TRUE", "True", "1", "yes", "Yes", "y", "Y", " true "])
def test_a_truth_is_spelled_in_four_ways_and_any_case(tmp_path: Path, spelling: str) -> None:
    given = Given.of("poster", environment(tmp_path, "poster", {"REQUIRE_KMS": spelling}), tmp_path)
    assert given.is_true("REQUIRE_KMS")
    assert settings_faults(given) == []


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    spoilt = {"REQUIRE_KMS": None, "DEV_SKIP_MTLS": "y", "KAFKA_BROKERS": None, POSTER: None, "PORT": "x"}
    faults = settings_faults(Given.of("poster", environment(tmp_path, "poster", spoilt), tmp_path))
    assert len(faults) == 5
    assert all(fault.remedy for fault in faults)


def test_a_process_is_not_asked_for_what_another_needs(tmp_path: Path) -> None:
    gone = dict.fromkeys(("S3_AUDIT_BUCKET", "S3_AUDIT_SECRET"))
    assert settings_faults(Given.of("poster", environment(tmp_path, "poster", gone), tmp_path)) == []


def test_dev_is_left_alone_but_for_what_it_requires_itself(tmp_path: Path) -> None:
    assert settings_faults(Given.of("prover", {}, tmp_path)) == []
    told = settings_faults(Given.of("prover", {"REQUIRE_KMS": "true"}, tmp_path))
    assert [fault.message for fault in told] == ["AUDIT_SIGNING_KMS_KEY_ID is not set, and REQUIRE_KMS is true"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("# S3_AUDIT_SECRET: a secret of the archive", "topology.yaml contains the value of S3_AUDIT_SECRET"),
        (f"# api_key: '{RANDOM}'", "contains a secret (assigned-secret)"),
        ("# postgresql://finance:" + RANDOM[:12] + "@db/x", "contains a secret (password-in-address)"),
    ],
)
def test_a_secret_in_the_topology_is_refused(tmp_path: Path, line: str, said: str) -> None:
    environ = environment(tmp_path, "poster", {})
    with (tmp_path / "topology.yaml").open("a") as file:
        file.write(line + "\n")
    (fault,) = settings_faults(Given.of("poster", environ, tmp_path))
    assert said in fault.message
    assert RANDOM not in str(fault)


def test_no_fault_shows_a_password() -> None:
    assert one_line(f"x postgresql://u:{RANDOM}@db/y\nz") == "x postgresql://u:***@db/y z"
    assert one_line("redis://:p@ss@cache/0") == "redis://:***@cache/0"


def test_the_doctor_tells_what_it_could_not_ask_apart_from_what_it_found() -> None:
    def away() -> Probed:
        raise Unavailable("postgres", "no route")

    def no() -> Probed:
        raise Refused("wrong", remedy="mend it")

    fault = GuardFault("a", "b")
    results = [
        Check("x", away).result(),
        Check("x", no).result(),
        Check("x", lambda: Probed("e", (fault,)), False).result(),
    ]
    assert [result.state for result in results] == ["unavailable", "refused", "found"]
    assert exit_code(results) == 3
    assert exit_code([results[0], results[2]]) == 1
    assert exit_code([results[0]]) == 4
    assert exit_code([Result("x", "sound", "e"), Result("y", "not checkable", "e")]) == 0


def test_every_line_of_the_runbooks_checklist_is_checked_or_said_to_be_for_people(tmp_path: Path) -> None:
    section = (ROOT / "docs" / "runbook" / "15-promotion.md").read_text("utf-8")
    named = {check.name for check in checks(Given.of(EVERYBODY, sound(tmp_path), tmp_path))} | {
        name for name, _ in BY_HAND
    }
    lines = [line for line in section.splitlines() if line.startswith("- [ ]")]
    assert len(lines) >= 8
    unknown = [line for line in lines if not any(f"`{name}`" in line or f"*{name}*" in line for name in named)]
    assert unknown == []
    assert {name for name in named if f"`{name}`" not in section and f"*{name}*" not in section} == set()
