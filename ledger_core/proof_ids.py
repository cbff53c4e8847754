"""The ids of proofs: `<env>-<shard>-<range_no>` of a closed range, `<env>-demand-<token>` of what an operator asks for.

Guarantees: no id is both. The database admits these two forms alone (`proofs`, migration 0022).
"""

from __future__ import annotations

import re
from typing import Final

_OF_RANGE: Final = re.compile(r"([a-z]+)-(0|[1-9][0-9]{0,9})-([1-9][0-9]{0,18})")
_OF_DEMAND: Final = re.compile(r"[a-z]+-demand-[0-9a-f-]+")


def of_range(env: str, shard: int, range_no: int) -> str:
    """The id of the proof of one closed range: a pure function of its place."""
    return f"{env}-{shard}-{range_no}"


def of_demand(env: str, token: str) -> str:
    """The id of a proof that an operator asked for; `token` is new, hex digits and hyphens."""
    return f"{env}-demand-{token}"


def range_no_of(proof_id: str, env: str, shard: int) -> int | None:
    """The number of the closed range of this shard whose proof it is; None when it is another's."""
    found = _OF_RANGE.fullmatch(proof_id)
    return int(found[3]) if found is not None and (found[1], found[2]) == (env, str(shard)) else None


def is_of_demand(proof_id: str) -> bool:
    """Whether an operator asked for it."""
    return _OF_DEMAND.fullmatch(proof_id) is not None
