"""Legs of a movement, and its event: what every builder ends with. Raises BadMovement, naming the field."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from ledger_core.books.chart import BadMovement
from ledger_core.books.event_rules import is_name, is_uuid
from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.books.money import CURRENCIES
from ledger_core.books.movements.forms import MovementForm
from ledger_core.books.sales import event_id_of
from ledger_core.books.settlements import SettlementEvent, SettlementLine, SettlementProvider


def amount(value: int, field: str) -> int:
    """The amount itself, when a line can have it. Raises BadMovement."""
    if type(value) is not int or not 0 < value <= AMOUNT_MINOR_MAX:
        raise BadMovement(field, f"wants an integer of minor units from 1 to {AMOUNT_MINOR_MAX}, not {value!r:.40}")
    return value


def currency(value: str, field: str = "currency") -> str:
    """The code itself, when it is one. Raises BadMovement."""
    if value not in CURRENCIES:
        raise BadMovement(field, f"wants an ISO 4217 code in use with minor units, not {value!r:.40}")
    return value


def leg(account: str, signed_minor: int, code: str) -> SettlementLine:
    """A line: a debit for a positive amount, a credit for a negative one."""
    return SettlementLine(account, "debit" if signed_minor > 0 else "credit", abs(signed_minor), code)


def moved(to: str, from_: str, amount_minor: int, code: str) -> tuple[SettlementLine, SettlementLine]:
    """Debit one, credit the other."""
    return leg(to, amount_minor, code), leg(from_, -amount_minor, code)


def event_id_of_movement(form: MovementForm) -> str:
    """Its own, or one made of what it is: the same movement has the same id. Raises BadMovement."""
    if form.occurred_at.utcoffset() != dt.timedelta(0):
        raise BadMovement("occurred_at", f"wants a time in UTC, not {form.occurred_at.isoformat()}")
    kind = str(form.__struct_config__.tag)
    return form.event_id or event_id_of(form.settlement_id, kind, form.occurred_at, form.part)


def event(
    form: MovementForm,
    kind: str,
    lines: Sequence[SettlementLine],
    *,
    provider: SettlementProvider | None = None,
    reverses: str | None = None,
    metadata: dict[str, str] | None = None,
) -> SettlementEvent:
    """The event of a movement; legs of nothing are left out. Raises BadMovement."""
    names = {"settlement_id": form.settlement_id, "order_id": form.order_id or form.settlement_id}
    if provider is not None:
        names |= {"provider": provider.name, "reference": provider.reference}
    for field, name in names.items():
        if is_name(name) is None:
            raise BadMovement(field, f"wants 1 to 128 characters of A-Z a-z 0-9 ._:/@+=-, not {name!r:.60}")
    if form.event_id is not None and is_uuid(form.event_id) is None:
        raise BadMovement("event_id", f"wants a lower-case UUID, not {form.event_id!r:.60}")
    twice = sorted(form.metadata.keys() & (metadata or {}).keys())
    if twice:
        raise BadMovement("metadata", f"{twice[0]} is a field of the movement itself")
    return SettlementEvent(
        event_id=event_id_of_movement(form),
        event_type=kind,
        settlement_id=form.settlement_id,
        order_id=form.order_id or form.settlement_id,
        occurred_at=form.occurred_at,
        lines=tuple(line for line in lines if line.amount_minor),
        provider=provider,
        reverses=reverses,
        metadata=form.metadata | (metadata or {}),
    )
