"""The values posting works with: what is asked, what is known of it, what is planned. Plain data, no rules.

They stand apart from the functions that use them because those are compiled (finance/runtime/compiled.py), and a class
that msgspec builds cannot be.
"""

from __future__ import annotations

import msgspec

from ledger_core.books.entries import Provider
from ledger_core.books.lines import Line
from ledger_core.books.settlements import LineFields, ProviderFields
from ledger_core.errors import RejectReason
from ledger_core.ports import Record
from ledger_core.posting.verdicts import VerdictKind


class Content(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What makes two askings the same asking: everything of the event but `occurred_at`. Fields in key order."""

    event_id: str
    event_type: str
    lines: tuple[Line, ...]
    metadata: dict[str, str]
    order_id: str
    pii_digest: str | None = None
    provider: Provider | None = None
    reverses: str | None = None
    settlement_id: str


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A settlement event that is well-formed and balanced: an entry but for its place in the chain."""

    event_id: str
    event_type: str
    settlement_id: str
    order_id: str
    occurred_at_us: int
    lines: list[LineFields]
    metadata: dict[str, str]
    provider: ProviderFields | None
    reverses: str | None
    pii_digest: str | None
    pii: bytes | None
    pii_salt: bytes | None


class ShardHead(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One row of `shards`: where the shard's chain and its cursor over the settlements partition stand."""

    shard: int
    topic: str
    first_offset: int
    next_offset: int
    seq: int
    head_hash: bytes | None
    accounts: int
    posted: int
    duplicates: int
    rejected: int
    relayed_offset: int


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A record that the posting rules refused on its bytes alone."""

    reason: RejectReason
    detail: str
    event_id: str | None
    content_hash: bytes  # of the record's value


class Decided(msgspec.Struct, frozen=True, gc=False):
    """One record after the rules that need the record alone."""

    record: Record
    outcome: Draft | Rejection


class Known(msgspec.Struct, frozen=True, gc=False):
    """The first verdict of an event id: posted with this body, or rejected with this content."""

    shard: int
    seq: int  # 0 when rejected
    body: bytes | None  # of the posted entry
    content_hash: bytes | None = None  # of the rejected content
    reason: str = ""


class Posted(msgspec.Struct, frozen=True, gc=False):
    """One entry to write. `draft` carries the pii, which never enters the body."""

    seq: int
    record: Record
    entry_hash: bytes
    body: bytes
    draft: Draft


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """One offset that posts nothing. `record` is None for an offset that holds none."""

    offset: int
    kind: VerdictKind
    reason: str
    event_id: str | None
    content_hash: bytes | None
    first_verdict: bool
    detail: str
    line: bytes
    record: Record | None
    seq: int  # of the entry a duplicate repeats, else 0


class Plan(msgspec.Struct, frozen=True, gc=False):
    """All that one batch changes: written in one transaction, or not at all."""

    before: ShardHead
    after: ShardHead
    posted: list[Posted]
    verdicts: list[Verdict]
