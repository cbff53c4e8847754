"""The second person of an emergency signer: an approval is an act of his own, by his own certificate, on record.

Guarantees: an approval names one key by its fingerprint, for so many hours; it counts for a day, and not for who gave
it. It may still wait in the outbox: while no key signs, nothing reaches the chain. Does not: know who belongs to
Security: whoever may act as an operator may approve, and the event says who did.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

from finance.signing.desk import Desk, Look
from ledger_core.errors import Refused
from ledger_core.hashes import is_hash
from ledger_core.signing.registry import RegisteredSigner, check_kid
from ledger_core.signing.rotation import APPROVED, SignerEvent

GOOD_FOR: Final = dt.timedelta(hours=24)
OPERATOR: Final = "operator:"


@dataclass(frozen=True, slots=True)
class Approval:
    """What was approved, and whether this call put it on record."""

    kid: str  # name of the emergency signer
    fingerprint: str  # SHA-256 of the key's SubjectPublicKeyInfo, hex
    hours: int  # how long it may sign
    told: bool  # put on record by this call


def approve(desk: Desk, kid: str, fingerprint: str, hours: int, reason: str) -> Approval:
    """Put on record that this operator approves the key. Raises Refused; Unavailable when the database is away."""
    if not is_hash(fingerprint):
        raise Refused(
            f"{fingerprint[:80]!r} is not the fingerprint of a key",
            remedy="give the 64 hex digits that `finance signers emergency` shows to whoever asks for it",
        )
    try:
        check_kid(kid)
    except ValueError as error:
        raise Refused(str(error), remedy="give the kid that is asked for") from error
    look = desk.look()
    own = [it for it in _of(look, kid, fingerprint, hours, desk.now) if it.actor_id == desk.actor_id]
    if not own:
        payload = {"signer_kid": kid, "fingerprint": fingerprint, "hours": str(hours), "reason": reason}
        desk.tell(APPROVED, payload)
    return Approval(kid, fingerprint, hours, told=not own and not desk.dry_run)


def approver_of(desk: Desk, look: Look, signer: RegisteredSigner, hours: int) -> str:
    """The name of another operator who approved this key for so long. Raises Refused when nobody did."""
    fingerprint = signer.public_key.fingerprint
    found = _of(look, signer.kid, fingerprint, hours, desk.now)
    others = [it for it in found if it.actor_id != desk.actor_id]
    if others:
        return others[-1].actor_id.removeprefix(OPERATOR)
    said = "only you approved" if found else "nobody approved"
    raise Refused(
        f"{said} {signer.kid} with this key, for {hours} hours, within the last day",
        remedy="let another operator run, by a certificate of his own: "
        f"finance signers approve {signer.kid} --fingerprint {fingerprint} --hours {hours} --reason '...'",
    )


def _of(look: Look, kid: str, fingerprint: str, hours: int, now: dt.datetime) -> list[SignerEvent]:
    return [
        it
        for it in look.events
        if it.event_type == APPROVED
        and (it.text("signer_kid"), it.text("fingerprint")) == (kid, fingerprint)
        and int(it.text("hours") or 0) >= hours
        and it.created_at > now - GOOD_FOR
    ]
