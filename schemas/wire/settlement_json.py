"""A settlement event as one line of JSON, for files and for people: the same fields as on the wire.

Amounts are integers of minor units, `occurred_at` is RFC 3339 in UTC, `pii_salt` is base64. `event_id` may be left out:
it is then made of settlement_id, event_type and occurred_at, as the publisher library makes it. Unknown keys are
refused, so a misspelt field is not silently dropped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from ledger_core.books.sales import event_id_of
from ledger_core.books.settlements import SETTLEMENT_BYTES_MAX, SettlementEvent, UnbalancedLines
from ledger_core.errors import Rejected, RejectReason

LINE_BYTES_MAX: Final = 4 * SETTLEMENT_BYTES_MAX  # JSON escapes can be several times as long as what they say

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(SettlementEvent)


class _Identity(msgspec.Struct):
    """The fields an event id is made of, read when the line has none."""

    settlement_id: str
    event_type: str
    occurred_at: msgspec.Raw
    event_id: str | None = None


encode_settlement_json = _encoder.encode
"""SettlementEvent -> one line of JSON, without the line end."""


def decode_settlement_json(line: bytes) -> SettlementEvent:
    """One line -> event. Raises Rejected, saying which field is wrong and why."""
    if len(line) > LINE_BYTES_MAX:
        raise Rejected(RejectReason.OVERSIZE, f"the line has {len(line)} bytes; the limit is {LINE_BYTES_MAX}")
    try:
        identity = msgspec.json.decode(line, type=_Identity)
        if identity.event_id is None:
            return _with_event_id(line, identity)
        return _decoder.decode(line)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        unbalanced = isinstance(error.__cause__, UnbalancedLines)
        raise Rejected(RejectReason.UNBALANCED if unbalanced else RejectReason.MALFORMED, str(error)) from None


def _with_event_id(line: bytes, identity: _Identity) -> SettlementEvent:
    occurred_at = msgspec.json.decode(identity.occurred_at, type=dt.datetime)
    if occurred_at.tzinfo is None:
        raise ValueError("occurred_at: wants a time in UTC, ending in Z")
    fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    event_id = event_id_of(identity.settlement_id, identity.event_type, occurred_at)
    fields["event_id"] = msgspec.Raw(_encoder.encode(event_id))
    return _decoder.decode(_encoder.encode(fields))


def read_settlement_lines(lines: Iterable[bytes]) -> Iterator[SettlementEvent]:
    """The events of a JSONL file, blank lines skipped. Raises Rejected, naming the number of the line."""
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            yield decode_settlement_json(line)
        except Rejected as error:
            raise Rejected(error.reason, f"line {number}: {error.detail}") from None
