"""The closed list of audit event types: who may leave each, by which door, and what its payload holds. Pure.

Guarantees: whether an event or intent means anything is one question, `meaning_fault`: its type is on this list, its
actor is of a kind that the type belongs to, and its payload is of the type's form, no field more. The database holds
the same list for whoever leaves intents (migration 0023; a test compares), the notary asks before it chains, every
reader before it believes, and `finance verify audit` reports what fails. So a signature of the notary says that an
event was left, and this says that it was left by whom it concerns.
Does not: verify a hash or a signature (`events`), or know what was set aside (`set_aside`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ledger_core.hashes import is_hash
from ledger_core.proof_ids import is_of_demand
from ledger_core.signing.rotation import STEPS

Actor = Literal["poster", "prover", "archiver", "notary", "operator"]
# outbox: its own role inserts it. trigger: the database leaves it with a halt, or a decision. owner: a restored or
# rebuilt database, by its owner. notary: chained by the notary itself.
Door = Literal["outbox", "trigger", "owner", "notary"]
Kind = Callable[[object], bool]

PROCESSES: Final = ("poster", "prover", "archiver", "notary")

RESERVED_FIELDS: Final = frozenset({"actor_id", "created_at", "event_type", "id", "seq", "trace_id"})
SET_ASIDE: Final = "audit.set_aside"
INTENT_REFUSED: Final = "audit.intent_refused"
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def _text(value: object) -> bool:
    return isinstance(value, str)


def _decimal(value: object) -> bool:
    return isinstance(value, str) and _DECIMAL.fullmatch(value) is not None


def _whole(value: object) -> bool:
    return type(value) is int and value >= 0


def _flag(value: object) -> bool:
    return type(value) is bool


def _list(value: object) -> bool:
    return isinstance(value, list)


def _object(value: object) -> bool:
    return isinstance(value, dict)


def _texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _step(value: object) -> bool:
    return value in STEPS


def _or_null(kind: Kind) -> Kind:
    return lambda value: value is None or kind(value)


@dataclass(frozen=True, slots=True)
class EventType:
    """One type. A field whose name ends in `?` may be missing."""

    actors: tuple[Actor, ...]  # whose events count
    fields: Mapping[str, Kind]  # all that its payload holds, beside what the chain adds
    door: Door = "outbox"  # how it gets into the outbox


_PAYOUT: Final[Mapping[str, Kind]] = {"request_id": _text, "form_hash": is_hash, "reason": _text}
_KEY: Final[Mapping[str, Kind]] = {"signer_kid": _text, "algorithm": _text, "fingerprint": is_hash}
_ENDED: Final[Mapping[str, Kind]] = {**_KEY, "retired_at": _text, "validity": _object, "reason": _text}
_RANGE: Final[Mapping[str, Kind]] = {"shard": _whole, "range_no": _decimal, "proof_hash": is_hash}
_PINNED: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("object_key", "version_id", "mode", "retain_until"), _text),
    **dict.fromkeys(("sha256", "stored_sha256"), is_hash),
    "size_bytes": _decimal,
}
_SHARD_HALT: Final[Mapping[str, Kind]] = {"shard": _whole, "kind": _text, "offset": _decimal, "reason": _text}
_OPERATOR: Final[tuple[Actor, ...]] = ("operator",)

EVENT_TYPES: Final[Mapping[str, EventType]] = {
    "journal.posted": EventType(  # an event of an older version names the range alone, and binds all the same
        ("prover",),
        {
            **_RANGE,
            **dict.fromkeys(("first_seq?", "last_seq?", "first_offset?", "next_offset?"), _decimal),
            **dict.fromkeys(("posted?", "duplicates?", "rejected?"), _decimal),
            **dict.fromkeys(("head_hash?", "prev_proof_hash?"), _or_null(is_hash)),
            **dict.fromkeys(("origin?", "signer_kid?", "alg?", "ts?"), _text),
        },
    ),
    "journal.adopted": EventType(("prover",), _RANGE),
    "proof.published": EventType(
        ("prover", "operator"),
        {
            "proof_id": _text,
            "proof_hash": is_hash,
            "signer_kid": _text,
            "num_rows": _decimal,
            "shards": _list,
            "mac_waiver?": _text,  # of a proof with a MAC alone
        },
    ),
    "audit_export.completed": EventType(
        ("archiver",),
        {
            **_PINNED,
            "shard?": _whole,
            "range_no?": _decimal,
            "proof_id?": _text,
            "proof_hash?": is_hash,  # of a range
            "chain?": _text,
            "export_no?": _decimal,
            "first_seq?": _decimal,
            "last_seq?": _decimal,  # of this chain
            "head_hash?": is_hash,
        },
    ),
    "ledger.halted": EventType(
        ("poster", "prover", "archiver", "notary", "operator"), {"reason": _text, "shard?": _whole}, "trigger"
    ),
    "ledger.resumed": EventType(_OPERATOR, {"reason": _text}, "trigger"),
    "ledger.shard_halted": EventType(("poster",), _SHARD_HALT, "trigger"),
    "ledger.shard_resumed": EventType(_OPERATOR, {**_SHARD_HALT, "allowed_offset?": _decimal}, "trigger"),
    "ledger.offsets_set_aside": EventType(_OPERATOR, {**_SHARD_HALT, "next_offset": _decimal}, "trigger"),
    "ledger.epoch_heads": EventType(_OPERATOR, {"epoch_no": _decimal, "epoch_id": _text, "heads": _list}, "owner"),
    "ledger.epoch_began": EventType(
        _OPERATOR,
        {
            "epoch_no": _decimal,
            **dict.fromkeys(("epoch_id", "kind", "reason"), _text),
            "shards": _decimal,
            "heads_hash": is_hash,
        },
        "owner",
    ),
    "audit_chain.restored": EventType(
        _OPERATOR,
        {
            "source": _text,
            **dict.fromkeys(("first_seq", "last_seq", "intents_taken"), _decimal),
            "head_hash": _or_null(is_hash),
        },
        "owner",
    ),
    "signer.created": EventType(_OPERATOR, {**_KEY, "bits": _decimal, "key_id": _text, "variables": _texts}),
    "signer.registered": EventType(_OPERATOR, {**_KEY, "description": _text}),
    "signer.rotation": EventType(
        _OPERATOR,
        {
            "step": _step,
            **dict.fromkeys(("rotation_id", "outgoing_kid", "incoming_kid"), _text),
            **dict.fromkeys(("outgoing_fingerprint?", "incoming_fingerprint?"), is_hash),
            **dict.fromkeys(("incoming_algorithm?", "incoming_public_key_pem?"), _text),
            **dict.fromkeys(("incoming_variables?", "outgoing_variables?"), _texts),
            "overlap_seconds?": _decimal,
            "kernel_checked?": _flag,
            "proof_id?": _text,
            "proof_hash?": is_hash,
            "retired_kid?": _text,
            "validity?": _object,
            "early?": _text,
            "reason?": _text,
        },
    ),
    "signer.retired": EventType(_OPERATOR, _ENDED),
    "signer.revoked": EventType(_OPERATOR, _ENDED),
    "signer.approved": EventType(
        _OPERATOR, {"signer_kid": _text, "fingerprint": is_hash, "hours": _decimal, "reason": _text}
    ),
    "signer.emergency": EventType(
        _OPERATOR, {**_KEY, **dict.fromkeys(("public_key_pem", "reason", "approver", "expires_at"), _text)}
    ),
    "dead_letter.retried": EventType(
        _OPERATOR, {"shard": _whole, "source_offset": _decimal, "reason": _text, "event_id?": _text}
    ),
    "shard.times_accepted": EventType(_OPERATOR, {"shard": _whole, "upto": _text, "reason": _text}, "trigger"),
    "rules.activation_signed": EventType(
        _OPERATOR, {"shard": _whole, "rules": _whole, "statement_hash": is_hash, "signer_kid": _text, "reason": _text}
    ),
    "archive.lock_decided": EventType(_OPERATOR, {"object_key": _text, "reason": _text}, "trigger"),
    "personal.erased": EventType(_OPERATOR, {"event_id": _text, "reason": _text, "approver?": _text}, "trigger"),
    "personal.erasure_approved": EventType(_OPERATOR, {"event_id": _text, "reason": _text}, "trigger"),
    "personal.disclosed": EventType(
        _OPERATOR,
        {**dict.fromkeys(("from_ts", "to_ts", "reason"), _text), "disclosure_no": _decimal, "fields": _list},
        "trigger",
    ),
    "payout.requested": EventType(
        _OPERATOR,
        {**_PAYOUT, "payee": _text, "currency": _text, "amount_minor": _decimal, "approvals_needed": _whole},
        "trigger",
    ),
    "payout.approved": EventType(_OPERATOR, {**_PAYOUT, "role": _text}, "trigger"),
    "payout.rejected": EventType(_OPERATOR, _PAYOUT, "trigger"),
    "payout.released": EventType(_OPERATOR, _PAYOUT, "trigger"),
    "payee.held": EventType(
        _OPERATOR, {"hold_id": _text, "payee": _text, "currency?": _text, "reason": _text}, "trigger"
    ),
    "payee.let_go": EventType(_OPERATOR, {"hold_id": _text, "reason": _text}, "trigger"),
    "approver.changed": EventType(
        _OPERATOR, {"operator": _text, "role": _text, "granted": _flag, "reason": _text}, "trigger"
    ),
    "approval_limit.changed": EventType(
        _OPERATOR,
        {"currency": _text, "second_from_minor": _decimal, "third_from_minor": _decimal, "reason": _text},
        "trigger",
    ),
    "drill.completed": EventType(
        _OPERATOR,
        {
            "drill_id": _text,
            "sound": _flag,
            "report_hash": is_hash,
            "report_sha256": is_hash,
            "signer": _text,
            "ways": _list,
        },
    ),
    "auditor.exported": EventType(
        _OPERATOR,
        {
            **dict.fromkeys(("from_ts", "to_ts", "signer"), _text),
            "filter": _object,
            "pii_included": _flag,
            **dict.fromkeys(("bundle_hash", "bundle_sha256"), is_hash),
            "object_key?": _text,
            "disclosure_no?": _decimal,  # of the decision by which personal data are in it
            "openings?": _decimal,  # of so many events
        },
    ),
    SET_ASIDE: EventType(_OPERATOR, {"set_aside_seq": _decimal, "set_aside_hash": is_hash, "reason": _text}),
    INTENT_REFUSED: EventType(
        ("notary",),
        {
            "outbox_id": _decimal,
            **dict.fromkeys(("intent_type", "intent_actor", "reason"), _text),
            "content_sha256": is_hash,
        },
        "notary",
    ),
}


def actor_of(actor_id: str) -> str:
    """The kind of an actor: `prover` of `service:prover`, `operator` of `operator:<name>`; empty for anything else."""
    kind, _, name = actor_id.partition(":")
    if kind == "service":
        return name if name in PROCESSES else ""
    return "operator" if kind == "operator" and name else ""


def meaning_fault(event_type: str, actor_id: str, payload: Mapping[str, object]) -> str | None:
    """Why an event or intent means nothing, in one line; None when it means what its type says. What the chain adds to
    a payload is passed over."""
    known = EVENT_TYPES.get(event_type)
    if known is None:
        return f"this version knows no event of the type {event_type}"
    actor = actor_of(actor_id)
    if actor not in known.actors:
        return f"{event_type} is left by {' or '.join(known.actors)}, and not by {actor_id}"
    for name, kind in known.fields.items():
        field, optional = name.removesuffix("?"), name.endswith("?")
        if field not in payload:
            if not optional:
                return f"{event_type} lacks the field {field}"
        elif not kind(payload[field]):
            return f"{event_type} has another form: {field}"
    extra = payload.keys() - RESERVED_FIELDS - {name.removesuffix("?") for name in known.fields}
    if extra:
        return f"{event_type} has no field {sorted(extra)[0]}"
    if event_type == "proof.published" and is_of_demand(str(payload["proof_id"])) != (actor == "operator"):
        return f"{actor_id} publishes no proof under an id like {payload['proof_id']}"
    return None
