"""Changes of the registry that are not a rotation: a key more, a key retired or revoked, an emergency key.

Each is two side effects in this order, and asked for again after a crash it does what is missing:
  1. signers.json is replaced   the commit point: from here on the key is accepted, or is not
  2. an intent is left          the audit chain tells who did it, and why
Guarantees: a kid never gets another key, a key never a second kid; a retired key counts for exactly what it signed.
Does not: change what any process signs with: variables and a restart do.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from finance.settings import Settings
from finance.signer_choice import ask_key, check_clock
from finance.signer_reach import cut, reach, waiting
from finance.signers_file import change_registry, read_registry
from ledger_core.errors import Refused
from ledger_core.ports import AuditIntent
from ledger_core.postgres.signer_uses import SignerUse, open_signer_uses, tell
from ledger_core.registry_edit import diff, with_signers
from ledger_core.rotation import EMERGENCY, REGISTERED, RETIRED, REVOKED, SignerEvent
from ledger_core.signer_validity import Validity
from ledger_core.signers import RegisteredSigner, SignerRegistry
from schemas.topology_model import Topology


@dataclass(frozen=True, slots=True)
class Desk:
    """Who changes the registry, where, and when."""

    settings: Settings
    topology: Topology
    actor_id: str
    now: dt.datetime
    dry_run: bool = False

    @property
    def dsn(self) -> str:
        return self.settings.database_url("api")

    @property
    def registry(self) -> SignerRegistry:
        return read_registry(self.settings.signers_path)

    def look(self) -> Look:
        """What the database says now. Raises Refused when its clock is not ours."""
        with open_signer_uses(self.dsn) as held:
            check_clock(self.now, held.clock())
            return Look(held.uses(), held.newest(), held.events())

    def write(self, *signers: RegisteredSigner) -> str:
        """Put these signers into the registry; the diff."""
        before, after = change_registry(
            self.settings.signers_path, lambda data: with_signers(data, signers), dry_run=self.dry_run
        )
        return diff(before, after, self.settings.signers_path.name)

    def tell(self, event_type: str, payload: Mapping[str, object]) -> None:
        """Leave the intent."""
        if not self.dry_run:
            tell(self.dsn, AuditIntent(event_type, self.actor_id, dict(payload), uuid.uuid4().hex))


@dataclass(frozen=True, slots=True)
class Look:
    """The database at one moment: what each key signed, whose the newest statements are, what was told of signers."""

    uses: Sequence[SignerUse]
    newest: Mapping[str, str]
    events: Sequence[SignerEvent]

    def told(self, event_type: str, kid: str) -> bool:
        """Whether the newest event about a key is of that type."""
        about = [event for event in self.events if event.text("signer_kid") == kid]
        return bool(about) and about[-1].event_type == event_type

    def check_fresh(self, registry: SignerRegistry, signer: RegisteredSigner) -> None:
        """Raise Refused unless the kid and the key may become a new signer (or are registered, and never signed)."""
        named, held = registry.find(signer.kid), registry.find_by_key(signer.public_key)
        if named is not None and named.public_key != signer.public_key:
            raise Refused(f"signer {signer.kid} is registered with another key", remedy="give the new key a new kid")
        if held is not None and held.kid != signer.kid:
            raise Refused(f"that key is registered as {held.kid}", remedy="use that kid, or make a new key")
        if named is not None and named.retired_at is not None:
            raise Refused(f"signer {signer.kid} is retired", remedy="make a new key: a retired one never comes back")


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did: the diff of the registry (empty: it stood there), whether the chain is told, what is left."""

    kid: str
    diff: str
    told: bool
    variables: Mapping[str, str] = field(default_factory=dict)


def add(desk: Desk, variables: Mapping[str, str], description: str) -> Changed:
    """Register the key that the variables name. Raises Refused; Unavailable when its service is away."""
    look, registry = desk.look(), desk.registry
    asked = ask_key(desk.settings, desk.topology, registry, variables, desk.now)
    look.check_fresh(registry, asked)
    known = registry.find(asked.kid)
    signer = known or dataclasses.replace(asked, description=description)
    changes = desk.write(signer)
    missing = not look.told(REGISTERED, signer.kid)
    if missing:
        desk.tell(REGISTERED, {**_key(signer), "description": signer.description})
    return Changed(signer.kid, changes, missing and not desk.dry_run)


