"""The drills on real servers: each way back ends in the same ledger, says so under a signature, and names what is lost.

One ledger whose history three keys signed, one of them a MAC key, with a base backup half-way and a stream of WAL;
`finance drill all` on it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from finance.recovery.drill.leftovers import holding, sweep_server
from finance.workshop.devstack import Stack
from ledger_core.signing.signatures import PublicKey
from tests.conftest import STATE_ROOT
from tests.support import buckets, topics
from tests.support.backups import finance, lsn, own_server, streaming, until_stored
from tests.support.key_tables import in_a_file, with_a_mac
from tests.support.route import ROOT, with_limit
from tests.support.waits import until

pytestmark = pytest.mark.services

RESTORING = ("archive", "topic", "pitr")
MAC = "finance-mac-v1"


@dataclass(frozen=True)
class Drilled:
    """The ledger, its database's rows before the drill, and what the drill told."""

    environ: dict[str, str]
    before: dict[str, Any]
    told: dict[str, Any]
    folder: Path

    def way(self, name: str) -> dict[str, Any]:
        return next(way for way in self.told["ways"] if way["way"] == name)

    def drill(self, way: str, *arguments: str, code: int = 0, **changes: str) -> dict[str, Any]:
        report = ("--report", str(self.folder))
        into = () if way in ("pitr", "keys") else ("--into", self.environ["DATABASE_URL"])
        return finance({**self.environ, **changes}, "drill", way, *report, *into, *arguments, code=code)


@pytest.fixture(scope="module")
def drilled(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drilled]:
    folder = tmp_path_factory.mktemp("drills")
    (folder / "topology.yaml").write_text(with_limit(topics.TOPOLOGY.read_text(), "range_idle_seconds", 1))
    prefix = f"t{uuid.uuid4().hex[:8]}."
    created = topics.create_topics(stack.env["KAFKA_BROKERS"], prefix)
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    with own_server(stack, "drill") as (_, server):
        environ = {
            **inherited,
            **stack.env,
            **server,
            "FINANCE_TOPIC_PREFIX": prefix,
            "FINANCE_TOPOLOGY": str(folder / "topology.yaml"),
            "S3_AUDIT_BUCKET": buckets.create_bucket(stack.env),
            "BACKUP_PARTIAL_SECONDS": "1",
            "FINANCE_SIGNERS": str(shutil.copy(stack.env["FINANCE_SIGNERS"], folder / "signers.json")),
        }
        rsa = {"AUDIT_SIGNING_ALG": "rsa-sha256", "AUDIT_SIGNING_KMS_KEY_ID": environ["KMS_KEY_RSA"]}
        finance(environ, "migrate")
        with streaming(environ):
            finance(environ, "publish", "--synthetic", "200")
            finance({**environ, **rsa}, "run", "all", "--until-idle")
            finance(environ, "publish", "--synthetic", "100", "--seed", "3")
            finance(with_a_mac(stack.env, environ, rsa, folder / "keys", MAC), "run", "all", "--until-idle")
            finance(environ, "backup", "create")
            finance(environ, "publish", "--synthetic", "200", "--seed", "2")
            finance(environ, "run", "all", "--until-idle")
            finance(environ, "audit", "export")
            until_stored(environ, lsn(environ["DATABASE_URL"]))
        environ = in_a_file(environ | {f"OUTGOING_{name}": value for name, value in rsa.items()}, folder / "keys")
        before = tables(environ["DATABASE_URL"])
        told = finance(environ, "drill", "all", "--report", str(folder), code=None)
        yield Drilled(environ, before, told, folder)
    topics.delete_topics(stack.env["KAFKA_BROKERS"], created)


def tables(url: str) -> dict[str, Any]:
    """What a drill must leave alone: every table's rows, counted and summed up, but for the outbox."""
    with psycopg.connect(url) as connection:
        names = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        return {
            name: connection.execute(
                f"SELECT count(*), sum(hashtext(t::text)::bigint) FROM {name} t".encode()
            ).fetchone()
            for name in sorted(names)
            if name != "audit_outbox"
        }


def count(url: str, query: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])


