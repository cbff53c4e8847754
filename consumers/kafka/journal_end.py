"""How far the journal topic surely goes: what a database that was filled again need not publish any more.

Guarantees: everything of the offsets up to the answered entry was acknowledged by the brokers, on all three topics of
the relay: it waits for that before it commits the next batch, so what may be missing lies within one batch of the
newest journal entry. Does not: compare what stands there with the ledger (the caller does, by `newest`).
"""

from __future__ import annotations

from consumers.kafka.watermarks import Watermarks
from ledger_core.errors import Refused
from schemas.wire.journal import decode_journal
from schemas.wire.records import JournalRecord


def newest_in_journal(watermarks: Watermarks, topic: str, shard: int) -> JournalRecord | None:
    """The newest entry of a shard on the journal topic; None when it has none, or the topic is lost. Raises Unavailable
    and Corrupt."""
    try:
        message = watermarks.newest(topic, shard)
    except Refused:
        return None
    return None if message is None else decode_journal(message.value() or b"")


def surely_relayed_seq(newest: JournalRecord | None, batch_records_max: int) -> int:
    """Up to this entry everything was relayed."""
    return 0 if newest is None else max(0, newest.seq - batch_records_max)
