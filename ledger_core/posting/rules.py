"""From a settlement event to a draft of its entry, or to the reason why there will be none. Pure.

Guarantees: the verdict depends on the record's bytes and the version of the rules alone (what the shard already holds
is `ledger_core.posting.sequencing`'s part): no clock, no configuration. The rules on each field, which an entry is held
to as well, stand in `ledger_core.books.event_rules`; here stand their order and what an entry cannot show any more: the
key. `occurred_at` and trace headers are not content (G2).
Does not: read other events.
"""

from __future__ import annotations

import hashlib

import msgspec

from ledger_core.books.entries import JournalEntry, Provider
from ledger_core.books.event_rules import (
    check_lines,
    check_metadata,
    check_names,
    check_occurred_at,
    check_pii_digest,
    check_provider,
    check_reverses,
    is_uuid,
)
from ledger_core.books.lines import Line
from ledger_core.books.rule_versions import RULES_1, RuleSet
from ledger_core.books.settlements import SettlementRecord
from ledger_core.errors import Rejected, RejectReason
from ledger_core.posting.plans import Content, Draft

_canonical = msgspec.json.Encoder(order="deterministic")


def draft(fields: SettlementRecord, key: bytes | None, rules: RuleSet = RULES_1) -> Draft:
    """Check every rule that needs the event alone, by this version of the rules.

    Raises Rejected with the first rule broken, in a fixed order: names, key, time, metadata, lines, balance, the rest.
    """
    event_id = fields.event_id
    event_type = fields.event_type
    settlement_id = fields.settlement_id
    order_id = fields.order_id
    check_names(event_id, event_type, settlement_id, order_id)
    if key is None or key != settlement_id.encode():
        raise Rejected(RejectReason.KEY_MISMATCH, "the message key must be the settlement_id")
    occurred_at_us = fields.occurred_at_us
    check_occurred_at(occurred_at_us)
    metadata = fields.metadata
    if metadata:
        check_metadata(metadata, rules)
    check_lines(fields.lines, rules)
    provider = fields.provider
    reverses = fields.reverses
    if reverses is not None:
        check_reverses(reverses)
    digest = fields.pii_digest
    if digest is not None:
        check_pii_digest(digest)
    if provider is not None:
        name, reference, amount, currency = provider
        check_provider(name, reference, amount, currency, rules)
    return Draft(
        event_id,
        event_type,
        settlement_id,
        order_id,
        occurred_at_us,
        fields.lines,
        metadata,
        provider,
        reverses,
        digest,
        rules.number,
    )


def claimed_event_id(fields: SettlementRecord) -> str | None:
    """The event id of a rejected event, when it is one: its verdict is then kept under it."""
    return fields.event_id if is_uuid(fields.event_id) else None


def content_of(asked: Draft | JournalEntry) -> Content:
    """The content of what is asked now, or of what was posted then."""
    if isinstance(asked, Draft):
        lines = tuple(
            Line(account=account, amount_minor=str(amount), currency=currency, memo=memo, side=side)
            for account, side, amount, currency, memo in asked.lines
        )
        provider = None
        if asked.provider is not None:
            name, reference, amount_minor, unit = asked.provider
            provider = Provider(amount_minor=str(amount_minor), currency=unit, name=name, reference=reference)
    else:
        lines, provider = asked.lines, asked.provider
    return Content(
        event_id=asked.event_id,
        event_type=asked.event_type,
        lines=lines,
        metadata=asked.metadata,
        order_id=asked.order_id,
        pii_digest=asked.pii_digest,
        provider=provider,
        reverses=asked.reverses,
        settlement_id=asked.settlement_id,
    )


def content_hash(content: Content) -> bytes:
    """SHA-256 of the canonical content."""
    return hashlib.sha256(_canonical.encode(content)).digest()


def differing_fields(one: Content, other: Content) -> list[str]:
    """Names of the fields in which two askings under one event id differ, in key order."""
    return [name for name in Content.__struct_fields__ if getattr(one, name) != getattr(other, name)]
