"""IAM and KMS policies as data: least privilege (G9) for whoever archives, reads the archive, keeps backups, or signs.

Guarantees: the writer may store and lock, and is denied by name what would undo a lock; the reader only reads; a
signing role may sign and read the public key, of one key, by our algorithms alone; of a MAC key, who checks MACs
cannot make one; who makes keys signs nothing. Values
of a deployment (bucket, account) are arguments: the committed files hold `${NAMES}` in their place.
Does not: replace Object Lock or a key's own policy; a root account can undo what stands here, and CloudTrail says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

Policy = dict[str, object]

VERSION: Final = "2012-10-17"
READ_ACTIONS: Final = (
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectAttributes",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
)
BUCKET_ACTIONS: Final = (
    "s3:GetBucketLocation",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketVersioning",
    "s3:ListBucket",
    "s3:ListBucketVersions",
)
CANARY_KEY: Final = "canary/object-lock"  # the object on which the archiver tries whether the lock holds
CANARY_DAYS_MAX: Final = 2  # its lock lasts a day; clocks differ
WRITE_ACTIONS: Final = ("s3:PutObject", "s3:PutObjectRetention")
DELETE_ACTIONS: Final = ("s3:DeleteObject", "s3:DeleteObjectVersion")
# Denied whatever else allows it: what would undo a lock, or let a later writer undo one.
NEVER_ACTIONS: Final = (
    "s3:BypassGovernanceRetention",
    "s3:DeleteBucket",
    "s3:DeleteBucketPolicy",
    *DELETE_ACTIONS,
    "s3:PutBucket*",
    "s3:PutLifecycleConfiguration",
    "s3:PutObjectLegalHold",
    "s3:PutReplicationConfiguration",
)
ALGORITHMS: Final = ("ED25519_SHA_512", "RSASSA_PKCS1_V1_5_SHA_256")
MAKE_MAC: Final = "kms:GenerateMac"
CHECK_MAC: Final = "kms:VerifyMac"
ADMIN_ACTIONS: Final = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:EnableKey",
    "kms:GetKeyPolicy",
    "kms:GetPublicKey",
    "kms:ListResourceTags",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
)
POLICY_ACTIONS: Final = ("kms:DescribeKey", "kms:GetKeyPolicy", "kms:PutKeyPolicy")
KEY_SPECS: Final = ("ECC_NIST_EDWARDS25519", "RSA_2048", "RSA_3072", "RSA_4096")
FINDING_ACTIONS: Final = ("kms:DescribeKey", "kms:GetPublicKey", "kms:ListAliases", "kms:ListKeys")
# Denied whatever else allows it: who makes keys does not use them, lend them, or point a name at another one.
NEVER_ADMIN_ACTIONS: Final = (
    "kms:CreateGrant",
    "kms:DeleteAlias",
    MAKE_MAC,
    "kms:PutKeyPolicy",
    "kms:Sign",
    "kms:UpdateAlias",
)


def archive_writer(bucket: str, *, modes: Sequence[str], retention_days: int) -> Policy:
    """The archiver's: store under lock, read back, list; never delete, bypass, or change the bucket.

    What it stores is locked by one of `modes`, for no longer than `retention_days` (and a day for clocks), and is the
    first version of its key: no object without a lock, none locked for a lifetime, none that shadows another.
    But for its canary: were the attack on that denied here, the lock would never be asked (G7)."""
    kept = [action for action in NEVER_ACTIONS if action not in DELETE_ACTIONS]
    canary = [f"arn:aws:s3:::{bucket}/{CANARY_KEY}"]
    by_lock, days = "s3:object-lock-mode", "s3:object-lock-remaining-retention-days"
    other_mode: Policy = {"StringNotEquals": {by_lock: list(modes)}}  # a request without a lock has no mode
    too_short: Policy = {"NumericLessThan": {days: "1"}}
    too_long: Policy = {"NumericGreaterThan": {days: str(retention_days + 1)}}
    canary_too_long: Policy = {"NumericGreaterThan": {days: str(CANARY_DAYS_MAX)}}
    over_another: Policy = {"Null": {"s3:if-none-match": "true"}}
    return _policy(
        _statement("ReadBack", "Allow", READ_ACTIONS, _objects(bucket)),
        _statement("ReadBucket", "Allow", BUCKET_ACTIONS, _bucket(bucket)),
        _statement("StoreUnderLock", "Allow", WRITE_ACTIONS, _objects(bucket)),
        _statement("AttackTheCanary", "Allow", ["s3:DeleteObjectVersion"], canary),
        _statement("NeverUndo", "Deny", kept, [*_bucket(bucket), *_objects(bucket)]),
        _statement("NeverDelete", "Deny", DELETE_ACTIONS, canary, resource="NotResource"),
        _statement("NeverUnlocked", "Deny", WRITE_ACTIONS, _objects(bucket), Condition=other_mode),
        _statement("NeverForADay", "Deny", WRITE_ACTIONS, canary, resource="NotResource", Condition=too_short),
        _statement("NeverForALifetime", "Deny", WRITE_ACTIONS, _objects(bucket), Condition=too_long),
        _statement("CanaryForADay", "Deny", WRITE_ACTIONS, canary, Condition=canary_too_long),
        _statement("NeverOver", "Deny", ["s3:PutObject"], canary, resource="NotResource", Condition=over_another),
    )


def archive_reader(bucket: str) -> Policy:
    """The auditor's: read every version and its lock; every write is denied by name."""
    return _policy(
        _statement("Read", "Allow", READ_ACTIONS, _objects(bucket)),
        _statement("ReadBucket", "Allow", BUCKET_ACTIONS, _bucket(bucket)),
        _statement(
            "NeverWrite", "Deny", sorted({*NEVER_ACTIONS, *WRITE_ACTIONS}), [*_bucket(bucket), *_objects(bucket)]
        ),
    )


