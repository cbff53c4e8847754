"""The state of a payout request, as a function of what is on record. Pure.

Nothing stores a state: rows that say what somebody decided, the ledger's own verdict on the event, and the database's
clock give it, so a crash at any step leaves exactly one.

    waiting    approvals are missing            rejected   an operator closed it, or the ledger rejected its event
    approved   it may be released               released   closed as released; its event has no verdict yet
    expired    it was not released in 24 h      sent       its entry is posted

Does not: decide who may approve: the database does (migration 0086); know whether money came back: the settlement's
story says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from ledger_core.books.movements.booking import event_of
from ledger_core.books.movements.forms import SellerPayout

GOOD_FOR: Final = dt.timedelta(hours=24)  # from the request to its release; the database asks the same
FORM_BYTES_MAX: Final = 8_192

PayoutState = Literal["waiting", "approved", "expired", "rejected", "released", "sent"]
Role = Literal["finance", "lead", "executive"]
ROLES: Final[tuple[Role, ...]] = ("finance", "lead", "executive")


@dataclass(frozen=True, slots=True)
class PayoutApproval:
    """Somebody's yes."""

    actor_id: str  # operator:<name>
    role: str  # in which he approved
    approved_at: dt.datetime  # UTC, by the database's clock
    counts: bool  # whether he still has that role


@dataclass(frozen=True, slots=True)
class PayoutRequest:
    """A request, and all that is on record of it."""

    request_id: str  # UUID; the event id of what is released
    form: str  # the movement, JSON
    form_hash: str  # SHA-256 of its bytes, lower-case hex: what approvals are bound to
    payee: str  # the seller
    currency: str  # three capital letters, ISO 4217
    amount_minor: int  # minor units
    approvals_needed: int  # each in another role
    reason: str  # why, by who asked
    actor_id: str  # who asked: operator:<name>
    requested_at: dt.datetime  # UTC, by the database's clock
    asked_at: dt.datetime  # UTC, when this was read, by the same clock
    closing: str | None = None  # rejected or released
    closed_by: str | None = None  # operator:<name>
    closing_reason: str | None = None  # why
    entry: tuple[int, int] | None = None  # shard and sequence, once it is posted
    is_rejected_by_ledger: bool = False  # its event id has the verdict rejected, for ever
    held: bool = False  # payouts to this payee wait
    approvals: Sequence[PayoutApproval] = field(default=())  # in order of time

    @property
    def state(self) -> PayoutState:
        """The one state it is in."""
        if self.entry is not None:
            return "sent"
        if self.closing == "rejected" or self.is_rejected_by_ledger:
            return "rejected"
        if self.closing == "released":
            return "released"
        if self.asked_at >= self.requested_at + GOOD_FOR:
            return "expired"
        return "approved" if self.missing == 0 else "waiting"

    @property
    def missing(self) -> int:
        """How many approvals it still needs."""
        return max(0, self.approvals_needed - sum(it.counts for it in self.approvals))


@dataclass(frozen=True, slots=True)
class Available:
    """What a payee may still be paid, as of a position of the read side that holds all that was posted before."""

    balance_minor: int  # owed to the payee, minor units
    reserved_minor: int  # of it, asked for or released, and not in that balance yet
    position: dict[int, int]  # of each shard, the newest sequence

    @property
    def minor(self) -> int:
        """Left for another payout; negative where the payee was paid too much."""
        return self.balance_minor - self.reserved_minor


def form_of(movement: SellerPayout) -> str:
    """The text that is stored, approved by its hash, and booked. Raises BadMovement for what cannot be booked."""
    event_of(movement)
    return msgspec.json.encode(movement).decode()


def asked_for(
    request_id: str, *, payee: str, amount_minor: int, currency: str, paid_from: str, at: dt.datetime
) -> SellerPayout:
    """The movement of a request; its id, a UUID, is that of the event. `at`: when it was asked for, UTC."""
    return SellerPayout(
        settlement_id=f"po_{request_id}",
        occurred_at=at,
        event_id=request_id,
        payee=payee,
        paid_from=paid_from,
        amount_minor=amount_minor,
        currency=currency,
    )
