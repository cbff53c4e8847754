"""The settlement event on the wire: Confluent frame around Avro of schemas/avro/settlement.v1.avsc.

`decode_settlement` turns any bytes into either a record or Rejected (malformed, unknown_schema, oversize): never
another exception, never more memory than a small multiple of the value, never more time than one pass over it. It
judges bytes only; what the fields must look like is decided by `ledger_core.posting.rules`.
"""

from __future__ import annotations

from typing import Final

from ledger_core.books.lines import Side
from ledger_core.books.money import CURRENCIES
from ledger_core.books.personal import WITH_DATA_SCHEMA_ID
from ledger_core.books.settlements import (
    SETTLEMENT_BYTES_MAX,
    LineFields,
    ProviderFields,
    SettlementEvent,
    SettlementLine,
    SettlementRecord,
    microseconds,
)
from ledger_core.errors import Rejected, RejectReason
from schemas.wire.avro import (
    FRAME_BYTES,
    frame,
    put_long,
    put_text,
    put_text_map,
    read_count,
    read_is_present,
    read_long,
    read_span,
    read_text,
    read_text_map,
)
from schemas.wire.registry import SCHEMA_IDS, SCHEMA_KEYS

SETTLEMENT_SCHEMA_ID: Final = SCHEMA_IDS["settlement.v1"]
_FRAME: Final = frame(SETTLEMENT_SCHEMA_ID)
WITH_DATA: Final = "the record may carry personal data, which an event does not: its value is not kept"
_CODES: Final = {code.encode(): code for code in CURRENCIES}  # one text for all lines of a batch
_SIDES: Final[dict[int, Side]] = {0: "debit", 2: "credit"}  # zig-zag of the enum's index


def decode_settlement(value: bytes | None) -> SettlementRecord:
    """The record in a message value. Raises Rejected, and nothing else, for anything that is not one."""
    if value is None:
        raise Rejected(RejectReason.MALFORMED, "the message has no value")
    if len(value) > SETTLEMENT_BYTES_MAX:
        raise Rejected(RejectReason.OVERSIZE, f"the value has {len(value)} bytes; the limit is {SETTLEMENT_BYTES_MAX}")
    if value[:FRAME_BYTES] != _FRAME:
        raise _wrong_frame(value)
    try:
        return _decode_v1(value)
    except IndexError:
        raise Rejected(RejectReason.MALFORMED, f"the record is cut off: {len(value)} bytes are too few") from None
    except UnicodeDecodeError as error:
        raise Rejected(RejectReason.MALFORMED, f"a text is not UTF-8: {error.reason}") from None
    except ValueError as error:
        raise Rejected(RejectReason.MALFORMED, str(error)) from None


def _wrong_frame(value: bytes) -> Rejected:
    if len(value) < FRAME_BYTES:
        return Rejected(RejectReason.MALFORMED, f"{len(value)} bytes are too few for a Confluent frame")
    if value[0]:
        return Rejected(RejectReason.MALFORMED, f"the first byte is 0x{value[0]:02x}, not the magic byte 0x00")
    number = int.from_bytes(value[1:FRAME_BYTES], "big")
    if number == WITH_DATA_SCHEMA_ID:
        return Rejected(RejectReason.UNKNOWN_SCHEMA, WITH_DATA)
    if number in SCHEMA_KEYS:
        return Rejected(RejectReason.MALFORMED, f"the record is {SCHEMA_KEYS[number]}, not settlement.v1")
    return Rejected(RejectReason.UNKNOWN_SCHEMA, f"schema id {number} was never published")