def backup_keeper(bucket: str, *, lock_days_max: str) -> Policy:
    """The backup host's: store, lock for at most so many days, read back, and delete by version what no lock holds;
    never bypass a lock."""
    too_long: Policy = {"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": lock_days_max}}
    kept = [action for action in NEVER_ACTIONS if action not in DELETE_ACTIONS]
    return _policy(
        _statement("ReadBack", "Allow", READ_ACTIONS, _objects(bucket)),
        _statement("ReadBucket", "Allow", BUCKET_ACTIONS, _bucket(bucket)),
        _statement("Store", "Allow", WRITE_ACTIONS, _objects(bucket)),
        _statement("Prune", "Allow", DELETE_ACTIONS, _objects(bucket)),
        _statement("NeverUndo", "Deny", kept, [*_bucket(bucket), *_objects(bucket)]),
        _statement("NeverForALifetime", "Deny", WRITE_ACTIONS, _objects(bucket), Condition=too_long),
    )


def signing_user(key_arn: str) -> Policy:
    """A signing role's own policy: the same two actions, on the one key."""
    return _policy(
        _statement("Sign", "Allow", ["kms:Sign"], [key_arn], Condition=_by_our_algorithms()),
        _statement("ReadPublicKey", "Allow", ["kms:GetPublicKey"], [key_arn]),
    )


def key_policy(signing_roles: Sequence[str], admin_role: str, policy_role: str) -> Policy:
    """The key's: signing roles (ARNs) sign and read the public key, and nobody else signs, whatever allows it. The
    administrator manages the key, and another role, for which two people stand, its policy: who could change that alone
    could let himself sign."""
    signers = {"AWS": list(signing_roles)}
    others: Policy = {"ArnNotEquals": {"aws:PrincipalArn": list(signing_roles)}}
    return _policy(
        _statement("Administer", "Allow", ADMIN_ACTIONS, ["*"], Principal={"AWS": [admin_role]}),
        _statement("Sign", "Allow", ["kms:Sign"], ["*"], Principal=signers, Condition=_by_our_algorithms()),
        _statement("ReadPublicKey", "Allow", ["kms:GetPublicKey"], ["*"], Principal=signers),
        _statement("ChangeThisPolicy", "Allow", POLICY_ACTIONS, ["*"], Principal={"AWS": [policy_role]}),
        _statement("NobodyElseSigns", "Deny", ["kms:Sign"], ["*"], Principal="*", Condition=others),
        _statement("NobodyLends", "Deny", ["kms:CreateGrant"], ["*"], Principal="*"),
    )


