"""The values posting works with: what is asked, what is known of it, what is planned. Plain data, no rules.

They stand apart from the functions that use them because those are compiled (finance/settings/compiled.py), and a class
that msgspec builds cannot be.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ledger_core.books.entries import Provider
from ledger_core.books.lines import Line
from ledger_core.books.rule_versions import FIRST_RULES
from ledger_core.books.settlements import LineFields, ProviderFields
from ledger_core.errors import RejectReason
from ledger_core.ports import Record

VerdictKind = Literal["duplicate", "rejected"]


class Content(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What makes two askings the same asking: everything of the event but `occurred_at`. Fields in key order."""

    event_id: str  # UUID that the publisher gave; one event id, one posting
    event_type: str  # settlement.captured, settlement.refunded, ...
    lines: tuple[Line, ...]  # as in the entry
    metadata: dict[str, str]  # the publisher's own pairs, kept as they came
    order_id: str  # the shop's id
    pii_digest: str | None = None  # SHA-256, hex, of salt and pii; the pii itself stays outside
    provider: Provider | None = None  # as in the entry
    reverses: str | None = None  # event id of the entry that this one takes back
    settlement_id: str  # the shop's id; the key of the record


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A settlement event that is well-formed and balanced: an entry but for its place in the chain."""

    event_id: str  # UUID that the publisher gave; one event id, one posting
    event_type: str  # settlement.captured, settlement.refunded, ...
    settlement_id: str  # the shop's id; the key of the record
    order_id: str  # the shop's id
    occurred_at_us: int  # microseconds since 1970-01-01 UTC; set by the publisher
    lines: list[LineFields]  # balanced in each currency
    metadata: dict[str, str]  # the publisher's own pairs, kept as they came
    provider: ProviderFields | None  # what the payment provider was asked for, if anything
    reverses: str | None  # event id of the entry that this one takes back
    pii_digest: str | None  # SHA-256, hex, of salt and pii; the pii itself stays outside
    rules: int = FIRST_RULES  # version of the posting rules that judged it


class ShardHead(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One row of `shards`: where the shard's chain and its cursor over the settlements partition stand."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    topic: str  # Kafka topic, prefix included
    first_offset: int  # settlements offset where the shard began, inclusive
    next_offset: int  # settlements offset to read next: all below are decided
    seq: int  # of the newest entry; 0 at genesis
    head_hash: bytes | None  # of the newest entry, 32 bytes; None at genesis
    accounts: int  # accounts opened so far; the newest account number
    posted: int  # offsets that became entries, since first_offset
    duplicates: int  # offsets that repeated an event id, since first_offset
    rejected: int  # offsets that were rejected, since first_offset
    relayed_offset: int  # all below it was acknowledged by journal, outcomes and dead letters
    rules: int = FIRST_RULES  # version of the posting rules that judges what stands at next_offset


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A record that the posting rules refused on its bytes alone."""

    reason: RejectReason  # the code that stands in verdict and outcome
    detail: str  # for people; proved nowhere
    event_id: str | None  # as far as it could be read
    content_hash: bytes  # of the record's value; of nothing where nothing was read


class Activation(msgspec.Struct, frozen=True, gc=False):
    """A control record that counts (`ledger_core.posting.activation`): behind its offset other rules judge."""

    rules: int  # version in force behind it; one more than before
    content_hash: bytes  # SHA-256 of the record's value, 32 bytes
    detail: str  # for people: who, and why


class Decided(msgspec.Struct, frozen=True, gc=False):
    """One record after the rules that need the record alone."""

    record: Record  # the record, unchanged
    outcome: Draft | Rejection | Activation  # what the rules made of it


class Known(msgspec.Struct, frozen=True, gc=False):
    """The first verdict of an event id: posted with this body, or rejected with this content."""

    shard: int  # where the first verdict stands
    seq: int  # 0 when rejected
    body: bytes | None  # of the posted entry, when it was asked for; None when rejected
    content_hash: bytes | None = None  # of the rejected content
    reason: str = ""  # of the rejection; empty when posted

    @property
    def is_posted(self) -> bool:
        return self.seq > 0


class Posted(msgspec.Struct, frozen=True, gc=False):
    """One entry to write."""

    seq: int  # sequence number in the chain, from 1
    record: Record  # the Kafka record that asked for it
    entry_hash: bytes  # SHA-256 over the body, 32 bytes
    body: bytes  # canonical JSON of the entry
    draft: Draft


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """One offset that posts nothing. `record` is None for an offset of which nothing was read."""

    offset: int  # settlements offset
    kind: VerdictKind  # duplicate or rejected
    reason: str  # code; see VerdictLine
    event_id: str | None  # as far as it could be read
    content_hash: bytes | None  # SHA-256, 32 bytes, of what was asked
    first_verdict: bool  # whether it settles its event id for ever
    detail: str  # for people; proved nowhere
    line: bytes  # canonical JSON of the VerdictLine, without LF
    record: Record | None
    seq: int  # of the entry a duplicate repeats, else 0


class Plan(msgspec.Struct, frozen=True, gc=False):
    """All that one batch changes: written in one transaction, or not at all."""

    before: ShardHead  # the head that the batch was planned on; the store refuses another
    after: ShardHead  # the head once it is written
    posted: list[Posted]  # in order of seq
    verdicts: list[Verdict]  # in order of offset
