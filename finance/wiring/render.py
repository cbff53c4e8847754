"""What topology.yaml says about authority, rendered for those who enforce it: Kafka, AWS IAM, AWS KMS.

Guarantees: pure: the same topology gives the same text, and a test compares the committed files under deploy/ with it.
What differs between deployments stands as `${NAME}` (fill it in with envsubst); everything else is final.
Does not: apply anything. `finance topics apply` makes the ACLs by itself; IAM and KMS are the platform team's.
"""

from __future__ import annotations

import json
import shlex
from typing import Final

from ledger_core.signing.purposes import MAC_MAY_SIGN, SIGNED_BY
from schemas.authority.kafka_acls import Acl, acls_of
from schemas.authority.policies import (
    Policy,
    archive_reader,
    archive_writer,
    backup_keeper,
    key_admin,
    key_policy,
    mac_checker,
    mac_key_policy,
    mac_maker,
    signing_user,
)
from schemas.topology.model import Topology

BUCKET: Final = "${S3_AUDIT_BUCKET}"
BACKUP_BUCKET: Final = "${BACKUP_BUCKET}"
KEY_ARNS: Final = {
    "ledger": "${AUDIT_SIGNING_KMS_KEY_ARN}",
    "operators": "${OPERATORS_SIGNING_KMS_KEY_ARN}",
    "backups": "${BACKUPS_SIGNING_KMS_KEY_ARN}",
}
MAC_KEY_ARN: Final = "${MAC_KMS_KEY_ARN}"  # of a MAC key, where one signs range proofs
ADMIN_ROLE_ARN: Final = "${KMS_ADMIN_ROLE_ARN}"
POLICY_ROLE_ARN: Final = "${KMS_POLICY_ROLE_ARN}"
ROLE_ARN: Final = "arn:aws:iam::${AWS_ACCOUNT_ID}:role/finance-"
ALIAS_ARN: Final = "arn:aws:kms:${KMS_REGION}:${AWS_ACCOUNT_ID}:alias/finance-*"
KINDS: Final = ("acls", "iam", "kms-policy")

_TARGETS: Final = {"topic": "--topic", "group": "--group", "transactional_id": "--transactional-id"}


def render(topology: Topology, kind: str) -> dict[str, str]:
    """Path below deploy/ -> text, for one of KINDS."""
    if kind == "acls":
        return acl_files(topology)
    return iam_files(topology) if kind == "iam" else kms_files(topology)


def acl_files(topology: Topology) -> dict[str, str]:
    """The ACLs as data, and as commands of Kafka's own tool."""
    acls = acls_of(topology)
    told = [{"principal": a.principal, "resource": a.resource, "name": a.name, "operation": a.operation} for a in acls]
    head = [
        "#!/bin/sh",
        "# Written by `finance render acls --out deploy`; do not edit. The ACLs of topology.yaml, for who does not use",
        "# `finance topics apply`. Usage: BOOTSTRAP=host:port CONFIG=admin.properties sh acls.sh",
        "set -eu",
        'add() { kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config "$CONFIG" --add "$@"; }',
    ]
    return {"kafka/acls.json": _json(told), "kafka/acls.sh": "\n".join([*head, *map(_command, acls)]) + "\n"}


def iam_files(topology: Topology) -> dict[str, str]:
    """One policy for each who archives, reads the archive, keeps backups or signs, for the role finance-<name>."""
    access, store = topology.access, topology.stores["archive"]
    writer = archive_writer(BUCKET, modes=[store.retention_mode], retention_days=store.retention_days)
    policies: dict[str, list[Policy]] = {}
    for names, policy in (
        (access.archive_writers, writer),
        (access.archive_readers, archive_reader(BUCKET)),
        (access.backup_keepers, backup_keeper(BACKUP_BUCKET, lock_days_max="${BACKUP_LOCK_DAYS_MAX}")),
        *((getattr(access.signing, key), signing_user(arn)) for key, arn in KEY_ARNS.items()),
    ):
        for name in names:
            policies.setdefault(name, []).append(policy)
    return {f"iam/{name}.json": _json(_merged(parts)) for name, parts in sorted(policies.items())}


def kms_files(topology: Topology) -> dict[str, str]:
    """Each key's own policy: only its signing roles sign; that of the administrator, who makes keys; and those for a
    MAC key, which only who has one attaches."""
    files = {"kms/key-admin.json": _json(key_admin([ALIAS_ARN]))}
    for key in KEY_ARNS:
        roles = [ROLE_ARN + name for name in sorted(getattr(topology.access.signing, key))]
        policy = key_policy(roles, ADMIN_ROLE_ARN, POLICY_ROLE_ARN)
        files[f"kms/key-policy-{key}.json"] = _json(policy)
    makers, checkers = mac_roles(topology)
    making, checking = ([ROLE_ARN + name for name in names] for names in (makers, checkers))
    files["kms/key-policy-mac.json"] = _json(mac_key_policy(making, checking, ADMIN_ROLE_ARN, POLICY_ROLE_ARN))
    files["kms/mac-maker.json"] = _json(mac_maker(MAC_KEY_ARN))
    files["kms/mac-checker.json"] = _json(mac_checker(MAC_KEY_ARN))
    return files


def mac_roles(topology: Topology) -> tuple[list[str], list[str]]:
    """Who makes MACs, and who only checks them: whoever signs what a MAC may sign, and whoever else has the archive."""
    access = topology.access
    makers = {name for name in access.signing.everybody if any(MAC_MAY_SIGN[it] for it in SIGNED_BY.get(name, ()))}
    checkers = {*access.archive_readers, *access.archive_writers} - makers
    return sorted(makers), sorted(checkers)


def _command(acl: Acl) -> str:
    target = f"{_TARGETS[acl.resource]} {shlex.quote(acl.name)}" if acl.resource in _TARGETS else "--cluster"
    operation = "".join(part.capitalize() for part in acl.operation.split("_"))
    return f"add --allow-principal {shlex.quote(acl.principal)} --operation {operation} {target}"


def _merged(parts: list[Policy]) -> Policy:
    statements = [statement for part in parts for statement in part["Statement"]]  # type: ignore[attr-defined]
    return {"Version": parts[0]["Version"], "Statement": statements}


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
