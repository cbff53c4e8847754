"""Settlement events for tests: valid by default, and wrong in exactly the way a test asks for.

Every function is deterministic. `n` names an event: the same n gives the same event id and settlement id.
"""

from __future__ import annotations

import uuid
from typing import Final

import msgspec

from ledger_core.books.settlements import LineFields, ProviderFields, SettlementRecord
from ledger_core.ports import Record
from schemas.wire.avro import frame, put_long, put_text, put_text_map
from schemas.wire.settlements import SETTLEMENT_SCHEMA_ID

TOPIC: Final = "finance.settlements"
APPENDED_AT_MS: Final = 1_762_000_000_000
_SIDES: Final = {"debit": b"\x00", "credit": b"\x02"}


def event_id(n: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"settlement-{n}"))


def sale(amount: int = 10_000, seller: str = "seller-42", currency: str = "USD") -> list[LineFields]:
    """Three lines: what the provider owes us, what we owe the seller, our fee."""
    return [
        ("asset:psp:stripe", "debit", amount, currency, None),
        (f"liability:payable:{seller}", "credit", amount - 3, currency, None),
        ("revenue:fees", "credit", 3, currency, None),
    ]


def settlement(n: int = 1, **changes: object) -> SettlementRecord:
    """A valid event with some fields changed; nothing checks the changes."""
    valid = SettlementRecord(
        event_id=event_id(n),
        event_type="settlement.captured",
        settlement_id=f"st-{n}",
        order_id=f"order-{n}",
        occurred_at_us=1_761_999_000_000_000 + n,
        lines=sale(),
        provider=None,
        reverses=None,
        pii_digest=None,
        metadata={},
    )
    return msgspec.structs.replace(valid, **changes)


def wire(fields: SettlementRecord, schema_id: int = SETTLEMENT_SCHEMA_ID) -> bytes:
    """The message value, whatever the fields hold: a publisher without our library could send it."""
    parts = [frame(schema_id)]
    parts += map(put_text, (fields.event_id, fields.event_type, fields.settlement_id, fields.order_id))
    parts += (put_long(fields.occurred_at_us), _lines(fields.lines), _provider(fields.provider))
    parts.append(b"\x00" if fields.reverses is None else b"\x02" + put_text(fields.reverses))
    parts.append(b"\x00" if fields.pii_digest is None else b"\x02" + put_text(fields.pii_digest))
    parts.append(put_text_map(fields.metadata))
    return b"".join(parts)


def _lines(lines: list[LineFields]) -> bytes:
    parts = [put_long(len(lines))] if lines else []
    for account, side, amount, currency, memo in lines:
        parts += (put_text(account), _SIDES[side], put_long(amount), put_text(currency))
        parts.append(b"\x00" if memo is None else b"\x02" + put_text(memo))
    parts.append(b"\x00")
    return b"".join(parts)


def _provider(provider: ProviderFields | None) -> bytes:
    if provider is None:
        return b"\x00"
    name, reference, amount, currency = provider
    return b"".join((b"\x02", put_text(name), put_text(reference), put_long(amount), put_text(currency)))


def record(
    offset: int,
    fields: SettlementRecord | None = None,
    *,
    value: bytes | None = None,
    key: bytes | None = None,
    shard: int = 0,
    topic: str = TOPIC,
    headers: tuple[tuple[str, bytes | None], ...] = (),
) -> Record:
    """A Kafka record at an offset: of an event with its right key, or of any value and key."""
    if fields is not None:
        value, key = wire(fields), fields.settlement_id.encode() if key is None else key
    return Record(topic, shard, offset, APPENDED_AT_MS + offset, key, value, headers)