def _decode_v1(value: bytes) -> SettlementRecord:
    """The fields of settlement.v1. Reads of short texts stand inline here and in `_read_lines`: a call each would
    nearly double the time of the whole."""
    end = FRAME_BYTES
    texts = []
    for _ in range(4):
        size = value[end]
        if size & 0x81:
            at, end = read_span(value, end)
        else:
            at = end + 1
            end = at + (size >> 1)
        texts.append(value[at:end].decode())
    event_id, event_type, settlement_id, order_id = texts
    occurred_at_us, at = read_long(value, end)
    lines: list[LineFields] = []
    while value[at]:
        count, at = read_count(value, at)
        at = _read_lines(value, at, count, lines)
    at += 1
    provider: ProviderFields | None = None
    if value[at]:
        _, at = read_is_present(value, at)
        provider, at = _read_provider(value, at)
    else:
        at += 1
    reverses: str | None = None
    pii_digest: str | None = None
    if value[at : at + 2] == b"\x00\x00":  # the commonest event: neither of them
        at += 2
    else:
        reverses, pii_digest, at = _read_rare(value, at)
    metadata: dict[str, str] = {}
    if value[at]:
        metadata, at = read_text_map(value, at)
    else:
        at += 1
    if at != len(value):
        if at > len(value):
            raise IndexError
        raise ValueError(f"{len(value) - at} bytes follow the record")
    return SettlementRecord(
        event_id,
        event_type,
        settlement_id,
        order_id,
        occurred_at_us,
        lines,
        provider,
        reverses,
        pii_digest,
        metadata,
    )


def _read_lines(value: bytes, at: int, count: int, lines: list[LineFields]) -> int:
    """Append `count` lines; gives the position after them."""
    for _ in range(count):
        size = value[at]
        if size & 0x81:
            at, end = read_span(value, at)
        else:
            at += 1
            end = at + (size >> 1)
        account = value[at:end].decode()
        side = _SIDES.get(value[end])
        if side is None:
            raise ValueError("a side that is neither debit nor credit")
        at = end + 1
        low = value[at]
        if low < 0x80:
            amount = (low >> 1) ^ -(low & 1)
            at += 1
        elif 0 < (middle := value[at + 1]) < 0x80:
            low = low & 0x7F | middle << 7
            amount = (low >> 1) ^ -(low & 1)
            at += 2
        elif middle and 0 < (high := value[at + 2]) < 0x80:
            low = low & 0x7F | (middle & 0x7F) << 7 | high << 14
            amount = (low >> 1) ^ -(low & 1)
            at += 3
        else:
            amount, at = read_long(value, at)
        if value[at] == 6:
            end = at + 4
            code = value[at + 1 : end]
            currency = _CODES.get(code) or code.decode()
        else:
            currency, end = read_text(value, at)
        at = end + 1
        memo = None
        if value[end]:
            _, at = read_is_present(value, end)
            memo, at = read_text(value, at)
        lines.append((account, side, amount, currency, memo))
    return at


def _read_rare(value: bytes, at: int) -> tuple[str | None, str | None, int]:
    """reverses and pii_digest, either of them null."""
    reverses = pii_digest = None
    present, at = read_is_present(value, at)
    if present:
        reverses, at = read_text(value, at)
    present, at = read_is_present(value, at)
    if present:
        pii_digest, at = read_text(value, at)
    return reverses, pii_digest, at


def _read_provider(value: bytes, at: int) -> tuple[ProviderFields, int]:
    name, at = read_text(value, at)
    reference, at = read_text(value, at)
    amount_minor, at = read_long(value, at)
    currency, at = read_text(value, at)
    return (name, reference, amount_minor, currency), at


def encode_settlement(event: SettlementEvent) -> bytes:
    """The message value of an event. Raises ValueError when a text holds a lone surrogate."""
    parts = [
        _FRAME,
        put_text(event.event_id),
        put_text(event.event_type),
        put_text(event.settlement_id),
        put_text(event.order_id),
        put_long(microseconds(event.occurred_at)),
        put_long(len(event.lines)),
    ]
    parts += map(_put_line, event.lines)
    parts.append(b"\x00")
    provider = event.provider
    if provider is None:
        parts.append(b"\x00")
    else:
        parts += (b"\x02", put_text(provider.name), put_text(provider.reference))
        parts += (put_long(provider.amount_minor), put_text(provider.currency))
    parts.append(b"\x00" if event.reverses is None else b"\x02" + put_text(event.reverses))
    digest = event.digest
    parts.append(b"\x00" if digest is None else b"\x02" + put_text(digest))
    parts.append(put_text_map(event.metadata))
    return b"".join(parts)


def _put_line(line: SettlementLine) -> bytes:
    account = line.account.encode()
    memo = b"\x00" if line.memo is None else b"\x02" + put_text(line.memo)
    side = b"\x00" if line.side == "debit" else b"\x02"
    return put_long(len(account)) + account + side + put_long(line.amount_minor) + put_text(line.currency) + memo
