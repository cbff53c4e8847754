"""A key's life on the real servers, by the commands: three rotations over three kinds of key service, back again, an
emergency, a theft. Afterwards everything that was ever signed verifies, and what a thief signs does not."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import psycopg
import pytest

from finance.workshop.devstack import Stack
from ledger_core.proving.range_proof import assemble_proof, parse_payload
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from producers.signing.local import LocalKey
from tests.support.hsm import Token, module
from tests.support.key_life import Life, Variables, approve_by_two, names_a_key
from tests.support.signing import kms_admin
from tests.support.signing_proxy import API_KEY, SigningProxy, serving
from tests.support.throwaway_ca import ThrowawayCa
from tests.support.transit_server import TransitServer, transit_server

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def transit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransitServer]:
    with transit_server(tmp_path_factory.mktemp("transit")) as running:
        yield running


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    made = Token.make(tmp_path_factory.mktemp("hsm"), "rotation")
    made.make_key("emergency", "ed25519")
    return made


@pytest.fixture
def life(environ: Variables, transit: TransitServer, token: Token, stack: Stack, tmp_path: Path) -> Life:
    connections = {
        "TRANSIT_URL": transit.address,
        "TRANSIT_TOKEN": transit.token,
        "PKCS11_MODULE": module(),
        "PKCS11_TOKEN": token.label,
        "PKCS11_PIN": token.pin,
        "SOFTHSM2_CONF": os.environ["SOFTHSM2_CONF"],
    }
    return Life({**environ, **connections}, tmp_path)


def new_kms_key(stack: Stack) -> str:
    made = kms_admin(stack.env).create_key(KeySpec="ECC_NIST_EDWARDS25519", KeyUsage="SIGN_VERIFY")
    return str(made["KeyMetadata"]["KeyId"])


def key(kid: str, kind: str, key_id: str, alg: str) -> tuple[str, ...]:
    return ("--kid", kid, "--kind", kind, "--key", key_id, "--alg", alg)


def created(life: Life, *chosen: str) -> tuple[str, ...]:
    """Make the key by command; the options that announce it."""
    told = life.rotate("create", *chosen)
    assert (told["made"], told["told"]) == (True, True)
    if "transit" in chosen:
        chosen = (*chosen, "--key-version", "1")
    assert told["next"] == " ".join(("finance rotate begin", *chosen))
    return chosen


def rotated(life: Life, *chosen: str, api_key: str = "") -> None:
    """One whole rotation, with postings before, between and after. `api_key`: what an operator adds to the file."""
    begun = life.rotate("begin", *chosen, "--overlap-days", "0")
    assert begun["step"] == "announced"
    early = life.rotate("deploy", code=3)
    assert "not on the audit chain yet" in early["error"]["message"]
    life.post()  # the notary of the outgoing key signs the announcement
    said = ("--address", chosen[5]) if "proxy" in chosen else ()  # no credential goes where an event says
    if said:
        assert "and these settings do not" in life.rotate("deploy", code=3)["error"]["message"]
    deployed = life.rotate("deploy", *said)
    life.with_keys(deployed["keys_file"] + api_key)
    life.post()
    proved = life.rotate("prove")
    assert proved["proof"]["signer_kid"] == begun["incoming"]
    finished = life.rotate("finish")
    assert finished["step"] == "retired"
    life.with_variables({n: v for n, v in deployed["variables"].items() if "OUTGOING_" not in n})


def test_three_rotations_over_three_kinds_and_back_leave_everything_verifying(life: Life, tmp_path: Path) -> None:
    rotated(life, *created(life, *key("kms-2", "kms", f"alias/finance-{uuid.uuid4().hex[:12]}", "ed25519")))
    first = life.proof_kids()[0]
    rotated(life, *created(life, *key("transit-3", "transit", "finance", "ed25519")))
    rotated(life, *created(life, *key("hsm-4", "pkcs11", "finance", "rsa-sha256")))
    assert list(dict.fromkeys(life.proof_kids())) == [first, "kms-2", "transit-3", "hsm-4"]
    life.assert_sound()

    made = "SELECT payload->>'signer_kid' FROM audit_events WHERE event_type = 'signer.created' ORDER BY seq"
    assert life.kids(made) == ["kms-2", "transit-3", "hsm-4"]
    announcements = "SELECT signer_kid FROM audit_events WHERE payload->>'step' = 'announced' ORDER BY seq"
    assert life.kids(announcements) == [first, "kms-2", "transit-3"], "each is announced by the key before it"
    assert life.registered("kms-2").retired_at is not None
    assert_theft_is_found(life, "kms-2", tmp_path)
    assert_revocation_cuts(life, "kms-2")

    back = life.rotate("rollback", "--reason", "the HSM is to be moved")
    assert back["step"] == "rolling_back"
    assert life.registered("transit-3").retired_at is None
    refused = life.rotate("finish", code=3)
    assert "signed by hsm-4" in refused["error"]["message"]
    life.with_keys(back["keys_file"])
    life.post()
    assert life.rotate("finish")["step"] == "rolled_back"
    assert life.proof_kids()[-1] == "transit-3"
    assert life.registered("hsm-4").retired_at is not None
    assert life.registered("transit-3").retired_at is None
    life.assert_sound()
    assert "rolled_back" in life.run("rotate", "status")


def assert_revocation_cuts(life: Life, kid: str) -> None:
    """Known to be stolen earlier than it was retired: from there on it proves nothing, and the statements are named."""
    reach = life.registered(kid).validity
    assert reach is not None
    last = reach.shard(0).to_seq
    assert last is not None
    beyond = life.signed("revoke", kid, "--reason", "incident 7", "--to-seq", f"0={last + 1}", code=3)
    assert f"up to seq {last}" in beyond["error"]["message"]
    dry = life.signed("revoke", kid, "--reason", "incident 7", "--to-seq", f"0={last - 1}", "--dry-run")
    assert f'-            "to_seq": "{last}"' in dry["diff"]
    kept = life.signers.read_bytes()
    life.signed("revoke", kid, "--reason", "incident 7", "--to-seq", f"0={last - 1}")
    found = life.run.json("verify", "archive", code=1)["findings"]
    assert {it["code"] for it in found} >= {"proof.validity", "manifest.validity", "checkpoint.validity"}
    assert {it["seq"] for it in found} == {str(last)}
    assert "signers.validity" in {it["code"] for it in life.signed("check", code=1)["findings"]}
    life.signers.write_bytes(kept)


def assert_theft_is_found(life: Life, kid: str, folder: Path) -> None:
    """Whoever holds a retired key writes an early `ts`: the sequences tell. (A new key stands for it.)"""
    stolen = LocalKey.generate("ed25519", env="dev")
    with psycopg.connect(life.run.environ["DATABASE_URL"]) as connection:
        rows = connection.execute("SELECT payload FROM ranges WHERE shard = 0 ORDER BY range_no").fetchall()
    held = life.registered(kid)
    trusted = SignerRegistry(
        [RegisteredSigner(kid, "ed25519", stolen.public_key(), None, held.retired_at, "", held.validity)]
    )
    (folder / "thief.json").write_bytes(trusted.to_json())
    for row, sound in ((rows[1], True), (rows[-1], False)):
        fields = {**json.loads(bytes(row[0])), "signer_kid": kid, "alg": "ed25519", "ts": "2025-01-01T00:00:00.000000Z"}
        payload = parse_payload(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())
        (folder / "proof.json").write_bytes(assemble_proof(payload.to_bytes(), stolen.sign_digest(payload.digest())))
        arguments = ("verify", "proof", str(folder / "proof.json"), "--signers", str(folder / "thief.json"))
        found = life.run.json(*arguments, code=0 if sound else 1)["findings"]
        assert [it["code"] for it in found] == ([] if sound else ["proof.validity"])
        assert all(kid in it["message"] and it["shard"] == 0 and it["seq"] for it in found)


def test_a_rotation_onto_a_signing_proxy_and_off_it_again(life: Life, stack: Stack, tmp_path: Path) -> None:
    ca = ThrowawayCa(tmp_path / "ca")
    proxy = SigningProxy(LocalKey.generate("ed25519", env="dev"), kid="proxy-2")
    with serving(proxy, ca.issue("127.0.0.1")):
        named = {"SIGNING_PROXY_CA_FILE": ca.ca_file, "SIGNING_PROXY_API_KEY": API_KEY}
        life.run.environ.update(named)
        elsewhere = life.rotate("create", *key("proxy-2", "proxy", proxy.url, "ed25519"), code=3)
        assert "made behind it" in elsewhere["error"]["message"]
        rotated(life, *key("proxy-2", "proxy", proxy.url, "ed25519"))
        (tmp_path / "api-key").write_text(API_KEY)
        added = f'api_key_file = "{tmp_path / "api-key"}"\n'  # at the end stands the table of the key that leaves
        rotated(life, *key("kms-3", "kms", new_kms_key(stack), "ed25519"), api_key=added)
        life.assert_sound()
    assert [kid for kid, _ in groupby(life.proof_kids())][1:] == ["proxy-2", "kms-3"]
    assert any(request.get("kind") == "note" for request in proxy.requests)


def test_an_emergency_key_signs_for_a_while_and_what_it_signed_gets_a_second_signature(life: Life) -> None:
    before = {n: v for n, v in life.run.environ.items() if names_a_key(n)}
    chosen = (*key("emergency-1", "pkcs11", "emergency", "ed25519"), "--hours", "2", "--reason", "KMS is down")
    approve_by_two(life, "emergency-1", chosen)
    made = life.signed("emergency", *chosen)
    assert made["told"] is True
    assert life.signed("emergency", *chosen)["told"] is False, "asked again, it is there"
    ends = life.registered("emergency-1").retired_at
    assert ends is not None
    assert dt.timedelta(hours=1) < ends - dt.datetime.now(dt.UTC) < dt.timedelta(hours=2, minutes=1)

    life.with_keys(made["keys_file"])
    life.post()
    life.with_variables({**before, **{f"OUTGOING_{name}": value for name, value in made["variables"].items()}})
    life.post()
    signed = [kid for kid, _ in groupby(life.proof_kids())]
    regular = signed[-1]
    assert signed == ["emergency-1", regular]
    retired = life.signed("retire", "emergency-1", "--reason", "KMS is back")
    assert '"retiredAt"' in retired["diff"]
    assert life.registered("emergency-1").validity is not None

    again = life.run.json("prove", "--reissue", "emergency-1")["proofs"]
    spans = [(part["first_seq"], part["last_seq"]) for proof in again for part in proof["shards"]]
    assert spans == [("1", "3")]
    assert {proof["signer_kid"] for proof in again} == {regular}
    assert life.run.json("prove", "--reissue", "emergency-1")["proofs"] == [], "done already"
    life.assert_sound()
    told = "SELECT payload->>'approver' FROM audit_events WHERE event_type = 'signer.emergency'"
    assert life.kids(told) == ["carol"]


def test_bad_input_is_refused_and_an_interrupted_step_is_done_again(life: Life, stack: Stack, tmp_path: Path) -> None:
    new = new_kms_key(stack)
    before = life.signers.read_bytes()
    existing = SignerRegistry.from_json(before).signers[0].kid

    def refused(*arguments: str, says: str, **environ: str) -> None:
        told = life.run.json("rotate", *arguments, code=3, **environ)["error"]
        assert says in told["message"]
        assert told["remedy"]

    refused("begin", *key(existing, "kms", new, "ed25519"), says="registered")
    refused("begin", *key("kms-2", "kms", new, "rsa-sha256"), says="rsa-sha256")
    refused("begin", *key("kms 2", "kms", new, "ed25519"), says="without blanks")
    refused("begin", *key("kms-2", "local", str(tmp_path / "no.pem"), "ed25519"), says="cannot be read")
    refused("deploy", says="no rotation is under way")
    refused("finish", says="no rotation is under way")
    refused("rollback", "--reason", "why", says="no rotation")
    damaged = tmp_path / "damaged.json"
    damaged.write_bytes(before[:-20])
    refused("begin", *key("kms-2", "kms", new, "ed25519"), says="cannot be read", FINANCE_SIGNERS=str(damaged))
    assert damaged.read_bytes() == before[:-20]
    assert life.signers.read_bytes() == before

    dry = life.rotate("begin", *key("kms-2", "kms", new, "ed25519"), "--dry-run")
    assert "kms-2" in dry["diff"]
    assert life.signers.read_bytes() == before
    # Killed after the registry was written, before the chain was told: the file is there, the intent is not.
    with psycopg.connect(life.run.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("REVOKE INSERT ON audit_outbox FROM finance_api")
        refused("begin", *key("kms-2", "kms", new, "ed25519"), says="may not do that")
        connection.execute("GRANT INSERT ON audit_outbox TO finance_api")
    assert life.registered("kms-2").retired_at is None
    assert life.rotate("begin", *key("kms-2", "kms", new, "ed25519"))["told"] is True
    assert life.rotate("begin", *key("kms-2", "kms", new, "ed25519"))["told"] is False, "begun already"
    refused("begin", *key("kms-3", "kms", new_kms_key(stack), "ed25519"), says="is not over")
    back = life.rotate("rollback", "--reason", "the wrong region")
    assert back["step"] == "rolling_back"
    with psycopg.connect(life.run.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("REVOKE INSERT ON audit_outbox FROM finance_api")
        refused("finish", says="may not do that")
        connection.execute("GRANT INSERT ON audit_outbox TO finance_api")
    ended = life.registered("kms-2")
    assert ended.retired_at is not None
    assert life.rotate("finish")["step"] == "rolled_back"
    assert life.registered("kms-2") == ended, "the second try finds the registry as it wants it"
    refused("begin", *key("kms-2", "kms", new, "ed25519"), says="retired")
    life.go()
    assert life.run.json("verify", "audit")["findings"] == []


def test_a_branch_for_review_is_prepared_and_a_copy_that_differs_is_found(life: Life, tmp_path: Path) -> None:
    repo = tmp_path / "kernel-repo"
    copy = repo / "kernel" / "tools" / "signers.json"
    copy.parent.mkdir(parents=True)
    stranger = LocalKey.generate("ed25519", env="dev").public_key()
    theirs = SignerRegistry([RegisteredSigner("kernel-audit-ed25519-v1", "ed25519", stranger)])
    copy.write_bytes(theirs.to_json())

    def git(*arguments: str) -> str:
        own = ["git", "-C", str(repo), "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments]
        return subprocess.run(own, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("config", "user.name", "t")
    git("config", "user.email", "t@example.com")
    git("add", ".")
    git("commit", "-q", "-m", "start")
    found = life.signed("check", "--kernel", str(copy), code=1)
    assert {it["code"] for it in found["findings"]} == {"signers.copy"}
    (copy.parent / "signers.json").write_bytes(theirs.to_json() + b"\n")
    dirty = life.signed("publish", "--repo", str(repo), code=3)
    assert "not committed" in dirty["error"]["message"]
    git("checkout", "-q", "--", ".")
    made = life.signed("publish", "--repo", str(repo), "--branch", "review")
    again = life.signed("publish", "--repo", str(repo), "--branch", "review")
    assert made["commit"] == again["commit"] == git("rev-parse", "review")
    assert git("rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert git("status", "--porcelain") == ""
    git("merge", "-q", "review")
    assert SignerRegistry.from_json(copy.read_bytes()).get("kernel-audit-ed25519-v1").public_key == stranger
    assert life.signed("check", "--kernel", str(copy))["ok"] is True
    assert life.signed("publish", "--repo", str(repo))["commit"] is None, "nothing is left to publish"
