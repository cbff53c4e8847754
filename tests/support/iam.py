"""AWS IAM's decision over one policy, as its reference says: "Policy evaluation logic" and "IAM JSON policy elements:
Condition operators". Only what our policies use.

A Deny that matches wins, then an Allow, else no. All conditions of a statement must hold. A key that the request lacks
makes a comparison false, and a negated one (StringNotEquals, ArnNotEquals) true.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Any


def allowed(policy: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str] | None = None) -> bool:
    """Whether the request is allowed. `context`: its condition keys."""
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if _one_of(action, statement["Action"])
        and _is_of(resource, statement)
        and all(_holds(operator, keys, context or {}) for operator, keys in statement.get("Condition", {}).items())
    }
    return effects == {"Allow"}


def _is_of(resource: str, statement: Mapping[str, Any]) -> bool:
    if "NotResource" in statement:
        return not _one_of(resource, statement["NotResource"])
    return _one_of(resource, statement["Resource"])


def _one_of(text: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


def _holds(operator: str, keys: Mapping[str, str | list[str]], context: Mapping[str, str]) -> bool:
    return all(_compared(operator, context.get(key), wanted) for key, wanted in keys.items())


def _compared(operator: str, given: str | None, wanted: str | list[str]) -> bool:
    values = [wanted] if isinstance(wanted, str) else wanted
    match operator:
        case "Null":
            return (given is None) == (values == ["true"])
        case "StringEquals" | "Bool":
            return given in values
        case "StringNotEquals":
            return given not in values
        case "ArnNotEquals":
            return given is None or not _one_of(given, values)
        case "NumericLessThan":
            return given is not None and any(float(given) < float(value) for value in values)
        case "NumericGreaterThan":
            return given is not None and any(float(given) > float(value) for value in values)
    raise ValueError(f"{operator} is not an operator of our policies")
