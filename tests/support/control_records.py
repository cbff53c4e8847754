"""Control records of the posting rules: right by default, and wrong in exactly the way a test asks for."""

from __future__ import annotations

import datetime as dt

import msgspec

from ledger_core.errors import Rejected
from ledger_core.ports import Record
from ledger_core.posting.activation import RulesJudge, RulesPayload, assemble_rules
from ledger_core.posting.plans import Activation
from ledger_core.signing.registry import SignerRegistry
from tests.support.archive_factory import ENV, Key
from tests.support.settlements import TOPIC, record

KEY = Key(kid="rules-v1")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def control_payload(rules: int = 2, *, shard: int = 0, key: Key = KEY, **changes: object) -> RulesPayload:
    """What is signed, with some fields changed."""
    valid = RulesPayload(
        says="finance.rules.v1",
        env=ENV,
        topic=TOPIC,
        shard=shard,
        rules=rules,
        actor_id="operator:ada",
        reason="BGN is back",
        trace_id="ab" * 16,
        ts="2025-11-01T12:00:00.000000Z",
        signer_kid=key.kid,
        alg=key.algorithm,
    )
    return msgspec.structs.replace(valid, **changes)


def control_value(rules: int = 2, *, shard: int = 0, key: Key = KEY, **changes: object) -> bytes:
    """The record's value, signed by the key."""
    payload = control_payload(rules, shard=shard, key=key, **changes)
    return assemble_rules(payload, key.sign_digest(payload.digest()))


def control(offset: int, rules: int = 2, *, shard: int = 0, key: Key = KEY, **changes: object) -> Record:
    """The record that puts `rules` in force behind its offset."""
    return record(offset, value=control_value(rules, shard=shard, key=key, **changes), shard=shard)


def judge(registry: SignerRegistry = KEY.registry) -> RulesJudge:
    """A judge of the tests' environment."""
    return RulesJudge(ENV, registry)


def judged(found: Record, registry: SignerRegistry = KEY.registry, *, rules: int = 1) -> Activation | None:
    """What the record puts in force where `rules` are; None when it is rejected."""
    try:
        return judge(registry).judge(found, rules)
    except Rejected:
        return None


def at(moment: dt.datetime, found: Record) -> Record:
    """The same record, appended at that moment."""
    return msgspec.structs.replace(found, timestamp_ms=(moment - EPOCH) // dt.timedelta(milliseconds=1))
