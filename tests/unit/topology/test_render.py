"""Authority is data: what is committed under deploy/ is what the topology says, and the policies allow no more."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from finance.cli.operating.render import command
from finance.wiring.render import KINDS, render
from schemas.authority.kafka_acls import acl_of, acls_of
from schemas.authority.policies import CANARY_KEY
from schemas.topology.load import load_topology
from tests.support.iam import allowed

ROOT = Path(__file__).parents[3]
TOPOLOGY = load_topology(ROOT / "topology.yaml")
FILES = {path: text for kind in KINDS for path, text in render(TOPOLOGY, kind).items()}
OBJECT = "arn:aws:s3:::${S3_AUDIT_BUCKET}/prod/batch"
BUCKET = "arn:aws:s3:::${S3_AUDIT_BUCKET}"
ELSEWHERE = "arn:aws:s3:::other/prod/batch"
KEY = "${AUDIT_SIGNING_KMS_KEY_ARN}"
LOCKED = {
    "s3:object-lock-mode": "COMPLIANCE",
    "s3:object-lock-remaining-retention-days": "2557",
    "s3:if-none-match": "*",
    "kms:SigningAlgorithm": "ED25519_SHA_512",
}
UNDOING = (
    "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention", "s3:PutBucketPolicy",
    "s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration", "s3:DeleteBucket",
)  # fmt: skip


def policy(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FILES[f"iam/{name}.json"])
    return loaded


def test_the_committed_files_are_what_the_topology_renders() -> None:
    committed = {
        str(path.relative_to(ROOT / "deploy")): path.read_text("utf-8")
        for folder in ("iam", "kms", "kafka")
        for path in (ROOT / "deploy" / folder).iterdir()
    }
    assert committed == FILES, "run `finance render all --out deploy`"


def test_the_command_writes_them(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["all", "--out", str(tmp_path), "--json"], env={"FINANCE_STACK": "none"})
    assert done.exit_code == 0, done.output
    assert {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()} == FILES


def test_the_archiver_stores_and_locks_and_undoes_nothing() -> None:
    archiver = policy("archiver")
    for action in ("s3:PutObject", "s3:PutObjectRetention", "s3:GetObject", "s3:GetObjectVersion"):
        assert allowed(archiver, action, OBJECT, LOCKED)
        assert not allowed(archiver, action, ELSEWHERE, LOCKED)
    assert allowed(archiver, "s3:ListBucketVersions", BUCKET)
    denied = [s for s in archiver["Statement"] if s["Effect"] == "Deny"]
    assert [s["Sid"] for s in denied if "Condition" not in s] == ["NeverUndo", "NeverDelete"]
    patterns = [pattern for statement in denied for pattern in statement["Action"]]
    for action in UNDOING:
        assert any(fnmatch.fnmatchcase(action, pattern) for pattern in patterns), action
        assert not allowed(archiver, action, OBJECT)
        assert not allowed(archiver, action, f"{BUCKET}/canary/object-lock2")
    canary = [action for action in UNDOING if allowed(archiver, action, f"{BUCKET}/{CANARY_KEY}")]
    assert canary == ["s3:DeleteObjectVersion"], "only the lock keeps the canary"


@pytest.mark.parametrize("action", ["s3:PutObject", "s3:PutObjectRetention", *UNDOING])
@pytest.mark.parametrize("name", ["auditor", "api"])
def test_a_reader_of_the_archive_only_reads(name: str, action: str) -> None:
    assert allowed(policy(name), "s3:GetObjectVersion", OBJECT)
    assert not allowed(policy(name), action, OBJECT)
    assert not allowed(policy(name), action, BUCKET)


def test_only_signing_roles_sign_and_nobody_does_more_with_the_key() -> None:
    names = {Path(path).stem for path in FILES if path.startswith("iam/")}
    assert {name for name in names if allowed(policy(name), "kms:Sign", KEY, LOCKED)} == {
        *TOPOLOGY.access.signing.ledger
    }
    for name in names:
        for action in (
            "kms:ScheduleKeyDeletion",
            "kms:DisableKey",
            "kms:PutKeyPolicy",
            "kms:Decrypt",
            "kms:CreateGrant",
        ):
            assert not allowed(policy(name), action, KEY)
    key = json.loads(FILES["kms/key-policy-ledger.json"])
    who = {s["Sid"]: (s["Principal"]["AWS"], s["Action"]) for s in key["Statement"] if s["Effect"] == "Allow"}
    signers, actions = who["Sign"]
    assert {arn.rpartition("finance-")[2] for arn in signers} == {*TOPOLOGY.access.signing.ledger}
    assert actions == ["kms:Sign"]
    assert who["ReadPublicKey"] == (signers, ["kms:GetPublicKey"])
    assert not any(action in ("kms:Sign", "kms:*", "kms:CreateGrant") for action in who["Administer"][1])


def test_who_makes_keys_makes_them_for_signing_alone_and_never_signs_or_moves_a_name() -> None:
    admin = json.loads(FILES["kms/key-admin.json"])
    (make,) = [s for s in admin["Statement"] if s["Action"] == ["kms:CreateKey"]]
    assert make["Condition"]["StringEquals"]["kms:KeyUsage"] == "SIGN_VERIFY"
    aliases = next(s["Resource"] for s in admin["Statement"] if s["Action"] == ["kms:CreateAlias"])
    assert aliases == ["arn:aws:kms:${KMS_REGION}:${AWS_ACCOUNT_ID}:alias/finance-*", "arn:aws:kms:*:*:key/*"]
    denied = {a for s in admin["Statement"] if s["Effect"] == "Deny" for a in s["Action"]}
    allowed_too = {a for s in admin["Statement"] if s["Effect"] == "Allow" for a in s["Action"]}
    assert denied >= {"kms:Sign", "kms:UpdateAlias", "kms:DeleteAlias", "kms:CreateGrant"}
    assert not denied & allowed_too
    key = json.loads(FILES["kms/key-policy-ledger.json"])
    administer = next(s["Action"] for s in key["Statement"] if s["Sid"] == "Administer")
    assert {"kms:CreateAlias", "kms:GetPublicKey"} <= {*administer}, "or the maker cannot name what it made"


def test_every_acl_is_of_one_principal_on_one_named_resource() -> None:
    for acl in acls_of(TOPOLOGY):
        assert acl.principal.startswith("User:CN=")
        assert "*" not in acl.principal + acl.name
        assert acl.operation not in ("ALL", "DELETE", "ALTER_CONFIGS", "CLUSTER_ACTION")
        assert acl_of(acl.text) == acl
        if acl.resource == "cluster":
            assert acl.principal == "User:CN=admin"


def test_each_principal_publishes_and_reads_what_the_topology_says() -> None:
    acls = acls_of(TOPOLOGY)
    for topic in TOPOLOGY.topics.values():
        writers = {a.principal for a in acls if (a.name, a.operation) == (topic.name, "WRITE")}
        assert writers == {f"User:CN={name}" for name in topic.publishers}
    readers = {a.principal.removeprefix("User:CN=") for a in acls if (a.name, a.operation) == ("finance.audit", "READ")}
    assert readers == {"kernel", "auditor", "notary", "prover", "projector"}
    fences = {(a.principal, a.name) for a in acls if a.resource == "transactional_id"}
    assert fences == {("User:CN=notary", "finance.audit.writer")}, "whoever has it can end the notary's lead"
    groups = {(a.principal, a.name) for a in acls if (a.resource, a.operation) == ("group", "READ")}
    assert ("User:CN=poster", "finance-poster") in groups
    assert ("User:CN=prover", "finance-poster") not in groups


def test_a_prefix_stands_before_topics_and_groups() -> None:
    acls = acls_of(load_topology(ROOT / "topology.yaml", topic_prefix="blue."), "blue.")
    named = {acl.name for acl in acls} - {"finance-status", "kafka-cluster"}
    assert all(name.startswith("blue.") for name in named)


@pytest.mark.parametrize("text", ["", "User:CN=x topic t", "CN=x topic t READ", "User:CN=x table t READ"])
def test_what_is_no_acl_is_not_taken_for_one(text: str) -> None:
    assert acl_of(text) is None
