"""The steps of a key rotation. Each reads the state from the audit chain, does one thing, announces it.

Order of side effects of every step: the registry file first, then the intent: a step that was cut off between them is
done again whole, and finds the file as it wants it. No process is restarted here: `deploy` says which variables change.
Guarantees: the key is published before it is announced, announced (by the outgoing key) before it is deployed, both are
accepted for the overlap, the new one tried before the old one is retired; the way back is open at every step.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from finance.settings import clock
from finance.signing.changes import end, final_validity
from finance.signing.desk import Desk, Look
from finance.signing.key_choice import ask_key, current_kid, current_variables, outgoing
from finance.wiring.registry_file import check_copy
from ledger_core.errors import Refused
from ledger_core.signing import rotation as log
from ledger_core.signing.rotation import (
    EMERGENCY,
    EVENT_TYPE,
    RETIRED,
    REVOKED,
    Rotation,
    Step,
    rotations,
    step_payload,
)

NOT_BEGUN = "begin one with `finance rotate begin`"


@dataclass(frozen=True, slots=True)
class Done:
    """What a step did. `variables` are those that change, for prover, archiver and notary."""

    rotation: Rotation
    step: Step  # that was done
    diff: str = ""  # unified, of signers.json; empty: it stands as it was
    told: bool = False  # announced on the audit chain by this step
    variables: Mapping[str, str] = field(default_factory=dict)
    proof: Mapping[str, object] | None = None  # what the incoming key signed, where the step asks for it


def begin(desk: Desk, variables: Mapping[str, str], *, overlap: dt.timedelta, description: str) -> Done:
    """Publish the incoming key in the registry and announce it. Raises Refused; Unavailable."""
    look, registry = desk.look(), desk.registry
    open_one = next((it for it in rotations(look.events) if it.open), None)
    if open_one is not None:
        return _begun(desk, open_one, variables, description)
    old = desk.registered(current_kid(desk.settings, desk.topology, registry))
    if old.is_mac:
        raise Refused(
            f"these settings sign with {old.kid}, a MAC key, and a rotation is of the key that signs the audit chain",
            remedy="name that key as [signing]; a MAC key is exchanged by a keys file (docs/SIGNING.md)",
        )
    signs = look.notary_kid or old.kid
    if signs != old.kid:
        raise Refused(
            f"these settings sign with {old.kid}, and {signs} signed the newest audit event",
            remedy="run this with the variables that the notary runs with",
        )
    asked = ask_key(desk.settings, desk.topology, registry, variables, desk.now)
    look.check_fresh(registry, asked)
    if desk.uses(asked.kid):
        raise Refused(f"{asked.kid} signed already", remedy="announce a key before it signs: make a new one")
    new = registry.find(asked.kid) or dataclasses.replace(asked, description=description, signs=old.signs)
    if new.signs != old.signs:
        raise Refused(
            f"{new.kid} is registered for other statements than {old.kid}",
            remedy="make a key that is not registered yet: the rotation registers it for the same statements",
        )
    changes = desk.write(new)
    payload = log.announcement(
        old,
        new,
        rotation_id=clock.new_trace_id(),
        overlap=overlap,
        incoming_variables=variables,
        outgoing_variables=current_variables(desk.settings, old.kid),
    )
    desk.tell(EVENT_TYPE, payload)
    return Done(Rotation(str(payload["rotation_id"]), old.kid, new.kid), "announced", changes, told=not desk.dry_run)


def _begun(desk: Desk, current: Rotation, variables: Mapping[str, str], description: str) -> Done:
    """The same rotation, begun before: make sure that the registry here holds its key. Raises Refused on another."""
    if current.incoming != variables["AUDIT_SIGNING_KID"] or current.step != "announced":
        raise Refused(
            f"the rotation from {current.outgoing} to {current.incoming} is not over (it is {current.step})",
            remedy="finish it, or roll it back: `finance rotate status` says what is next",
        )
    asked = ask_key(desk.settings, desk.topology, desk.registry, variables, desk.now)
    if asked.public_key.fingerprint != current.announced.text("incoming_fingerprint"):
        raise Refused(
            f"{current.incoming} was announced with another key than these options name",
            remedy="name the announced key, or roll back (`finance rotate rollback`) and begin with a new kid",
        )
    signs = desk.registered(current.outgoing).signs
    signer = desk.registry.find(asked.kid) or dataclasses.replace(asked, description=description, signs=signs)
    return Done(current, "announced", desk.write(signer))


def deploy(desk: Desk, kernel: Path | None) -> Done:
    """Say which variables change, once the announcement stands on the chain, and Kernel (whose copy `kernel` is) has
    the key. Raises Refused."""
    current = _open(desk.look())
    _announced(current)
    if current.back:
        raise _wrong_step(current, "it is on its way back: `finance rotate finish`")
    incoming = desk.registered(current.incoming)
    if kernel is not None:
        check_copy(kernel, [incoming])
    coming, leaving = desk.own(current.variables("incoming")), desk.own(current.variables("outgoing"))
    asked = ask_key(desk.settings, desk.topology, desk.registry, coming, desk.now)
    if asked.public_key != incoming.public_key:
        raise Refused(
            f"{current.incoming} is registered with another key than the announced variables name",
            remedy="roll back, and find out who announced it",
        )
    changing = {**coming, **outgoing(leaving)}
    return _tell(desk, current, "deployed", {"kernel_checked": kernel is not None}, variables=changing)


def prove(desk: Desk, proof: Mapping[str, object] | None) -> Done:
    """Announce that the incoming key made a proof that the published registry verifies."""
    current = _open(desk.look())
    _announced(current)
    details = {} if proof is None else {"proof_id": proof["proof_id"], "proof_hash": proof["hash"]}
    return _tell(desk, current, "proved", details, proof=proof)


def finish(desk: Desk, *, early: str | None, idle: bool) -> Done:
    """Retire the key that leaves: the outgoing one, or after a rollback the incoming one. Raises Refused."""
    look = desk.look()
    known = rotations(look.events)
    if known and not known[-1].open:
        return Done(known[-1], known[-1].step)  # done already, perhaps unheard of
    current = _open(look)
    if not current.back:
        _check_overlap(current, desk.now, early)
    look.check_left(current.leaving, idle=idle)
    leaving = desk.registered(current.leaving)
    ended = end(leaving, final_validity(desk, leaving), look.ending(desk.now))
    changes = desk.write(ended)
    validity = {} if ended.validity is None else ended.validity.to_json()
    details = {"retired_kid": leaving.kid, "validity": validity, **({"early": early} if early else {})}
    return _tell(desk, current, "rolled_back" if current.back else "retired", details, diff=changes)


def rollback(desk: Desk, reason: str) -> Done:
    """Turn back to the outgoing key, at any step. What the incoming key signed stays valid. Raises Refused."""
    look = desk.look()
    known = rotations(look.events)
    if not known or known[-1].step == "rolled_back":
        raise Refused("there is no rotation to roll back", remedy=NOT_BEGUN)
    current = known[-1]
    if current.back:
        return Done(current, "rolling_back", variables=_back(desk, current))
    going = _back(desk, current)
    old = desk.registered(current.outgoing)
    if old.retired_at is not None and old.retired_at <= desk.now:
        if old.revoked_at is not None or any(look.told(it, old.kid) for it in (RETIRED, REVOKED, EMERGENCY)):
            raise Refused(
                f"{old.kid} was ended by something else than this rotation",
                remedy="a key that was revoked, or was for an emergency, never comes back: rotate to a new one",
            )
        old = dataclasses.replace(old, retired_at=None, validity=None)
    changes = desk.write(old)
    return _tell(desk, current, "rolling_back", {"reason": reason}, diff=changes, variables=going)


def _back(desk: Desk, current: Rotation) -> dict[str, str]:
    return {**desk.own(current.variables("outgoing")), **outgoing(desk.own(current.variables("incoming")))}


def _open(look: Look) -> Rotation:
    found = next((it for it in rotations(look.events) if it.open), None)
    if found is None:
        raise Refused("no rotation is under way", remedy=NOT_BEGUN)
    return found


def _announced(current: Rotation) -> None:
    event = current.announced
    if event.seq is None:
        raise Refused(
            f"the announcement of {current.incoming} is not on the audit chain yet",
            remedy="wait for the notary, which signs it with the outgoing key (if it cannot, its log says "
            "signer.failed), and try again",
        )
    if event.signer_kid != current.outgoing:
        raise Refused(
            f"the announcement is signed by {event.signer_kid}, not by {current.outgoing}",
            remedy="roll back, and begin again: the audit chain would not show which key to trust",
        )


def _check_overlap(current: Rotation, now: dt.datetime, early: str | None) -> None:
    deployed = current.event("deployed")
    if deployed is None or current.event("proved") is None:
        missing = "deploy" if deployed is None else "prove"
        raise _wrong_step(current, f"first `finance rotate {missing}`")
    over = deployed.created_at + current.overlap
    if now < over and not early:
        raise _wrong_step(current, f"the overlap lasts until {over:%Y-%m-%dT%H:%M:%SZ}; or give a reason with --early")


def _wrong_step(current: Rotation, remedy: str) -> Refused:
    return Refused(f"the rotation to {current.incoming} is {current.step}", remedy=remedy)


def _tell(
    desk: Desk,
    current: Rotation,
    step: Step,
    details: Mapping[str, object],
    *,
    diff: str = "",
    variables: Mapping[str, str] | None = None,
    proof: Mapping[str, object] | None = None,
) -> Done:
    missing = current.event(step) is None or step in ("proved", "rolling_back")
    if missing:
        desk.tell(EVENT_TYPE, step_payload(current, step, details))
    return Done(current, step, diff, missing and not desk.dry_run, variables or {}, proof)