@pytest.mark.parametrize("way", RESTORING)
def test_each_way_back_ends_in_the_same_ledger_and_makes_every_published_proof_again(
    drilled: Drilled, way: str
) -> None:
    result, url = drilled.way(way), drilled.environ["DATABASE_URL"]
    assert result["findings"] == []
    assert result["sound"]
    assert result["counts"]["proof_hashes_reproduced"] == str(count(url, "SELECT count(*) FROM proofs"))
    assert result["counts"]["entries_compared"] == "500"
    assert "macs_unchecked" not in result["counts"], "whoever restores asks the key service, too"
    with psycopg.connect(url) as connection:
        heads = connection.execute(
            "SELECT shard, seq::text, encode(head_hash, 'hex') FROM shards ORDER BY 1"
        ).fetchall()
        sums = connection.execute(
            "SELECT currency, sum(debits)::text, sum(credits)::text FROM balances GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert [(s["shard"], s["seq"], s["head_hash"]) for s in result["shards"]] == heads
    assert [(s["currency"], s["debits"], s["credits"]) for s in result["balances"]] == sums
    assert (
        {s["behind_entries"] for s in result["shards"]} == {s["behind_milliseconds"] for s in result["shards"]} == {"0"}
    )
    assert int(result["audit"]["seq"]) > 0
    assert ("verdict log: the archive" in result["sources"]) == (way == "topic")
    assert {step["phase"] for step in result["steps"]} == {"restore", "check"}


def test_every_key_verifies_what_it_signed_and_those_that_are_named_sign(drilled: Drilled) -> None:
    result = drilled.way("keys")
    assert result["findings"] == []
    assert {place for key in result["keys"] for place in key["statements"]} == {
        "database", "archive", "audit_chain", "audit_exports",
    }  # fmt: skip
    by_key = {
        key["signer_kid"]: {place for place, n in key["statements"].items() if n != "0"} for key in result["keys"]
    }
    assert by_key.pop(MAC) == {"database", "archive"}, "it signs proofs alone"
    assert all(places == set(result["keys"][0]["statements"]) for places in by_key.values())
    assert sorted(key["alg"] for key in result["keys"] if key["signs_now"]) == ["ed25519", "rsa-sha256"]


def test_a_named_key_that_does_not_answer_is_a_finding(drilled: Drilled) -> None:
    gone, keys = str(uuid.uuid4()), drilled.folder / "keys" / "gone.toml"
    present = Path(drilled.environ["SIGNING_KEYS_FILE"]).read_text()
    keys.write_text(f'{present}\n[cosigner]\nkind = "kms"\nkey = "{gone}"\nalgorithm = "ed25519"\n')
    told = drilled.drill("keys", code=1, SIGNING_KEYS_FILE=str(keys))
    (found,) = told["ways"][0]["findings"]
    assert gone in found["message"]


def test_what_a_drill_lacks_is_refused_at_once_before_hours_of_work(drilled: Drilled) -> None:
    made = set(drilled.folder.iterdir())
    told = drilled.drill("all", code=3, FINANCE_STACK="none", BACKUP_PLACE="", KAFKA_BROKERS="")
    assert all(name in told["error"]["message"] for name in ("BACKUP_PLACE is not set (pitr)", "KAFKA_BROKERS"))
    assert set(drilled.folder.iterdir()) == made


def kill_drill(drilled: Drilled, way: str, made: Callable[[], bool]) -> None:
    """Start a drill, and kill it once it has made something."""
    server = ("--into", drilled.environ["DATABASE_URL"]) if way != "pitr" else ()
    command = [sys.executable, "-m", "finance", "drill", way, "--report", str(drilled.folder), *server]
    running = subprocess.Popen(
        command, cwd=ROOT, env=drilled.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        until("scratch servers were made", lambda: made() or running.poll() is not None)
        assert running.poll() is None, "it ended before it was killed"
    finally:
        running.kill()
        running.wait()


def databases_of_drills(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'finance\\_drill\\_%'")
        return {name for (name,) in rows}


def places_of_drills() -> set[Path]:
    return {*STATE_ROOT.glob("drill-*.lock"), *STATE_ROOT.glob("restored/drill-*")}


def test_what_a_killed_drill_left_the_next_one_removes_and_nothing_else(drilled: Drilled) -> None:
    url, strangers = drilled.environ["DATABASE_URL"], "finance_drill_archive_notours"
    before = places_of_drills()
    kill_drill(drilled, "archive", lambda: bool(databases_of_drills(url)))
    kill_drill(drilled, "pitr", lambda: any(place.joinpath("postmaster.pid").exists() for place in places_of_drills()))
    (server,) = [place / "postmaster.pid" for place in places_of_drills() - before if place.suffix != ".lock"]
    pid = int(server.read_text().splitlines()[0])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {strangers}".encode())
        (left,) = databases_of_drills(url) - {strangers}
        living = left[:-8] + "0a0b0c0d"
        connection.execute(f"CREATE DATABASE {living}".encode())
        with holding(url, living):
            assert drilled.drill("archive")["ok"]
        assert databases_of_drills(url) == {strangers, living}
        assert places_of_drills() == before
        assert not psutil.pid_exists(pid)
        assert sweep_server(url) == [living], "a drill that ended without a word"
        connection.execute(f"DROP DATABASE {strangers}".encode())


def test_the_report_is_signed_its_page_stands_alone_and_the_live_ledger_was_only_read(drilled: Drilled) -> None:
    environ, told = drilled.environ, drilled.told
    assert told["ok"]
    assert tables(environ["DATABASE_URL"]) == drilled.before
    assert finance(environ, "verify", "drill", told["report"])["counts"]["signatures"] == 1
    page = Path(told["page"]).read_text()
    assert told["hash"] in page
    assert told["sha256"] in page
    assert not re.search(r"(src|href)=.?(https?:|//)|<script|@import|url\(", page)
    assert not list((STATE_ROOT / "restored").glob(f"drill-{told['drill_id']}*"))
    altered = drilled.folder / "altered.json"
    altered.write_bytes(Path(told["report"]).read_bytes().replace(b'"archive"', b'"topic"', 1))
    assert finance(environ, "verify", "drill", str(altered), code=1)["findings"][0]["code"] == "drill.form"


def test_the_drill_is_an_event_of_the_audit_chain_and_the_doctor_knows_it(drilled: Drilled) -> None:
    environ, told = drilled.environ, drilled.told
    finance(environ, "run", "all", "--until-idle")
    with psycopg.connect(environ["DATABASE_URL"]) as connection:
        rows = connection.execute(
            "SELECT actor_id, payload FROM audit_events WHERE event_type = 'drill.completed' ORDER BY seq"
        ).fetchall()
    actor_id, payload = rows[0]
    assert actor_id.startswith("operator:")
    assert (payload["drill_id"], payload["report_hash"]) == (told["drill_id"], told["hash"])
    assert payload["report_sha256"] == told["sha256"]
    assert [way["way"] for way in payload["ways"]] == ["archive", "topic", "pitr", "keys"]
    checks = finance(environ, "doctor", code=None)["checks"]
    assert {c["name"]: c["state"] for c in checks}["recovery drill within 35 days"] == "sound"
    assert finance(environ, "verify", "audit")["ok"]


def test_a_lost_object_of_the_archive_is_named_and_the_report_is_signed_all_the_same(drilled: Drilled) -> None:
    client, bucket = buckets.s3_client(drilled.environ), drilled.environ["S3_AUDIT_BUCKET"]
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    key = sorted(item["Key"] for item in listed if "/batches/" in item["Key"])[-1]
    marker = client.delete_object(Bucket=bucket, Key=key)["VersionId"]
    try:
        told = drilled.drill("archive", code=1)
    finally:
        client.delete_object(Bucket=bucket, Key=key, VersionId=marker)
    (way,) = told["ways"]
    assert {(f["code"], f["place"]) for f in way["findings"]} == {("archive.delete_marker", key)}
    assert finance(drilled.environ, "verify", "drill", told["report"])["ok"]
    assert key in Path(told["page"]).read_text()


def test_a_missing_segment_of_wal_is_named(drilled: Drilled, tmp_path: Path) -> None:
    place = tmp_path / "place"
    shutil.copytree(drilled.environ["BACKUP_PLACE"], place)
    segment = sorted(place.rglob("*/wal/**/*.age"))[-1]
    for path in place.rglob(f"*{segment.name.split('-')[0][:24]}*"):
        path.unlink()
    told = drilled.drill("pitr", code=1, BACKUP_PLACE=str(place))
    assert told["ways"][0]["findings"]
    assert segment.name[:24] in json.dumps(told["ways"][0]["findings"])


def test_a_key_that_was_exchanged_in_the_registry_is_named_and_one_that_signs_now_stops_the_drill(
    drilled: Drilled, tmp_path: Path
) -> None:
    registry = json.loads(Path(drilled.environ["FINANCE_SIGNERS"]).read_text())
    (old,) = [signer for signer in registry["signers"] if signer["algorithm"] == "rsa-sha256"]
    old["public_key_pem"] = PublicKey.from_key(generate_private_key(65537, 2048).public_key()).pem
    exchanged = tmp_path / "signers.json"
    exchanged.write_text(json.dumps(registry))
    told = drilled.drill("keys", "--signers", str(exchanged), code=1)
    codes = {finding["code"] for finding in told["ways"][0]["findings"]}
    assert {"proof.signature", "audit.signature"} <= codes
    assert old["signer_kid"] in json.dumps(told["ways"][0]["findings"])
    registry["signers"] = [old]
    exchanged.write_text(json.dumps(registry))
    refused = drilled.drill("keys", "--signers", str(exchanged), code=3)
    assert "ed25519" in refused["error"]["message"] or "registry" in refused["error"]["message"]
