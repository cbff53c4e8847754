"""Whether the signature of a backup's manifest, or of a list of WAL, counts. Pure.

Guarantees: `ledger_core.signing.counting` is asked like for every signed statement, and in its place: lists are
numbered, and a backup names how many files were listed before it. What stands behind a list was signed after it: so a
key that had ended by then signed nothing there, whatever time the statement claims.
Does not: know where the statements lie (`finance.recovery.backup.place.catalogue` does).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from ledger_core.errors import Refused
from ledger_core.signing.counting import BackupPlace, first_fault
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import Signed, claim_of

S = TypeVar("S", bound=Signed)
Latest = Callable[[S], dt.datetime | None]
"""Of a statement: the latest time at which a list before it was signed, UTC; None where no list is before it."""


def statement_fault(
    parse: Callable[[bytes], S], registry: SignerRegistry, latest: Latest[S], data: bytes
) -> str | None:
    """Why the signature of these bytes does not count; None when it counts."""
    try:
        statement = parse(data)
    except ValueError as error:
        why: str | None = str(error)
    else:
        why = counting_fault(statement, registry, latest(statement))
    return why and f"is not signed as it should be ({why})"


def check_counts(data: bytes, parse: Callable[[bytes], S], registry: SignerRegistry, latest: Latest[S]) -> S:
    """What was just signed, parsed. Raises Refused where no reader would accept it: its key ended meanwhile, say."""
    fault = statement_fault(parse, registry, latest, data)
    if fault is not None:
        raise Refused(
            f"what was signed {fault}, and was not stored",
            remedy="restart with the variables of that key's successor; an emergency key ends by itself",
        )
    return parse(data)


def counting_fault(statement: Signed, registry: SignerRegistry, after: dt.datetime | None) -> str | None:
    """Why the signature does not count behind a list of the time `after`; None when it does."""
    places = () if after is None else (BackupPlace(after),)
    fault = first_fault(replace(claim_of(statement), places=places), registry)
    return None if fault is None else fault.message
