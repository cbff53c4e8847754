"""What an allowed statement can mean, as data: by role, with the outcome that the database must give it.

`tests/support/forbidden_acts.py` lists statements that a role may not make at all. Here the role has the privilege, and
the rows say what it may say with it: in whose name, under which id, at what time.
"""

from __future__ import annotations

from typing import Final

from ledger_core.audit.event_types import EVENT_TYPES
from ledger_core.postgres.schema.authority import MATRIX, PROCESS_ROLES, ROLES

DONE: Final = "done"
DENIED: Final = "42501"  # insufficient_privilege: by grant or by policy
CHECKED: Final = "23514"  # check_violation
UNKNOWN: Final = "23503"  # foreign_key_violation

# Tables that more than one role writes: why what one leaves there is not what another one says.
SHARED: Final[dict[str, str]] = {
    "audit_outbox": "each role leaves intents in its own name (policies), under ids that nobody chooses",
    "halts": "each role halts in its own name (policies), under numbers that nobody chooses",
    "job_holders": "each role's own job is a row that no other role sees (a policy)",
    "proofs": "of ranges by the prover, asked for by the front door (policies), under ids of their own (a check)",
}


def writers(table: str) -> list[str]:
    """The roles that may write into a table."""
    return sorted(role for role, words in MATRIX[table].items() if "INSERT" in words or "UPDATE" in words)


def halt(actor: str, more: str = "", value: str = "") -> str:
    return f"INSERT INTO halts (reason, actor_id, trace_id{more}) VALUES ('r', '{actor}', ''{value})"


def lift(actor: str, halt_no: int = 1, more: str = "", value: str = "") -> str:
    return (
        f"INSERT INTO halts_lifted (halt_no, reason, actor_id, trace_id{more}) "
        f"VALUES ({halt_no}, 'r', '{actor}', ''{value})"
    )


def asked_for(proof_id: str) -> str:
    return f"INSERT INTO proofs (proof_id, proof) VALUES ('{proof_id}', 'x')"


PUBLISHED: Final = (
    "INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id) "
    """VALUES ('proof.published', 'operator:cfo', '{"proof_id": "dev-demand-0a"}', '')"""
)


# (role, statement, outcome). There is one halt, number 1, that is not lifted, and one closed range of shard 0.
HALTS: Final = (
    *((role, halt(f"service:{role}"), DONE) for role in PROCESS_ROLES),
    *((role, halt("operator:cfo"), DENIED) for role in PROCESS_ROLES),
    *((role, halt("service:other"), DENIED) for role in PROCESS_ROLES),
    *((role, halt(f"service:{role}", ", halted_at", ", '2020-01-01'"), DENIED) for role in PROCESS_ROLES),
    *(
        (role, halt(f"service:{role}", ", halt_no", ", 7").replace("VALUES", "OVERRIDING SYSTEM VALUE VALUES"), DENIED)
        for role in PROCESS_ROLES
    ),
    *((role, lift(f"service:{role}"), DENIED) for role in PROCESS_ROLES),
    *((role, lift("operator:cfo"), DENIED) for role in PROCESS_ROLES),
    *((role, "UPDATE halts SET reason = 'all clear'", DENIED) for role in (*PROCESS_ROLES, "api")),
    *((role, "DELETE FROM halts", DENIED) for role in (*PROCESS_ROLES, "api")),
    ("api", halt("operator:cfo"), DONE),
    ("api", halt("service:poster"), DENIED),
    ("api", lift("operator:cfo"), DONE),
    ("api", lift("service:poster"), DENIED),
    ("api", lift("operator:cfo", 2), UNKNOWN),  # a halt that is yet to come
    ("api", lift("operator:cfo", 1, ", lifted_at", ", '2020-01-01'"), DENIED),
    ("auditor", halt("operator:auditor"), DENIED),
    ("auditor", lift("operator:auditor"), DENIED),
)
PROOFS: Final = (
    ("api", f"WITH told AS ({PUBLISHED}) {asked_for('dev-demand-0a')}", DONE),
    ("api", asked_for("dev-demand-0a"), DENIED),  # without its event
    ("api", asked_for("dev-0-1"), CHECKED),  # the id that the prover's next proof has
    ("api", asked_for("dev-demand-0-1\nx"), CHECKED),
    ("api", asked_for("x"), CHECKED),
    ("prover", "INSERT INTO proofs (proof_id, shard, range_no, proof) VALUES ('dev-0-1', 0, 1, 'x')", DONE),
    ("prover", "INSERT INTO proofs (proof_id, shard, range_no, proof) VALUES ('dev-0-2', 0, 1, 'x')", CHECKED),
    ("prover", "INSERT INTO proofs (proof_id, shard, range_no, proof) VALUES ('dev-demand-0a', 0, 1, 'x')", CHECKED),
)


