"""A small ledger made by hand, as the poster would leave it: entries, verdicts, shard rows and journal records.

Every function is deterministic. `TinyShard` grows one shard in memory; `write` puts what it holds into Postgres, and
`publish` into the journal topic, so that prover and archiver can be tested without a poster.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from dataclasses import dataclass, field

from ledger_core.books.entries import EntrySource, JournalEntry, encode_entry
from ledger_core.books.lines import Line
from ledger_core.chain import link
from ledger_core.ports import Record
from ledger_core.posting.verdicts import VerdictLine, encode_verdict
from ledger_core.proving.open_range import ShardPosition
from ledger_core.times import format_time
from schemas.wire.journal import encode_journal

START = dt.datetime(2025, 11, 1, tzinfo=dt.UTC)
TOPIC = "finance.settlements"


@dataclass(frozen=True, slots=True)
class TinyEntry:
    seq: int
    body: bytes
    entry_hash: bytes
    offset: int
    entry: JournalEntry


@dataclass(slots=True)
class TinyShard:
    """One shard. `post` adds an entry, `silence` an offset that posted nothing."""

    shard: int = 0
    topic: str = TOPIC
    first_offset: int = 0
    next_offset: int = -1
    head: bytes | None = None
    entries: list[TinyEntry] = field(default_factory=list)
    verdicts: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.next_offset < 0:
            self.next_offset = self.first_offset

    def post(
        self,
        count: int = 1,
        *,
        seconds: float = 0.0,
        currency: str = "USD",
        event_id: str | None = None,
        rules: int = 1,
        pii_digest: str | None = None,
    ) -> TinyShard:
        """Post entries with recorded_at `seconds` after START."""
        for _ in range(count):
            self._post_one(format_time(START + dt.timedelta(seconds=seconds)), currency, event_id, rules, pii_digest)
        return self

    def _post_one(
        self, recorded_at: str, currency: str, event_id: str | None, rules: int, pii_digest: str | None
    ) -> None:
        seq = len(self.entries) + 1
        amount = 100 + seq % 900
        lines = (
            Line(account=f"asset:psp:shop-{seq % 7}", amount_minor=str(amount), currency=currency, side="debit"),
            Line(
                account=f"liability:payable:seller-{seq % 11}",
                amount_minor=str(amount - 3),
                currency=currency,
                side="credit",
            ),
            Line(account="revenue:fees", amount_minor="3", currency=currency, side="credit"),
        )
        entry = JournalEntry(
            event_id=event_id or str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.topic}:{self.shard}:{self.next_offset}")),
            event_type="settlement.captured",
            lines=lines,
            metadata={},
            occurred_at=recorded_at,
            order_id=f"order-{seq}",
            pii_digest=pii_digest,
            recorded_at=recorded_at,
            rules=rules,
            seq=str(seq),
            settlement_id=f"st-{self.shard}-{seq}",
            shard=self.shard,
            source=EntrySource(
                offset=str(self.next_offset),
                partition=self.shard,
                topic=self.topic,
                value_sha256=sha256_at(self.next_offset),
            ),
            version=1,
        )
        body = encode_entry(entry)
        self.head = link(body, self.head)
        self.entries.append(TinyEntry(seq, body, self.head, self.next_offset, entry))
        self.next_offset += 1

    def silence(self, count: int = 1, *, reason: str = "") -> TinyShard:
        """Offsets that posted nothing: repeats of the newest entry (records that cannot be read, where there is none),
        or rejected records when a `reason` is given."""
        for _ in range(count):
            line = VerdictLine(
                content_hash=None if reason == "no_record" else "ab" * 32,
                event_id=self.entries[-1].entry.event_id if self.entries and not reason else None,
                key_sha256=None if reason == "no_record" else "cd" * 32,
                offset=str(self.next_offset),
                reason=reason or ("already_posted" if self.entries else "malformed"),
                value_sha256=None if reason == "no_record" else sha256_at(self.next_offset),
                verdict="rejected" if reason or not self.entries else "duplicate",
            )
            self.verdicts[self.next_offset] = encode_verdict(line)
            self.next_offset += 1
        return self

    def position(self) -> ShardPosition:
        return ShardPosition(self.shard, self.topic, self.first_offset, self.next_offset, len(self.entries), self.head)

    def verdict_lines(self, first_offset: int, next_offset: int) -> list[bytes]:
        return [line for offset, line in sorted(self.verdicts.items()) if first_offset <= offset < next_offset]

    def journal(self, first_seq: int = 1) -> list[Record]:
        """The journal records from a sequence on, with offsets counted from 0."""
        return [
            Record(
                "finance.journal",
                self.shard,
                item.seq - 1,
                int(START.timestamp() * 1000),
                None,
                encode_journal(self.shard, item.seq, item.body, item.entry_hash),
            )
            for item in self.entries[first_seq - 1 :]
        ]


def sha256_at(offset: int) -> str:
    """The value's SHA-256, hex, of the record that stands at an offset here: of no real record."""
    return hashlib.sha256(f"value {offset}".encode()).hexdigest()
