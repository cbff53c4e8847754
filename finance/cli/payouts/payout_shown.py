"""A payout request in words and as JSON."""

from __future__ import annotations

import orjson
from rich.console import Console

from finance.cli.common import emit, utc
from ledger_core.books.money import Money, format_major
from ledger_core.payouts.states import PayoutRequest


def amount_of(asked: PayoutRequest) -> str:
    return f"{format_major(Money(asked.amount_minor, asked.currency))} {asked.currency}"


def missing_of(asked: PayoutRequest) -> str:
    if asked.state != "waiting":
        return "a hold released" if asked.state == "approved" and asked.held else ""
    return f"{asked.missing} of {asked.approvals_needed} approvals"


def object_of(asked: PayoutRequest) -> dict[str, object]:
    return {
        "request_id": asked.request_id,
        "state": asked.state,
        "payee": asked.payee,
        "amount_minor": str(asked.amount_minor),
        "currency": asked.currency,
        "form": asked.form,
        "form_hash": asked.form_hash,
        "approvals_needed": asked.approvals_needed,
        "approvals": [
            {"actor_id": it.actor_id, "role": it.role, "approved_at": utc(it.approved_at), "counts": it.counts}
            for it in asked.approvals
        ],
        "held": asked.held,
        "reason": asked.reason,
        "actor_id": asked.actor_id,
        "requested_at": utc(asked.requested_at),
        "closing": asked.closing,
        "closed_by": asked.closed_by,
        "closing_reason": asked.closing_reason,
        "shard": None if asked.entry is None else asked.entry[0],
        "seq": None if asked.entry is None else str(asked.entry[1]),
    }


def tell(asked: PayoutRequest, as_json: bool, head: str) -> None:
    def words(console: Console) -> None:
        console.print(head)
        console.print(f"id        {asked.request_id}")
        console.print(f"hash      {asked.form_hash}")
        missing = missing_of(asked)
        console.print(f"state     {asked.state}" + (f", needs {missing}" if missing else ""))
        console.print(f"from      {orjson.loads(asked.form)['paid_from']}")
        console.print(f"asked by  {asked.actor_id}, {utc(asked.requested_at)}: {asked.reason}")
        for it in asked.approvals:
            counts = "" if it.counts else " (has no longer that role)"
            console.print(f"approved  {it.actor_id} as {it.role}, {utc(it.approved_at)}{counts}")
        if asked.closing is not None:
            console.print(f"{asked.closing:<10}{asked.closed_by}: {asked.closing_reason}")
        if asked.entry is not None:
            console.print(f"posted    shard {asked.entry[0]}, seq {asked.entry[1]}")

    emit(as_json, {"ok": True, **object_of(asked)}, words)
