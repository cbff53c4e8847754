"""The canonical bytes of an entry, written straight from its draft: as `journal.encode_entry` would, in half the time.

Guarantees: byte for byte `encode_entry(JournalEntry(...))` of the same fields (a property test compares both), and
like that type it raises ValueError instead of writing an entry that has no lines or does not balance (G1).
Does not: check names, accounts, currencies and texts; `ledger_core.posting.rules` did, before there was a draft. So
only memo, metadata and the topic can hold what JSON escapes.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

import msgspec

from ledger_core.books.entries import ENTRY_VERSION
from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.books.rule_versions import FIRST_RULES
from ledger_core.books.settlements import LineFields
from ledger_core.ports import Record
from ledger_core.posting.plans import Draft
from ledger_core.times import format_time_us

_json = msgspec.json.Encoder(order="deterministic")  # sorts `metadata`
_VERSION: Final = str(ENTRY_VERSION)


def entry_bytes(draft: Draft, shard: int, seq: int, record: Record) -> bytes:
    """The entry that posts `draft`, asked for by `record`, as number `seq` of `shard`. Keys stand in sorted order."""
    metadata = draft.metadata
    metadata_text = _json.encode(metadata).decode() if metadata else "{}"
    digest, provider, reverses = draft.pii_digest, draft.provider, draft.reverses
    digest_text = "" if digest is None else f'"pii_digest":"{digest}",'
    provider_text = ""
    if provider is not None:
        name, reference, amount, currency = provider
        provider_text = (
            f'"provider":{{"amount_minor":"{amount}","currency":"{currency}",'
            f'"name":"{name}","reference":"{reference}"}},'
        )
    rules_text = "" if draft.rules == FIRST_RULES else f'"rules":{draft.rules},'
    reverses_text = "" if reverses is None else f'"reverses":"{reverses}",'
    lines = _lines_text(draft.lines)
    value_sha256 = hashlib.sha256(record.value or b"").hexdigest()
    occurred_at, recorded_at = format_time_us(draft.occurred_at_us), format_time_us(record.timestamp_ms * 1000)
    return (
        f'{{"event_id":"{draft.event_id}","event_type":"{draft.event_type}","lines":[{lines}],'
        f'"metadata":{metadata_text},"occurred_at":"{occurred_at}","order_id":"{draft.order_id}",'
        f'{digest_text}{provider_text}"recorded_at":"{recorded_at}",{reverses_text}{rules_text}"seq":"{seq}",'
        f'"settlement_id":"{draft.settlement_id}","shard":{shard},"source":{{"offset":"{record.offset}",'
        f'"partition":{record.partition},"topic":{_quoted(record.topic)},'
        f'"value_sha256":"{value_sha256}"}},"version":{_VERSION}}}'
    ).encode()


def _lines_text(lines: list[LineFields]) -> str:
    """The lines as JSON. Raises ValueError unless they balance in every currency."""
    totals: dict[str, int] = {}
    texts: list[str] = []
    for account, side, amount, currency, memo in lines:
        if not 0 < amount <= AMOUNT_MINOR_MAX:
            raise ValueError(f"amount_minor {amount} is not a positive integer up to {AMOUNT_MINOR_MAX}")
        totals[currency] = totals.get(currency, 0) + (amount if side == "debit" else -amount)
        memo_text = "" if memo is None else f'"memo":{_json.encode(memo).decode()},'
        texts.append(
            f'{{"account":"{account}","amount_minor":"{amount}","currency":"{currency}",{memo_text}"side":"{side}"}}'
        )
    if not texts:
        raise ValueError("an entry needs lines")
    for currency, total in totals.items():
        if total:
            raise ValueError(f"unbalanced in {currency}: debits - credits = {total} minor units")
    return ",".join(texts)


@lru_cache(maxsize=16)
def _quoted(topic: str) -> str:
    return _json.encode(topic).decode()
