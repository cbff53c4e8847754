"""Payout requests as they stand: what was decided, and what the ledger did with the event.

Guarantees: one request is read in one statement, so its parts are of one moment. Does not: write.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from ledger_core.errors import Refused
from ledger_core.payouts.states import PayoutApproval, PayoutRequest
from ledger_core.postgres.session import Session

FIELDS: Final = (
    "request_id", "form", "form_hash", "payee", "currency", "amount_minor", "approvals_needed", "reason", "actor_id",
    "requested_at", "asked_at", "closing", "closed_by", "closing_reason",
)  # fmt: skip
COLUMNS: Final = """
SELECT p.request_id::text, p.form, encode(p.form_hash, 'hex'), p.payee, p.currency, p.amount_minor, p.approvals_needed,
       p.reason, p.actor_id, p.requested_at, clock_timestamp(), c.closing, c.actor_id, c.reason, e.shard, e.seq,
       EXISTS (SELECT FROM verdicts v WHERE v.event_id = p.request_id AND v.first_verdict),
       is_held(p.payee, p.currency),
       (SELECT coalesce(jsonb_agg(jsonb_build_array(a.actor_id, a.role, a.approved_at, approver_has(a.actor_id, a.role))
                                  ORDER BY a.approved_at, a.actor_id), '[]')
          FROM payout_approvals a WHERE a.request_id = p.request_id)
  FROM payouts p
  LEFT JOIN payout_closings c USING (request_id)
  LEFT JOIN entries e ON e.event_id = p.request_id"""
ONE: Final = f"{COLUMNS} WHERE p.request_id = %s"
PAGE: Final = f"""{COLUMNS}
 WHERE (%(payee)s = '' OR p.payee = %(payee)s)
   AND (NOT %(open)s OR (c.closing IS NULL AND p.requested_at > clock_timestamp() - interval '24 hours')
        OR (c.closing = 'released' AND e.seq IS NULL))
 ORDER BY p.requested_at DESC, p.request_id LIMIT %(limit)s"""

# What is asked for or released, and not in a balance that reaches to this position: (request, amount), a row each.
RESERVED: Final = """
SELECT coalesce(sum(p.amount_minor), 0)
  FROM payouts p
  LEFT JOIN payout_closings c USING (request_id)
  LEFT JOIN entries e ON e.event_id = p.request_id
 WHERE p.payee = %(payee)s AND p.currency = %(currency)s AND p.request_id <> %(but)s
   AND CASE WHEN c.closing IS NULL THEN p.requested_at > clock_timestamp() - interval '24 hours'
            WHEN c.closing = 'rejected' THEN false
            WHEN e.seq IS NOT NULL THEN e.seq > coalesce((%(position)s::jsonb ->> e.shard::text)::bigint, 0)
            ELSE NOT EXISTS (SELECT FROM verdicts v WHERE v.event_id = p.request_id AND v.first_verdict) END"""


def request_of(connection: Session, request_id: str) -> PayoutRequest | None:
    """The request of this id, a UUID; None: nobody asked for it."""
    row = connection.execute(ONE, (request_id,)).fetchone()
    return None if row is None else _request(row)


def known(connection: Session, request_id: str) -> PayoutRequest:
    """As `request_of`. Raises Refused when nobody asked for it."""
    found = request_of(connection, request_id)
    if found is None:
        raise Refused(f"there is no payout {request_id}", remedy="see `finance payout list --all`")
    return found


def requests(connection: Session, *, payee: str = "", is_open: bool = False, limit: int) -> list[PayoutRequest]:
    """The newest requests first. `is_open`: those that wait, may be released, or have no verdict yet."""
    values = {"payee": payee, "open": is_open, "limit": limit}
    return [_request(row) for row in connection.execute(PAGE, values)]


def _request(row: tuple[Any, ...]) -> PayoutRequest:
    *fields, shard, seq, rejected, held, approvals = row
    plain = dict(zip(FIELDS, fields, strict=True))
    return PayoutRequest(
        **plain,
        entry=None if seq is None else (shard, seq),
        is_rejected_by_ledger=rejected,
        held=held,
        approvals=[
            PayoutApproval(actor_id, role, dt.datetime.fromisoformat(at), counts)
            for actor_id, role, at, counts in approvals
        ],
    )
