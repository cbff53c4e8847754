"""Who changes the signer registry, and what they see before they do.

Guarantees: one command changes signers at a time, for the whole ledger (`Desk.alone`), so what was read is still true
when it is acted on; a key leaves only when the newest statement of every shard is by another one.
Does not: decide what changes (`finance.signing.changes`, `finance.signing.rotation`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from finance.settings import clock
from finance.settings.deployment import Settings
from finance.signing.key_choice import check_clock, own_variables
from finance.signing.reach import Heads
from finance.wiring.mac_keys import trusted_registry
from finance.wiring.registry_file import change_registry
from ledger_core.audit.events import STEP
from ledger_core.errors import Refused
from ledger_core.ports import AuditIntent
from ledger_core.postgres.signing.signer_uses import Newest, SignerUse, only_changer, open_signer_uses, tell
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.registry_edit import diff, with_signers
from ledger_core.signing.rotation import APPROVED, SignerEvent
from schemas.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Desk:
    """Who changes the registry, where, and when."""

    settings: Settings
    topology: Topology
    actor_id: str  # the operator, in audit events
    now: dt.datetime  # UTC
    dry_run: bool = False  # nothing is written
    addresses: Sequence[str] = ()  # of key services, said by the operator

    @property
    def dsn(self) -> str:
        return self.settings.database_url("api")

    @property
    def registry(self) -> SignerRegistry:
        return trusted_registry(self.settings, name="api")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else changes signers meanwhile. Raises Refused while somebody does."""
        if self.dry_run:
            yield
            return
        with only_changer(self.dsn):
            yield

    def own(self, announced: Mapping[str, str]) -> dict[str, str]:
        """What an event says of a key, checked against what is ours (`key_choice.own_variables`). Raises Refused."""
        return own_variables(self.settings, announced, self.addresses)

    def registered(self, kid: str) -> RegisteredSigner:
        """The signer of that name. Raises Refused."""
        found = self.registry.find(kid)
        if found is None:
            raise Refused(
                f"signer {kid} is not in {self.settings.signers_path}",
                remedy="see `finance signers list`; FINANCE_SIGNERS must name the newest registry: bring it here first",
            )
        return found

    def look(self) -> Look:
        """What the database says now. Raises Refused when its clock is not ours."""
        with open_signer_uses(self.dsn) as held:
            check_clock(self.now, held.clock())
            return Look(held.newest(), held.waiting(), held.events(), held.chain_time())

    def uses(self, kid: str | None = None) -> Sequence[SignerUse]:
        """All that a key (None: each key) signed, or has to sign still."""
        with open_signer_uses(self.dsn) as held:
            return held.uses(kid)

    @contextmanager
    def heads(self) -> Iterator[Heads]:
        """The ledger's and the audit chain's hashes, in one snapshot."""
        with open_signer_uses(self.dsn) as held:
            yield held

    def write(self, *signers: RegisteredSigner) -> str:
        """Put these signers into the registry; the diff."""
        before, after = change_registry(
            self.settings.signers_path, lambda data: with_signers(data, signers), dry_run=self.dry_run
        )
        return diff(before, after, self.settings.signers_path.name)

    def tell(self, event_type: str, payload: Mapping[str, object]) -> None:
        """Leave the intent."""
        if not self.dry_run:
            tell(self.dsn, AuditIntent(event_type, self.actor_id, dict(payload), clock.new_trace_id()))


@dataclass(frozen=True, slots=True)
class Look:
    """The database at one moment: whose the newest statements are, which ranges wait for whom, what the chain says of
    signers.
    """

    newest: Sequence[Newest]  # statements, one for each shard and kind
    waiting: Mapping[str, int]  # ranges without a proof, by kid
    events: Sequence[SignerEvent]  # in order, outbox after chain
    chain_at: dt.datetime | None = None  # time of the newest audit event, UTC; None on an empty chain

    def ending(self, now: dt.datetime) -> dt.datetime:
        """When a key ends that is ended now: after the newest audit event, whose time lies ahead behind a burst."""
        return now if self.chain_at is None else max(now, self.chain_at + STEP)

    @property
    def notary_kid(self) -> str | None:
        """The kid of the newest audit event; None on an empty chain."""
        return next((it.kid for it in self.newest if it.what == "audit event"), None)

    def told(self, event_type: str, kid: str) -> bool:
        """Whether the newest event about a key is of that type."""
        about = [it for it in self.events if it.text("signer_kid") == kid and it.event_type != APPROVED]
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

    def check_left(self, kid: str, *, idle: bool) -> None:
        """Raise Refused while anything waits for a key, or signs with it. `idle`: the operator says that every process
        was restarted without it, and that what is newest of a shard is old."""
        if self.waiting.get(kid):
            raise Refused(
                f"{self.waiting[kid]} closed ranges wait for a signature of {kid}",
                remedy="keep it as [outgoing] in SIGNING_KEYS_FILE until they are proved (`finance rotate status`)",
            )
        self.check_signs_no_more(kid, idle=idle)

    def check_signs_no_more(self, kid: str, *, idle: bool) -> None:
        """Raise Refused while the newest statement of any kind and shard is by that key."""
        still = [it for it in self.newest if it.kid == kid and not (idle and it.shard is not None)]
        if not still:
            return
        if any(it.shard is None for it in still):
            remedy = "rotate to another key first (RUNBOOK.md, section 12), and restart notary, prover and archiver"
        else:
            remedy = (
                "restart every prover and archiver with the other key; where nothing was posted since, and so there is "
                "no newer one, say so with --idle"
            )
        named = " and ".join(map(str, still))
        raise Refused(f"still signed by {kid}: the newest {named}", remedy=remedy)
