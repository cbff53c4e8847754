"""Changes of the registry that are not a rotation: a key more, a key retired or revoked, an emergency key.

Each is two side effects in this order, and asked for again after a crash it does what is missing:
  1. signers.json is replaced   the commit point: from here on the key is accepted, or is not
  2. an intent is left          the audit chain says who did it, and why
Guarantees: a kid never gets another key, a key never a second kid; a retired key counts for exactly what it signed, and
never for more again.
Does not: change what any process signs with: variables and a restart do.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from finance.signing.approvals import approver_of
from finance.signing.desk import Desk
from finance.signing.key_choice import ask_key
from finance.signing.reach import cut, pinned, range_ends, reach
from ledger_core.errors import Refused
from ledger_core.signing.purposes import Purpose
from ledger_core.signing.registry import RegisteredSigner
from ledger_core.signing.rotation import EMERGENCY, REGISTERED, RETIRED, REVOKED
from ledger_core.signing.validity import Validity


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did: the diff of the registry (empty: it stood there), whether the chain announces it, what is
    left.
    """

    kid: str  # of the signer that was changed
    diff: str  # unified, of signers.json
    told: bool  # announced on the audit chain by this change, or one before
    variables: Mapping[str, str] = field(default_factory=dict)  # to set for prover, archiver and notary


def add(desk: Desk, variables: Mapping[str, str], description: str, signs: frozenset[Purpose] | None = None) -> Changed:
    """Register the key that the variables name, for these kinds of statements (None: every kind). Raises Refused;
    Unavailable when its service is away."""
    look, registry = desk.look(), desk.registry
    asked = ask_key(desk.settings, desk.topology, registry, variables, desk.now)
    look.check_fresh(registry, asked)
    known = registry.find(asked.kid)
    try:
        signer = known or dataclasses.replace(asked, description=description, signs=signs)
    except ValueError as error:
        raise Refused(str(error), remedy="leave --signs out, or name kinds that a MAC may sign") from error
    if signer.signs != signs:
        raise Refused(
            f"signer {signer.kid} is registered already, and what it signs never changes",
            remedy="register a key of its own for other kinds of statements",
        )
    changes = desk.write(signer)
    missing = not look.told(REGISTERED, signer.kid)
    if missing:
        desk.tell(REGISTERED, {**_key(signer), "description": signer.description})
    return Changed(signer.kid, changes, missing and not desk.dry_run)


def retire(desk: Desk, kid: str, reason: str, *, idle: bool) -> Changed:
    """Retire a key that no longer signs: it counts for exactly what it signed."""
    look, signer = desk.look(), desk.registered(kid)
    look.check_left(kid, idle=idle)
    ended = end(signer, final_validity(desk, signer), look.ending(desk.now))
    changes = desk.write(ended)
    missing = not look.told(RETIRED, kid)
    if missing:
        desk.tell(RETIRED, {**_key(ended), **_ended(ended), "reason": reason})
    return Changed(kid, changes, missing and not desk.dry_run)


def revoke(
    desk: Desk, kid: str, reason: str, to_seq: Mapping[int, int], audit_to_seq: int | None, *, idle: bool
) -> Changed:
    """Revoke a key that somebody else may hold: from these sequences on (unless given: the newest that it signed, or
    must sign still) it proves nothing, whatever time its statements give; everything before stands."""
    look, signer = desk.look(), desk.registered(kid)
    look.check_signs_no_more(kid, idle=idle)
    cut(reach(desk.uses(kid)), to_seq, audit_to_seq)  # what is asked for, before it is moved to where a range ends
    with desk.heads() as held:
        validity = pinned(cut(final_validity(desk, signer), range_ends(to_seq, held), audit_to_seq), held)
    revoked = dataclasses.replace(
        end(signer, validity, look.ending(desk.now)), revoked_at=signer.revoked_at or desk.now
    )
    changes = desk.write(revoked)
    missing = bool(changes) or not look.told(REVOKED, kid)
    if missing:
        desk.tell(REVOKED, {**_key(revoked), **_ended(revoked), "reason": reason})
    return Changed(kid, changes, missing and not desk.dry_run)


def emergency(desk: Desk, variables: Mapping[str, str], *, hours: int, reason: str) -> Changed:
    """Register a key for a few hours while the regular one is out of reach, once another operator approved it
    (`finance.signing.approvals`). Raises Refused.

    It is registered as retired from its end on: no process signs with it after that, and no verifier accepts it.
    """
    look, registry = desk.look(), desk.registry
    asked = ask_key(desk.settings, desk.topology, registry, variables, desk.now)
    known = registry.find(asked.kid)
    if known is None or known.public_key != asked.public_key or known.retired_at is None:
        look.check_fresh(registry, asked)
        known = None
    approver = approver_of(desk, look, asked, hours)
    description = f"emergency signer: {reason} (approved by {approver})"
    signer = known or dataclasses.replace(
        asked, retired_at=desk.now + dt.timedelta(hours=hours), description=description
    )
    if signer.retired_at is None or signer.retired_at <= desk.now:
        raise Refused(f"signer {signer.kid} is retired", remedy="make a new key: a retired one never comes back")
    changes = desk.write(signer)
    missing = not look.told(EMERGENCY, signer.kid)
    if missing:
        told = {"reason": reason, "approver": approver, "expires_at": f"{signer.retired_at:%Y-%m-%dT%H:%M:%SZ}"}
        desk.tell(EMERGENCY, {**_key(signer), "public_key_pem": signer.public_pem, **told})
    return Changed(signer.kid, changes, missing and not desk.dry_run, variables)


def final_validity(desk: Desk, signer: RegisteredSigner) -> Validity:
    """For what a key counts once it is over: what it signed. It never grows again, whatever was signed since."""
    if signer.validity is not None:
        return signer.validity
    with desk.heads() as held:
        return pinned(reach(desk.uses(signer.kid)), held)


def end(signer: RegisteredSigner, validity: Validity, now: dt.datetime) -> RegisteredSigner:
    """The signer as it is once it is retired. One that was retired keeps its time, if that is past."""
    past = signer.retired_at is not None and signer.retired_at <= now
    return dataclasses.replace(signer, retired_at=signer.retired_at if past else now, validity=validity)


def _key(signer: RegisteredSigner) -> dict[str, object]:
    return {
        "signer_kid": signer.kid,
        "algorithm": signer.algorithm,
        "fingerprint": signer.public_key.fingerprint,
    }


def _ended(signer: RegisteredSigner) -> dict[str, object]:
    return {
        "retired_at": f"{signer.retired_at:%Y-%m-%dT%H:%M:%SZ}",
        "validity": {} if signer.validity is None else signer.validity.to_json(),
    }