def stand(kind: str = "dead_letters", offset: int = 0, detail: str = "d", more: str = "", value: str = "") -> str:
    return (
        f"INSERT INTO shard_halts (shard, kind, at_offset, detail{more}) "
        f"VALUES (2, '{kind}', {offset}, '{detail}'{value})"
    )


def go_on(halt_id: int, allowed: str = "NULL", aside: str = "NULL", actor: str = "operator:cfo") -> str:
    return (
        "INSERT INTO shard_resumes (halt_id, actor_id, reason, trace_id, allowed_offset, set_aside_offset) "
        f"VALUES ({halt_id}, '{actor}', 'r', '{'0' * 32}', {allowed}, {aside})"
    )


def aside(offset: int) -> str:
    return (
        "INSERT INTO verdicts (shard, source_offset, verdict, reason, first_verdict, detail, line) "
        f"VALUES (1, {offset}, 'rejected', 'unreadable', false, '', '')"
    )


# Shard 0 is halted for dead letters (halt 1), shard 1 before offset 5, which nobody can read (halt 2), as shard 3 was
# before offset 5, up to 7 of which an operator set aside (halt 3), and shard 4 before offset 5, which Postgres refuses
# (halt 4).
SHARD_HALTS: Final = (
    ("poster", stand(), DONE),
    ("poster", stand("unreadable", 4), DONE),
    ("poster", stand("refused", 4), DONE),
    ("poster", stand("as it likes"), CHECKED),
    ("poster", stand(offset=-1), CHECKED),
    ("poster", stand(detail="two\nlines"), CHECKED),
    ("poster", stand(more=", halted_at", value=", '2020-01-01'"), DENIED),
    *((role, stand(), DENIED) for role in ("prover", "archiver", "notary", "api", "auditor")),
    *((role, go_on(1, allowed="9"), DENIED) for role in (*PROCESS_ROLES, "auditor")),
    *((role, go_on(2, aside="7"), DENIED) for role in (*PROCESS_ROLES, "auditor")),
    *((role, "DELETE FROM shard_halts", DENIED) for role in (*PROCESS_ROLES, "api")),
    ("api", go_on(1, allowed="9"), DONE),
    ("api", go_on(1), CHECKED),  # it would be halted again at once
    ("api", go_on(1, aside="9"), CHECKED),  # what can be read is not set aside
    ("api", go_on(1, allowed="9", actor="service:poster"), CHECKED),
    ("api", go_on(2), DONE),
    ("api", go_on(4), DONE),
    ("api", go_on(4, aside="7"), CHECKED),  # what can be read is not set aside
    ("api", go_on(4, allowed="7"), CHECKED),
    ("api", go_on(2, aside="7"), DONE),
    ("api", go_on(2, aside="5"), CHECKED),
    ("api", go_on(2, allowed="7"), CHECKED),
    ("api", go_on(99, allowed="7"), CHECKED),  # a halt that is yet to come
    ("poster", aside(5), DENIED),
    ("poster", aside(5).replace("(1,", "(3,"), DONE),
    ("poster", aside(7).replace("(1,", "(3,"), DENIED),
)


def data(pii: str, digest_of: str) -> str:
    """Personal data with the digest of others, or with their own where both are the same."""
    return (
        "INSERT INTO personal_data (event_id, digest, pii, salt, source_partition, source_offset) "
        f"VALUES (gen_random_uuid(), personal_digest('{digest_of}', '-salt'), '{pii}', '-salt', 0, 9)"
    )