def mac_maker(key_arn: str) -> Policy:
    """Of who signs proofs with a MAC key: make MACs and check them, by our algorithm, and see what the key is for."""
    return _policy(
        _statement("MakeAndCheckMacs", "Allow", [MAKE_MAC, CHECK_MAC], [key_arn], Condition=_by_our_mac()),
        _statement("SeeTheKey", "Allow", ["kms:DescribeKey"], [key_arn]),
    )


def mac_checker(key_arn: str) -> Policy:
    """Of who verifies proofs with a MAC: check MACs; making one is denied by name, whatever allows it."""
    return _policy(
        _statement("CheckMacs", "Allow", [CHECK_MAC], [key_arn], Condition=_by_our_mac()),
        _statement("NeverMakeMacs", "Deny", [MAKE_MAC], ["*"]),
    )


def mac_key_policy(makers: Sequence[str], checkers: Sequence[str], admin_role: str, policy_role: str) -> Policy:
    """A MAC key's: makers (ARNs of roles) make MACs, they and checkers check them, and nobody else does either,
    whatever allows it. Administrator and policy role as in `key_policy`."""
    others: Policy = {"ArnNotEquals": {"aws:PrincipalArn": list(makers)}}
    neither: Policy = {"ArnNotEquals": {"aws:PrincipalArn": [*makers, *checkers]}}
    by_ours, may_make, may_check = _by_our_mac(), {"AWS": list(makers)}, {"AWS": [*makers, *checkers]}
    return _policy(
        _statement("Administer", "Allow", ADMIN_ACTIONS, ["*"], Principal={"AWS": [admin_role]}),
        _statement("MakeMacs", "Allow", [MAKE_MAC], ["*"], Principal=may_make, Condition=by_ours),
        _statement("CheckMacs", "Allow", [CHECK_MAC], ["*"], Principal=may_check, Condition=by_ours),
        _statement("SeeTheKey", "Allow", ["kms:DescribeKey"], ["*"], Principal=may_make),
        _statement("ChangeThisPolicy", "Allow", POLICY_ACTIONS, ["*"], Principal={"AWS": [policy_role]}),
        _statement("NobodyElseMakes", "Deny", [MAKE_MAC], ["*"], Principal="*", Condition=others),
        _statement("NobodyElseChecks", "Deny", [CHECK_MAC], ["*"], Principal="*", Condition=neither),
        _statement("NobodyLends", "Deny", ["kms:CreateGrant"], ["*"], Principal="*"),
    )


def key_admin(aliases: Sequence[str]) -> Policy:
    """Who makes keys (`finance rotate create`): keys for signing alone, named within `aliases` (ARNs), never moved."""
    of_ours = {
        "StringEquals": {"kms:KeyUsage": "SIGN_VERIFY", "kms:KeyOrigin": "AWS_KMS", "kms:KeySpec": list(KEY_SPECS)},
        "Bool": {"kms:MultiRegion": "false"},
    }
    return _policy(
        _statement("MakeSigningKeys", "Allow", ["kms:CreateKey"], ["*"], Condition=of_ours),
        _statement("NameThem", "Allow", ["kms:CreateAlias"], [*aliases, "arn:aws:kms:*:*:key/*"]),
        _statement("FindThem", "Allow", FINDING_ACTIONS, ["*"]),
        _statement("NeverSign", "Deny", NEVER_ADMIN_ACTIONS, ["*"]),
    )


def _by_our_algorithms() -> dict[str, object]:
    return {"StringEquals": {"kms:SigningAlgorithm": list(ALGORITHMS)}}


def _by_our_mac() -> dict[str, object]:
    return {"StringEquals": {"kms:MacAlgorithm": "HMAC_SHA_256"}}


def _policy(*statements: Policy) -> Policy:
    return {"Version": VERSION, "Statement": list(statements)}


def _statement(
    sid: str, effect: str, actions: Sequence[str], resources: list[str], *, resource: str = "Resource", **more: object
) -> Policy:
    return {"Sid": sid, "Effect": effect, **more, "Action": list(actions), resource: resources}


def _bucket(bucket: str) -> list[str]:
    return [f"arn:aws:s3:::{bucket}"]


def _objects(bucket: str) -> list[str]:
    return [f"arn:aws:s3:::{bucket}/*"]
