"""Whether the signature of a backup's manifest, or of a list of WAL, counts. Pure.

Guarantees: `ledger_core.signing.counting` is asked like for every signed statement, and in its place: lists are
numbered, and a backup names how many files were listed before it. What stands behind a list was signed after it: so a
key that had ended by then signed nothing there, whatever time the statement claims. What a revoked key signed counts
where a later list goes on from it, or a later backup names it.
Does not: know where the statements lie (`finance.recovery.backup.place.catalogue` does).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from ledger_core.errors import Refused
from ledger_core.signing.counting import BackupPlace, first_fault
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import Signed, claim_of

S = TypeVar("S", bound=Signed)
PlaceOf = Callable[[S], BackupPlace]
"""Where a statement stands, as far as it is known yet."""
JUST_MADE: Final = BackupPlace(after=None, is_held=True)


class ReadSigned(Protocol):
    """The statement under a key, read and verified in its place. Raises Refused, Unavailable."""

    def __call__(self, key: str, parse: Callable[[bytes], S], place_of: PlaceOf[S], /) -> S: ...


def statement_fault(
    parse: Callable[[bytes], S], registry: SignerRegistry, place_of: PlaceOf[S], data: bytes
) -> str | None:
    """Why the signature of these bytes does not count; None when it counts."""
    try:
        statement = parse(data)
    except ValueError as error:
        why: str | None = str(error)
    else:
        why = counting_fault(statement, registry, place_of(statement))
    return why and f"is not signed as it should be ({why})"


def check_counts(data: bytes, parse: Callable[[bytes], S], registry: SignerRegistry, place_of: PlaceOf[S]) -> S:
    """What was just signed, parsed. Raises Refused where no reader would accept it: its key ended meanwhile, say."""
    fault = statement_fault(parse, registry, place_of, data)
    if fault is not None:
        raise Refused(
            f"what was signed {fault}, and was not stored",
            remedy="restart with the variables of that key's successor; an emergency key ends by itself",
        )
    return parse(data)


def counting_fault(statement: Signed, registry: SignerRegistry, place: BackupPlace) -> str | None:
    """Why the signature does not count at its place; None when it does."""
    fault = first_fault(replace(claim_of(statement), places=(place,)), registry)
    return None if fault is None else fault.message