# Of two rows of personal data one is kept; neither event has an entry.
PERSONAL: Final = (
    ("keeper", data("{}", "{}"), DONE),
    ("keeper", data("{}", '{"a":"b"}'), CHECKED),
    (
        "keeper",
        "UPDATE personal_data SET kept = false WHERE kept",
        DENIED,
    ),  # else it could be dropped as one that waits
    ("keeper", "UPDATE personal_data SET kept = true WHERE NOT kept", DENIED),  # no entry has its digest
)


def left(event_type: str, actor: str, payload: str = "'{}'", more: str = "", value: str = "") -> str:
    return (
        f"INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id{more}) "
        f"VALUES ('{event_type}', '{actor}', {payload}, 't'{value})"
    )


def own_name(role: str) -> str:
    return "operator:ada" if role == "api" else f"service:{role}"


def may_leave(role: str, event_type: str) -> str:
    """By itself, as its own: what triggers, the owner or the notary leave is left by no role."""
    known = EVENT_TYPES[event_type]
    kind = "operator" if role == "api" else role
    return DONE if known.door == "outbox" and kind in known.actors else DENIED


RETRIED: Final = "dead_letter.retried"
OUTBOX: Final = (
    *((role, left(name, own_name(role)), may_leave(role, name)) for role in ROLES for name in EVENT_TYPES),
    *((role, left("x", own_name(role)), DENIED) for role in ROLES),
    *((role, left("proof.published", "operator:cfo"), DENIED) for role in ROLES if role != "api"),
    *(("api", left(name, "service:prover"), DENIED) for name in EVENT_TYPES),
    *(("prover", left(name, "service:archiver"), DENIED) for name in EVENT_TYPES),
    # nobody chooses the time or the number
    ("api", left(RETRIED, "operator:a", more=", created_at", value=", 'infinity'"), DENIED),
    ("prover", left("journal.posted", "service:prover", more=", created_at", value=", '2100-01-01'"), DENIED),
    ("api", left(RETRIED, "operator:a", more=", outbox_id", value=", 7").replace(
        "VALUES", "OVERRIDING SYSTEM VALUE VALUES"), DENIED),
    # what no chain holds
    ("api", left(RETRIED, "operator:a", """'{"reason": 1.5}'"""), CHECKED),
    ("api", left(RETRIED, "operator:a", """'{"reason": 1.0}'"""), CHECKED),
    ("api", left(RETRIED, "operator:a", """'{"a": [{"b": 12345678901234567}]}'"""), CHECKED),
    ("api", left(RETRIED, "operator:a", """'{"seq": "1"}'"""), CHECKED),
    ("api", left(RETRIED, "operator:a", """'{"reason": "a < b"}'"""), CHECKED),
    ("api", left(RETRIED, "operator:a&b"), CHECKED),
    ("api", left(RETRIED, "operator:" + "x" * 200), CHECKED),
    ("api", left(RETRIED, "operator:a", "'[]'"), CHECKED),
    ("archiver", left("audit_export.completed", "service:archiver",
                      "jsonb_build_object('x', repeat(md5('a'), 100000))"), CHECKED),
    ("api", left(RETRIED, "operator:a", """'{"reason": "1.5 and \\" 1.5", "shard": 123456789012345}'"""), DONE),
)  # fmt: skip
# What a role does and then sits on, in a transaction that it leaves open: none of it holds up an operator's halt.
HELD: Final = (
    "LOCK TABLE halts IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE halts IN SHARE MODE",
    "LOCK TABLE halts_lifted IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE audit_outbox IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE shard_halts IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE shard_resumes IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE halts, audit_outbox IN ROW EXCLUSIVE MODE",
    "SELECT * FROM halts FOR UPDATE",
    "SELECT * FROM audit_outbox FOR UPDATE",
    "SELECT take_intents(ARRAY(SELECT outbox_id FROM audit_outbox))",
    *(halt(f"service:{role}") for role in PROCESS_ROLES),
    halt("operator:cfo"),
    lift("operator:cfo"),
)
