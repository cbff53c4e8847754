"""ACLs as the topology wants them: made where they are missing, and only reported where there are more.

Guarantees: `apply` adds and never takes away; what is too much is taken away by name alone (`remove`). Only ACLs on our
own topics and groups, by whatever pattern reaches them, are checked: other tenants of the cluster stay unseen.
Does not: judge DENY entries but to report them, or name super users (they are in the brokers' own settings).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from producers.kafka.admin import REQUEST_SECONDS_MAX, Admin
from schemas.authority.kafka_acls import CLUSTER, Acl, Resource

_RESOURCES: Final[dict[Resource, ResourceType]] = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "cluster": ResourceType.BROKER,
    "transactional_id": ResourceType.TRANSACTIONAL_ID,
}
_WORDS: Final = {kind: word for word, kind in _RESOURCES.items()}


@dataclass(frozen=True, slots=True)
class AclPlan:
    """`missing` is what `apply` makes. `extra`: found and not wanted, as text; people decide. `enforced` False: without
    an authorizer everybody may do everything, and nothing can be compared."""

    missing: tuple[Acl, ...]
    extra: tuple[str, ...]
    enforced: bool = True


def plan(wanted: Collection[Acl], brokers: str, options: Mapping[str, str] | None = None) -> AclPlan:
    """What differs; changes nothing. Raises Unavailable, Refused."""
    return _plan(wanted, Admin(brokers, options))


def apply(wanted: Collection[Acl], brokers: str, options: Mapping[str, str] | None = None) -> AclPlan:
    """Make what is missing; the plan it followed. Raises Unavailable, Refused."""
    admin = Admin(brokers, options)
    planned = _plan(wanted, admin)
    if planned.missing:
        futures = admin.client.create_acls(
            [_binding(acl) for acl in planned.missing], request_timeout=REQUEST_SECONDS_MAX
        )
        for binding, future in futures.items():
            admin.result(future, f"make the ACL on {binding.name}")
        _await_them(wanted, admin)
    return planned


def _await_them(wanted: Collection[Acl], admin: Admin) -> None:
    """The controller has them; brokers follow a moment later, and who starts now must not be turned away."""
    deadline = time.monotonic() + REQUEST_SECONDS_MAX
    while _plan(wanted, admin).missing and time.monotonic() < deadline:
        time.sleep(0.05)


def remove(acls: Collection[Acl], brokers: str, options: Mapping[str, str] | None = None) -> int:
    """Take away exactly these literal ACLs; how many were there. Raises Unavailable, Refused."""
    admin = Admin(brokers, options)
    filters = [
        AclBindingFilter(
            _RESOURCES[acl.resource], acl.name, ResourcePatternType.LITERAL, acl.principal, "*",
            AclOperation[acl.operation], AclPermissionType.ALLOW,
        )
        for acl in acls
    ]  # fmt: skip
    removed = 0
    for future in admin.client.delete_acls(filters, request_timeout=REQUEST_SECONDS_MAX).values():
        removed += len(admin.result(future, "remove an ACL"))
    return removed


def _plan(wanted: Collection[Acl], admin: Admin) -> AclPlan:
    any_acl = AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]  # any name, principal and host
        ResourcePatternType.ANY,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    found = admin.result(admin.client.describe_acls(any_acl, request_timeout=REQUEST_SECONDS_MAX), "list ACLs")
    if not found and not _has_authorizer(admin):
        return AclPlan((), (), enforced=False)
    plain = {acl for binding in found if (acl := _plain(binding)) is not None}
    ours = {(acl.resource, acl.name) for acl in wanted if acl.name != CLUSTER}
    extra = [_told(binding) for binding in found if _plain(binding) not in wanted and _reaches(binding, ours)]
    return AclPlan(tuple(sorted(set(wanted) - plain)), tuple(sorted(extra)))


def _has_authorizer(admin: Admin) -> bool:
    """Asked of a broker's settings: without an authorizer librdkafka gives an empty list, and no error."""
    broker = str(min(admin.cluster("list ACLs").brokers))
    (future,) = admin.client.describe_configs([ConfigResource(ResourceType.BROKER, broker)]).values()
    return bool(admin.result(future, "list ACLs")["authorizer.class.name"].value)


def _plain(binding: Any) -> Acl | None:
    """A literal ALLOW from every host, as we make them; None for any other."""
    word = _WORDS.get(binding.restype)
    literal = binding.resource_pattern_type == ResourcePatternType.LITERAL and binding.host == "*"
    if word is None or not literal or binding.permission_type != AclPermissionType.ALLOW:
        return None
    return Acl(binding.principal, word, binding.name, binding.operation.name)


def _reaches(binding: Any, ours: Collection[tuple[str, str]]) -> bool:
    word = _WORDS.get(binding.restype)
    if word is None:
        return False
    if binding.resource_pattern_type == ResourcePatternType.PREFIXED:
        return any(kind == word and name.startswith(binding.name) for kind, name in ours)
    return any(kind == word and binding.name in ("*", name) for kind, name in ours)


def _told(binding: Any) -> str:
    acl = _plain(binding)
    if acl is not None:
        return acl.text
    parts = (binding.principal, _WORDS[binding.restype], binding.name, binding.operation.name)
    how = (binding.permission_type.name, binding.resource_pattern_type.name, f"host {binding.host}")
    return f"{' '.join(parts)} ({', '.join(how).lower()})"


def _binding(acl: Acl) -> AclBinding:
    return AclBinding(
        _RESOURCES[acl.resource],
        acl.name,
        ResourcePatternType.LITERAL,
        acl.principal,
        "*",
        AclOperation[acl.operation],
        AclPermissionType.ALLOW,
    )
