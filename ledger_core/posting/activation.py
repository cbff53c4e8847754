"""The control record: a signed statement in the settlements partition that puts the next posting rules in force. Pure.

It stands among the events, so that every replay meets it where the poster met it: what stands before it was judged by
the rules before, what stands behind it by the rules that it names. An event begins with the byte 0x00 (Confluent's
frame), a control record with `{`, and it says what it is; no header and no key is asked.

Guarantees: what is judged is the record, the rules in force before it, and whether the signature counts: of a key that
signs `rules`, at the time that the broker gave the record. It counts for one shard of one topic of one environment, and
once: only where the rules right before its own are in force, so a copy is stale wherever it stands. Whatever else
claims to be one is an ordinary rejection. Its verdict is what later readers go by: a log that holds it (`told`) decides
in the place of the key's times, so that a key revoked later, for a time before, changes no verdict.
Does not: ask whether this version of finance knows the rules that it names: the verdict is the same where nobody can
go on behind it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

import msgspec

from ledger_core.errors import Rejected, RejectReason
from ledger_core.ports import Record
from ledger_core.posting.plans import Activation
from ledger_core.signing.counting import TopicPlace, faults
from ledger_core.signing.purposes import Purpose
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import (
    Hash,
    Name,
    Payload,
    ShardNo,
    Timestamp,
    TraceId,
    assemble,
    check_signed,
    claim_of,
    decode_statement,
)

SAYS: Final = "finance.rules.v1"
STATEMENT_BYTES_MAX: Final = 8_192
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MARK: Final = b'"says":"finance.rules.v1"'
_OF_TIME: Final = ("retired", "validity")  # what a verdict on record answers in the place of the registry

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
Rules = Annotated[int, msgspec.Meta(ge=2, le=999_999_999)]


class RulesPayload(Payload, frozen=True, kw_only=True):
    """What is signed: from where it stands on, these rules judge."""

    says: Literal["finance.rules.v1"]  # what it is
    env: Name  # environment, such as prod
    topic: Name  # settlements, prefix included
    shard: ShardNo  # its partition
    rules: Rules  # version in force behind it; the one before it must be in force
    actor_id: Text  # who signed, as operator:<name>
    reason: Text  # why, for people
    trace_id: TraceId
    ts: Timestamp  # when it was signed, by its maker's clock

    said_as: ClassVar[Purpose] = "rules"


class RulesStatement(RulesPayload, frozen=True, kw_only=True):
    """With its hash and signature. Raises ValueError when the hash is not that of the payload."""

    hash: Hash  # SHA-256 of the canonical payload
    signature: str  # base64, over the 32 bytes of hash

    def __post_init__(self) -> None:
        check_signed(self)


_decoder = msgspec.json.Decoder(RulesStatement)


def assemble_rules(payload: RulesPayload, signature: bytes) -> bytes:
    """The value of the control record. The caller has verified the signature over `payload.digest()`."""
    return assemble(payload, RulesStatement, signature)


def parse_rules(value: bytes) -> RulesStatement:
    """Read a control record's value. Raises ValueError for anything else, or another spelling of one."""
    if len(value) > STATEMENT_BYTES_MAX:
        raise ValueError(f"a control record has at most {STATEMENT_BYTES_MAX} bytes")
    return decode_statement(value, _decoder)


def is_control(value: bytes | None) -> bool:
    """Whether a value claims to be a control record: then it is judged as one, and never as an event."""
    return value is not None and value[:1] == b"{" and _MARK in value[:STATEMENT_BYTES_MAX]


def nothing_told(_shard: int, _offset: int) -> bool | None:
    """No log is at hand."""
    return None


@dataclass(frozen=True, slots=True)
class RulesJudge:
    """Judges control records of one environment. `told`: whether a verdict log has the record at this shard and offset
    as one that counted; None where it does not reach so far."""

    env: str  # environment, such as prod
    registry: SignerRegistry
    told: Callable[[int, int], bool | None] = nothing_told

    def judge(self, record: Record, rules: int) -> Activation:
        """The activation that the record is, where `rules` are in force. Raises Rejected with the first reason why it
        does not count, and nothing else of its own."""
        value = record.value or b""
        try:
            said = parse_rules(value)
        except ValueError as error:
            raise _bad(f"not a control record: {error}") from None
        for name, has, wanted in (
            ("environment", said.env, self.env),
            ("topic", said.topic, record.topic),
            ("shard", said.shard, record.partition),
        ):
            if has != wanted:
                raise _bad(f"it is of {name} {has}, and stands in {name} {wanted}")
        if said.rules != rules + 1:
            raise _bad(f"it puts rules {said.rules} in force, where rules {rules} are: only {rules + 1} can follow")
        self._check_signature(said, record)
        detail = f"rules {said.rules} are in force from offset {record.offset + 1} on ({said.actor_id}: {said.reason})"
        return Activation(said.rules, hashlib.sha256(value).digest(), detail)

    def _check_signature(self, said: RulesStatement, record: Record) -> None:
        place = TopicPlace(_EPOCH + dt.timedelta(milliseconds=record.timestamp_ms))
        found = faults(dataclasses.replace(claim_of(said), places=(place,)), self.registry)
        told = self.told(record.partition, record.offset)
        for fault in found:
            if told is None or fault.code not in _OF_TIME:
                raise _bad(fault.message)
        if told is False:
            raise _bad("it did not count when it came")


def _bad(detail: str) -> Rejected:
    return Rejected(RejectReason.BAD_RULES, detail)