def retire(desk: Desk, kid: str, reason: str) -> Changed:
    """Retire a key that no longer signs: it counts for exactly what it signed."""
    look, signer = desk.look(), _registered(desk.registry, kid)
    left = waiting(look.uses, kid)
    if left:
        raise Refused(
            f"{left} closed ranges wait for a signature of {kid}",
            remedy="let it sign them (OUTGOING_AUDIT_SIGNING_*); `finance rotate status` counts them",
        )
    if look.newest.get("audit event") == kid:
        raise Refused(
            f"{kid} signed the newest audit event", remedy="rotate to another key first (RUNBOOK.md, section 12)"
        )
    ended = end(signer, reach(look.uses, kid), desk.now)
    changes = desk.write(ended)
    missing = not look.told(RETIRED, kid)
    if missing:
        desk.tell(RETIRED, {**_key(ended), **_ended(ended), "reason": reason})
    return Changed(kid, changes, missing and not desk.dry_run)


def revoke(desk: Desk, kid: str, reason: str, to_seq: Mapping[int, int], audit_to_seq: int | None) -> Changed:
    """Revoke a key that somebody else may hold: from these sequences on (unless given: the newest that it signed, or
    must sign still) it proves nothing, whatever time its statements give; everything before stands."""
    look, signer = desk.look(), _registered(desk.registry, kid)
    reached = reach(look.uses, kid)
    if signer.validity is not None and look.told(REVOKED, kid) and not to_seq and audit_to_seq is None:
        reached = signer.validity  # asked again after a crash
    ended = end(signer, cut(reached, to_seq, audit_to_seq), desk.now)
    changes = desk.write(ended)
    missing = bool(changes) or not look.told(REVOKED, kid)
    if missing:
        desk.tell(REVOKED, {**_key(ended), **_ended(ended), "reason": reason})
    return Changed(kid, changes, missing and not desk.dry_run)


def emergency(desk: Desk, variables: Mapping[str, str], *, lasts: dt.timedelta, reason: str, approver: str) -> Changed:
    """Register a key for a few hours while the regular one is out of reach. Raises Refused.

    It is registered as retired from its end on: no process signs with it after that, and no verifier accepts it.
    """
    if desk.actor_id == f"operator:{approver}":
        raise Refused(
            f"{approver} cannot approve an emergency signer of their own",
            remedy="let a second person of Security approve it, and name them with --approved-by",
        )
    look, registry = desk.look(), desk.registry
    asked = ask_key(desk.settings, desk.topology, registry, variables, desk.now)
    known = registry.find(asked.kid)
    if known is None or known.public_key != asked.public_key or known.retired_at is None:
        look.check_fresh(registry, asked)
        known = None
    description = f"emergency signer: {reason} (approved by {approver})"
    signer = known or dataclasses.replace(asked, retired_at=desk.now + lasts, description=description)
    if signer.retired_at is None or signer.retired_at <= desk.now:
        raise Refused(f"signer {signer.kid} is retired", remedy="make a new key: a retired one never comes back")
    changes = desk.write(signer)
    missing = not look.told(EMERGENCY, signer.kid)
    if missing:
        told = {"reason": reason, "approver": approver, "expires_at": f"{signer.retired_at:%Y-%m-%dT%H:%M:%SZ}"}
        desk.tell(EMERGENCY, {**_key(signer), "public_key_pem": signer.public_key.pem, **told})
    return Changed(signer.kid, changes, missing and not desk.dry_run, variables)


def end(signer: RegisteredSigner, validity: Validity, now: dt.datetime) -> RegisteredSigner:
    """The signer as it is once it is retired. One that was retired keeps its time, if that is past."""
    past = signer.retired_at is not None and signer.retired_at <= now
    return dataclasses.replace(signer, retired_at=signer.retired_at if past else now, validity=validity)


def _registered(registry: SignerRegistry, kid: str) -> RegisteredSigner:
    found = registry.find(kid)
    if found is None:
        raise Refused(f"signer {kid} is not in the registry", remedy="see `finance signers list`")
    return found


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
