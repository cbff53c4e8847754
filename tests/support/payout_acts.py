"""What an allowed statement about payouts can mean, as rows of `tests.support.meant_acts`.

Standing: USD needs two approvals from 100 minor units on, three from 1,000; cfo and ada approve as lead, ada and bob as
finance; `first` asked for payout b, of 1 minor unit, and for d, of 100, and holds payee p under the id of b.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

DONE: Final = "done"
DENIED: Final = "42501"
CHECKED: Final = "23514"
TWICE: Final = "23505"
UNKNOWN: Final = "23503"


def uuid_of(name: str) -> str:
    """An id that ends in this hex digit."""
    return f"00000000-0000-0000-0000-00000000000{name}"


def form(name: str, amount_minor: int = 1, **other: object) -> str:
    said: dict[str, object] = {"movement": "payout.sent", "event_id": uuid_of(name), "payee": "q", "currency": "USD"}
    said |= {"amount_minor": amount_minor, "settlement_id": f"po_{uuid_of(name)}", "paid_from": "asset:bank:main"}
    return json.dumps({**said, "occurred_at": "2025-11-01T12:00:00Z", **other})


def payout(name: str, actor: str, amount_minor: int = 1, more: str = "", value: str = "", **other: object) -> str:
    text = form(name, amount_minor, **other)
    return (
        f"INSERT INTO payouts (request_id, form, reason, actor_id{more}) "
        f"VALUES ('{uuid_of(name)}', '{text}', 'r', 'operator:{actor}'{value})"
    )


def _hash(name: str) -> str:
    text = form(name, {"d": 100}.get(name, 1))
    return hashlib.sha256(text.encode()).hexdigest()


def approve(name: str, actor: str, role: str = "lead", form_hash: str | None = None) -> str:
    return (
        "INSERT INTO payout_approvals (request_id, form_hash, role, reason, actor_id) VALUES "
        f"('{uuid_of(name)}', decode('{form_hash or _hash(name)}', 'hex'), '{role}', 'r', 'operator:{actor}')"
    )


def close(name: str, closing: str, actor: str, form_hash: str | None = None) -> str:
    return (
        "INSERT INTO payout_closings (request_id, form_hash, closing, reason, actor_id) VALUES "
        f"('{uuid_of(name)}', decode('{form_hash or _hash(name)}', 'hex'), '{closing}', 'r', 'operator:{actor}')"
    )


def hold(name: str, actor: str, payee: str = "p") -> str:
    return (
        "INSERT INTO payee_holds (hold_id, payee, reason, actor_id) "
        f"VALUES ('{uuid_of(name)}', '{payee}', 'r', 'operator:{actor}')"
    )


def let_go(name: str, actor: str) -> str:
    return (
        "INSERT INTO payee_holds_lifted (hold_id, reason, actor_id) "
        f"VALUES ('{uuid_of(name)}', 'r', 'operator:{actor}')"
    )


def grant(name: str, role: str) -> str:
    return (
        "INSERT INTO approver_changes (operator, role, granted, reason, actor_id) "
        f"VALUES ('{name}', '{role}', true, 'r', 'operator:first')"
    )


LIMIT: Final = (
    "INSERT INTO approval_limit_changes (currency, second_from_minor, third_from_minor, reason, actor_id) "
    "VALUES ('USD', 100, 1000, 'r', 'operator:first')"
)
PAYOUTS_STANDING: Final = (
    LIMIT,
    *(grant(name, role) for name, role in (("cfo", "lead"), ("ada", "lead"), ("ada", "finance"), ("bob", "finance"))),
    payout("b", "first"),
    payout("d", "first", 100),
    hold("b", "first"),
)

# Fields that SQL could read, and the ledger not, or otherwise.
OTHER_FORMS: Final[tuple[tuple[str, object], ...]] = (
    *(("amount_minor", it) for it in ("1", 1.5, 1e3, True, None, 10**16)),
    *(("paid_from", it) for it in ("liability:payable:q", "asset:bank:", "asset:dispute:stripe", 7, None)),
    ("settlement_id", "st_1"),
    *(("occurred_at", it) for it in ("2025-11-01", "infinity", "2025-11-01T12:00:00+01:00", 0)),
    ("payee", ""),
    ("metadata", {}),
)


def _other_form(field: str, value: object) -> str:
    said = json.dumps({**json.loads(form("c")), field: value})
    return payout("c", "cfo").replace(form("c"), said)


# (role, statement, outcome)
PAYOUTS: Final = (
    ("api", payout("c", "cfo"), DONE),
    ("api", payout("c", "cfo", event_id=uuid_of("e")), CHECKED),  # approved as one, booked as another
    ("api", payout("c", "cfo", movement="ledger.adjusted"), CHECKED),
    ("api", payout("c", "cfo", currency="EUR"), CHECKED),  # without a limit
    *(("api", _other_form(field, value), CHECKED) for field, value in OTHER_FORMS),
    (
        "api",
        payout("c", "cfo").replace('{"movement"', '{"payee": "another", "movement"'),
        CHECKED,
    ),  # two payees
    ("api", payout("c", "cfo").replace('"currency": "USD"', '"currency": "USD", "part": "2"'), CHECKED),
    ("api", payout("c", "cfo", -1), CHECKED),
    ("api", payout("c", "cfo", more=", approvals_needed", value=", 0"), DENIED),
    ("api", payout("c", "cfo", more=", requested_at", value=", '2199-01-01'"), DENIED),
    ("api", payout("c", "cfo", more=", amount_minor", value=", 1"), DENIED),
    ("api", "UPDATE payouts SET approvals_needed = 0", DENIED),
    ("api", approve("b", "cfo"), DONE),
    ("api", approve("b", "cfo", "finance"), CHECKED),  # a role that he does not have
    ("api", approve("b", "first"), CHECKED),  # who asked
    ("api", approve("b", "cfo", form_hash="00" * 32), CHECKED),
    ("api", approve("e", "cfo", form_hash="00" * 32), CHECKED),  # a request that is yet to come
    ("api", f"{approve('b', 'cfo')}; {approve('b', 'ada')}", TWICE),  # one role is one approval
    ("api", f"{approve('b', 'ada')}; {approve('b', 'ada', 'finance')}", TWICE),  # and so is one person
    ("api", close("b", "rejected", "first"), DONE),
    ("api", close("b", "released", "cfo"), CHECKED),  # without approvals
    ("api", f"{approve('b', 'cfo')}; {close('b', 'released', 'first')}", DONE),
    ("api", f"{approve('d', 'cfo')}; {close('d', 'released', 'cfo')}", CHECKED),  # it needs two
    ("api", f"{approve('d', 'cfo')}; {approve('d', 'bob', 'finance')}; {close('d', 'released', 'cfo')}", DONE),
    ("api", f"{close('b', 'rejected', 'cfo')}; {approve('b', 'cfo')}", CHECKED),
    ("api", f"{close('b', 'rejected', 'cfo')}; {close('b', 'released', 'cfo')}", CHECKED),
    ("api", f"{hold('c', 'cfo', 'q')}; {approve('b', 'cfo')}; {close('b', 'released', 'cfo')}", CHECKED),
    ("api", let_go("b", "cfo"), DONE),
    ("api", let_go("b", "first"), CHECKED),  # who held
    ("api", let_go("c", "cfo"), UNKNOWN),
    ("api", grant("mallory", "executive"), DENIED),
    ("api", LIMIT, DENIED),
    ("auditor", payout("c", "cfo"), DENIED),
    ("poster", payout("c", "cfo"), DENIED),
    ("prover", approve("b", "cfo"), DENIED),
    ("notary", close("b", "rejected", "cfo"), DENIED),
)
