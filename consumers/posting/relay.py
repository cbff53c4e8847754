"""Publishing what was posted: journal entries, outcomes and dead letters, in order, at least once.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. REPORT what a COMMIT wrote          outcomes and dead letters, in order; a crash forgets what was queued
  2. ENTER it in the journal             only what is reported, so that the outcomes bind a restored database first
  3. WAIT until the brokers have it      acknowledged; a crash publishes it again: readers skip a lower (shard, seq)
The next batch's transaction, or an idle one, moves `relayed_offset` behind it: that is the commit point (poster, 5).
Guarantees: everything of an offset is acknowledged by the brokers before `relayed_offset` passes it (`barrier`), and
after a crash the same functions publish it again from Postgres. No entry stands in the journal before its outcome, and
those of all offsets below it, stand on the outcomes topic: who was first with an event id is known from there alone
(docs/decisions, 088). Partition = shard on all three topics.
Does not: publish before the commit. Readers skip a (shard, seq) they have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
import structlog

from ledger_core.books.entries import decode_entry
from ledger_core.books.personal import without_personal_data
from ledger_core.errors import Unavailable
from ledger_core.ports import Publisher, Record
from ledger_core.posting.plans import Plan, Verdict
from ledger_core.posting.store_port import Unrelayed
from schemas.wire.journal import encode_journal
from schemas.wire.outcomes import REPORTED_TO, encode_outcome

BARRIER_TIMEOUT_SECONDS: Final = 20.0  # a slow broker is waited for: publishing again would only add to its load
BARRIER_NOTICE_SECONDS: Final = 3.0  # but not in silence
GO_ON_RECORDS: Final = 500  # between two questions whether the batch before is reported
SETTLEMENT_ID_BYTES_MAX: Final = 128
# Below the dead-letter topic's limit (topology.yaml). The settlements topic limits compressed bytes only, so an
# original may be far larger than what can be published; a refused dead letter would stop the shard for ever.
DEAD_LETTER_BYTES_MAX: Final = 2_000_000

Headers = tuple[tuple[str, bytes | None], ...]

log = structlog.get_logger("relay")


class RelayTopics(msgspec.Struct, frozen=True):
    """Topic names, prefix included."""

    journal: str  # entries
    outcomes: str  # one verdict for each record
    dead_letters: str  # rejected originals


class Relay:
    """One publisher's worth of relaying, for all shards of a process. `on_slow` is called with what a barrier waits
    for. `reported_to`: the offset up to which a shard was reported before its database was put back (0: it was not).
    """

    def __init__(
        self,
        publisher: Publisher,
        topics: RelayTopics,
        on_slow: Callable[[str], None] = lambda _what: None,
        reported_to: Callable[[int], int] = lambda _shard: 0,
    ) -> None:
        self._publisher = publisher
        self._reported_to = reported_to
        self._topics = topics
        self._on_slow = on_slow
        self._entries: list[tuple[int, bytes]] = []  # shard and journal record of what is not reported yet

    def publish(self, plan: Plan) -> None:
        """Queue what the committed plan wrote, in order of offset: the newest record of a topic shows how far it came.

        Raises Unavailable; the next owner then starts from `relayed_offset`.
        """
        # 1. REPORT. The batch is posted, and the topics may lack it: a crash here, or anywhere before `relayed_offset`
        # moved, and the next owner publishes it again from Postgres.
        shard = plan.before.shard
        send = self._publisher.publish
        outcomes, enter = self._topics.outcomes, self._entries.append
        again = self._again(shard, plan.before.next_offset)
        verdicts = iter(plan.verdicts)
        verdict = next(verdicts, None)
        for entry in plan.posted:
            while verdict is not None and verdict.offset < entry.record.offset:
                self._publish_verdict(shard, verdict, again)
                verdict = next(verdicts, None)
            draft = entry.draft
            enter((shard, encode_journal(shard, entry.seq, entry.body, entry.entry_hash)))
            outcome = encode_outcome(
                draft.event_id,
                draft.settlement_id,
                "posted",
                None,
                None,
                shard,
                entry.record.offset,
                entry.seq,
                entry.entry_hash,
            )
            send(outcomes, shard, key=draft.event_id.encode(), value=outcome, headers=again)
        while verdict is not None:
            self._publish_verdict(shard, verdict, again)
            verdict = next(verdicts, None)
        self._publisher.poll()

    def publish_again(self, shard: int, items: list[Unrelayed]) -> None:
        """The same from Postgres, after a crash or a take-over."""
        for item in items:
            again = self._again(shard, item.offset)
            if item.entry is not None:
                seq, event_id, entry_hash, body = item.entry
                settlement_id = decode_entry(body).settlement_id
                value = encode_journal(shard, seq, body, entry_hash)
                self._entries.append((shard, value))
                outcome = encode_outcome(
                    event_id, settlement_id, "posted", None, None, shard, item.offset, seq, entry_hash
                )
                self._publisher.publish(
                    self._topics.outcomes, shard, key=event_id.encode(), value=outcome, headers=again
                )
            elif item.verdict is not None:
                self._publish_verdict(shard, item.verdict, again)

    def beside(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records; while somebody decides on them, what is reported by then is entered in the journal, so that
        the barrier need not wait for it. Raises Unavailable."""
        for number, record in enumerate(records):
            if self._entries and number % GO_ON_RECORDS == 0 and self._publisher.poll() == 0:
                self._enter()
            yield record

    def barrier(self) -> None:
        """Return when everything published so far is acknowledged; raise Unavailable otherwise."""
        self._wait()
        if self._entries:
            self._enter()
            # 3. WAIT. Only behind this may `relayed_offset` move. A crash before: published again; after: done.
            self._wait()

    def _enter(self) -> None:
        # 2. ENTER. Every outcome is acknowledged. A crash here: reported, and entered by the next owner.
        for shard, value in self._entries:
            self._publisher.publish(self._topics.journal, shard, key=None, value=value)
        self._entries.clear()

    def _wait(self) -> None:
        try:
            self._publisher.flush(BARRIER_NOTICE_SECONDS)
        except Unavailable as error:
            self._on_slow(error.what)
            log.warning("relay.waiting", what=error.what, detail=error.detail, seconds_max=BARRIER_TIMEOUT_SECONDS)
            # One that failed for good fails again at once.
            self._publisher.flush(BARRIER_TIMEOUT_SECONDS - BARRIER_NOTICE_SECONDS)

    def close(self) -> None:
        self._publisher.close()

    def _again(self, shard: int, offset: int) -> Headers:
        """What an outcome bears that is reported again, so that the newest of a topic still shows how far it went."""
        end = self._reported_to(shard)
        return ((REPORTED_TO, b"%d" % end),) if offset < end else ()

    def _publish_verdict(self, shard: int, verdict: Verdict, again: Headers) -> None:
        outcome = encode_outcome(
            verdict.event_id,
            _settlement_id(verdict),
            verdict.kind,
            verdict.reason,
            verdict.detail,
            shard,
            verdict.offset,
            verdict.seq or None,
            None,
        )
        key = verdict.event_id.encode() if verdict.event_id else None
        self._publisher.publish(self._topics.outcomes, shard, key=key, value=outcome, headers=again)
        if verdict.kind == "rejected" and verdict.record is not None:
            record = without_personal_data(verdict.record)
            told = _dead_letter_headers(verdict)
            size = _size_bytes(record)
            if size > DEAD_LETTER_BYTES_MAX:
                where = f"{size} bytes of key, value and headers: `finance dlq show {shard} {record.offset}` has them"
                record = msgspec.structs.replace(record, key=None, value=None, headers=())
                told.append(("finance.omitted", where.encode()))
            headers = (*record.headers, *told)
            self._publisher.publish(
                self._topics.dead_letters, shard, key=record.key, value=record.value, headers=headers
            )


def _size_bytes(record: Record) -> int:
    size = len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += len(name.encode()) + len(value or b"") + 10  # two length prefixes
    return size


def _dead_letter_headers(verdict: Verdict) -> list[tuple[str, bytes | None]]:
    """Why, and where from: enough to find the original record again and to send it once more."""
    record = verdict.record
    assert record is not None  # noqa: S101  # only records are dead-lettered
    return [
        ("finance.reason", verdict.reason.encode()),
        ("finance.detail", verdict.detail.encode()),
        ("finance.event_id", (verdict.event_id or "").encode()),
        ("finance.topic", record.topic.encode()),
        ("finance.partition", str(record.partition).encode()),
        ("finance.offset", str(record.offset).encode()),
        ("finance.timestamp_ms", str(record.timestamp_ms).encode()),
    ]


def _settlement_id(verdict: Verdict) -> str | None:
    """The message key is the settlement id where the event was right about itself; nothing of a bad key is
    published.
    """
    key = verdict.record.key if verdict.record is not None else None
    if not key or len(key) > SETTLEMENT_ID_BYTES_MAX:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None
