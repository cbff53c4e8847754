"""What a stolen credential of the archiver, the backup host or who makes keys may still do, as IAM decides it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from finance.wiring.render import KEY_ARNS, MAC_KEY_ARN, ROLE_ARN, mac_roles, render
from schemas.authority.policies import ADMIN_ACTIONS, CANARY_KEY
from schemas.topology.load import load_topology
from tests.support.iam import allowed
from tests.support.topics import TOPOLOGY

RULES = load_topology(TOPOLOGY)
IAM, KMS = render(RULES, "iam"), render(RULES, "kms-policy")
DAYS = RULES.stores["archive"].retention_days
MODE, LEFT, FIRST = "s3:object-lock-mode", "s3:object-lock-remaining-retention-days", "s3:if-none-match"
OBJECT, CANARY = (f"arn:aws:s3:::${{S3_AUDIT_BUCKET}}/{key}" for key in ("prod/batch", CANARY_KEY))
BACKUP = "arn:aws:s3:::${BACKUP_BUCKET}/prod/wal"


def policy(name: str) -> dict[str, Any]:
    text = IAM[f"iam/{name}.json"].replace("${BACKUP_LOCK_DAYS_MAX}", "400")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def lock(days: int, mode: str = "COMPLIANCE", *, first: bool = True) -> dict[str, str]:
    return {MODE: mode, LEFT: str(days), **({FIRST: "*"} if first else {})}


# (where, condition keys of the request, whether it is allowed, what it would be)
PUTS: tuple[tuple[str, dict[str, str], bool, str], ...] = (
    (OBJECT, lock(DAYS), True, "a batch, as the archiver stores it"),
    (OBJECT, lock(DAYS + 1), True, "by a clock that is a little ahead"),
    (OBJECT, lock(1), True, "a late copy of an old range"),
    (OBJECT, {FIRST: "*"}, False, "an object without a lock: whoever may delete deletes it"),
    (OBJECT, lock(DAYS, "GOVERNANCE"), False, "a lock that a permission bypasses"),
    (OBJECT, lock(0), False, "a lock that is over today"),
    (OBJECT, lock(36_500), False, "a lock until 2125: nobody can ever remove it"),
    (OBJECT, lock(DAYS, first=False), False, "a version over another: it shadows what was archived"),
    (CANARY, lock(1, first=False), True, "the canary, again each day"),
    (CANARY, lock(100, first=False), False, "a canary for ever"),
    (CANARY, {}, False, "a canary without a lock, which deletes well"),
)


@pytest.mark.parametrize(("resource", "context", "is_allowed", "what"), PUTS, ids=[what for *_, what in PUTS])
def test_the_archiver_stores_first_versions_under_its_lock(
    resource: str, context: dict[str, str], is_allowed: bool, what: str
) -> None:
    assert allowed(policy("archiver"), "s3:PutObject", resource, context) is is_allowed, what


@pytest.mark.parametrize(("days", "is_allowed"), [(DAYS, True), (1, True), (0, False), (36_500, False)])
def test_the_archiver_extends_a_lock_within_its_length(days: int, is_allowed: bool) -> None:
    context = {MODE: "COMPLIANCE", LEFT: str(days)}
    assert allowed(policy("archiver"), "s3:PutObjectRetention", OBJECT, context) is is_allowed
    assert not allowed(policy("archiver"), "s3:PutObjectRetention", OBJECT, {**context, MODE: "GOVERNANCE"})


@pytest.mark.parametrize("action", ["s3:PutObject", "s3:PutObjectRetention"])
def test_the_backup_host_locks_nothing_for_a_lifetime(action: str) -> None:
    assert allowed(policy("backup"), action, BACKUP, lock(400))
    assert not allowed(policy("backup"), action, BACKUP, lock(401))
    assert not allowed(policy("backup"), action, BACKUP, lock(36_500, "GOVERNANCE"))


def key_policy(key: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(KMS[f"kms/key-policy-{key}.json"])
    return {"Statement": [{**it, "Resource": ["*"]} for it in loaded["Statement"]]}


def test_each_key_is_asked_by_its_own_roles_alone() -> None:
    of_ours = {"kms:SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256"}
    for key, arn in KEY_ARNS.items():
        own = getattr(RULES.access.signing, key)
        for name in RULES.access.signing.everybody:
            assert allowed(policy(name), "kms:Sign", arn, of_ours) == (name in own), (name, key)
        named = {
            role.rpartition("finance-")[2]
            for it in key_policy(key)["Statement"]
            if it["Sid"] == "Sign"
            for role in it["Principal"]["AWS"]
        }
        assert named == set(own)


@pytest.mark.parametrize("key", KEY_ARNS)
def test_nobody_but_these_roles_signs_whatever_else_allows_it(key: str) -> None:
    (deny,) = [it for it in key_policy(key)["Statement"] if it["Sid"] == "NobodyElseSigns"]
    assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", ["kms:Sign"])
    for stranger in ("arn:aws:iam::1:role/admin", "arn:aws:iam::1:root", "arn:aws:iam::1:role/finance-kms-policy"):
        context = {"aws:PrincipalArn": stranger, "kms:SigningAlgorithm": "ED25519_SHA_512"}
        assert not allowed(key_policy(key), "kms:Sign", "key", context)


def test_who_manages_a_key_changes_no_policy_and_signs_nothing() -> None:
    admin = json.loads(KMS["kms/key-admin.json"])
    denied = {action for it in admin["Statement"] if it["Effect"] == "Deny" for action in it["Action"]}
    assert {"kms:Sign", "kms:PutKeyPolicy", "kms:CreateGrant"} <= denied
    assert not denied & {*ADMIN_ACTIONS}
    for key in KEY_ARNS:
        who = {it["Sid"]: it for it in key_policy(key)["Statement"]}
        assert who["Administer"]["Principal"] != who["ChangeThisPolicy"]["Principal"]
        assert "kms:Sign" not in who["ChangeThisPolicy"]["Action"]
        assert (who["NobodyLends"]["Effect"], who["NobodyLends"]["Action"]) == ("Deny", ["kms:CreateGrant"])


BY_OURS = {"kms:MacAlgorithm": "HMAC_SHA_256"}
# Who may do what with a MAC key: makers sign proofs, checkers verify them, and nobody else does either.
MAC_RIGHTS = {
    "prover": (True, True),
    "api": (True, True),
    "auditor": (False, True),
    "archiver": (False, True),
    "notary": (False, False),
    "backup": (False, False),
    "kms-admin": (False, False),
}


@pytest.mark.parametrize("name", MAC_RIGHTS)
def test_who_checks_a_mac_cannot_make_one(name: str) -> None:
    """By the key's own policy, even for a role that something else allows everything."""
    may_make, may_check = MAC_RIGHTS[name]
    makers, checkers = mac_roles(RULES)
    assert (name in makers, name in makers + checkers) == (may_make, may_check)
    everything: dict[str, Any] = {"Effect": "Allow", "Action": ["kms:GenerateMac", "kms:VerifyMac"], "Resource": ["*"]}
    statements = [it for it in key_policy("mac")["Statement"] if it["Effect"] == "Deny"]
    context = {"aws:PrincipalArn": ROLE_ARN + name, **BY_OURS}
    for action, is_allowed in (("kms:GenerateMac", may_make), ("kms:VerifyMac", may_check)):
        assert allowed({"Statement": [everything, *statements]}, action, "key", context) == is_allowed, action


def test_the_policies_of_makers_and_checkers_ask_for_our_algorithm() -> None:
    maker, checker = (json.loads(KMS[f"kms/mac-{name}.json"]) for name in ("maker", "checker"))
    other = {"kms:MacAlgorithm": "HMAC_SHA_512"}
    for action in ("kms:GenerateMac", "kms:VerifyMac"):
        assert allowed(maker, action, MAC_KEY_ARN, BY_OURS)
        assert not allowed(maker, action, MAC_KEY_ARN, other)
        assert not allowed(maker, action, "another-key", BY_OURS)
        assert allowed(checker, action, MAC_KEY_ARN, BY_OURS) == (action == "kms:VerifyMac")
    assert allowed(maker, "kms:DescribeKey", MAC_KEY_ARN, {})
    admin = {action for it in json.loads(KMS["kms/key-admin.json"])["Statement"] for action in it["Action"]}
    assert "kms:VerifyMac" not in admin
