"""How far each shard has come on its route: read, posted, relayed, proved, archived, and on the audit chain.

Guarantees: each call reads one consistent snapshot. Read-only; needs the role finance_api or finance_auditor.
Does not: know how much waits in Kafka (`consumers.kafka.watermarks` does).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ledger_core.postgres.session import Session

SHARDS = """
SELECT s.shard, s.topic, s.first_offset, s.next_offset, s.seq, s.head_hash, s.duplicates, s.rejected, s.relayed_offset,
       s.changed_at,
       coalesce(c.range_no, 0), coalesce(c.next_offset, s.first_offset),
       coalesce(p.range_no, 0), coalesce(pr.last_seq, 0), coalesce(pr.next_offset, s.first_offset), p.signed_at,
       coalesce(a.range_no, 0), coalesce(ar.last_seq, 0), a.stored_at, a.retain_until, coalesce(m.manifest_no, 0),
       s.rules
  FROM shards s
  LEFT JOIN LATERAL (SELECT range_no, next_offset FROM ranges WHERE shard = s.shard
                     ORDER BY range_no DESC LIMIT 1) c ON true
  LEFT JOIN LATERAL (SELECT range_no, signed_at FROM proofs WHERE shard = s.shard
                     ORDER BY range_no DESC LIMIT 1) p ON true
  LEFT JOIN ranges pr ON pr.shard = s.shard AND pr.range_no = p.range_no
  LEFT JOIN LATERAL (SELECT range_no, stored_at, retain_until FROM archive_objects WHERE shard = s.shard
                     ORDER BY range_no DESC LIMIT 1) a ON true
  LEFT JOIN ranges ar ON ar.shard = s.shard AND ar.range_no = a.range_no
  LEFT JOIN LATERAL (SELECT manifest_no FROM manifests WHERE shard = s.shard
                     ORDER BY manifest_no DESC LIMIT 1) m ON true
 ORDER BY s.shard"""

# From one shard to the next by the primary key: the shards, not their manifests, make it longer.
MANIFEST_HEADS = """
WITH RECURSIVE heads AS (
    (SELECT shard, manifest_no, hash FROM manifests ORDER BY shard DESC, manifest_no DESC LIMIT 1)
    UNION ALL
    SELECT m.* FROM heads h, LATERAL (SELECT shard, manifest_no, hash FROM manifests WHERE shard < h.shard
                                       ORDER BY shard DESC, manifest_no DESC LIMIT 1) m)
SELECT shard, manifest_no, hash FROM heads ORDER BY shard"""

AUDIT = """
SELECT coalesce((SELECT seq FROM audit_events ORDER BY seq DESC LIMIT 1), 0),
       (SELECT hash FROM audit_events ORDER BY seq DESC LIMIT 1),
       (SELECT count(*) FROM audit_outbox),
       (SELECT published_seq FROM notary_cursor)"""


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """One shard. Offsets are of the settlements partition; `*_ranges` count from 1; `*_seq` are the newest entries."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    topic: str  # Kafka topic, prefix included
    first_offset: int  # where the shard began, inclusive
    next_offset: int  # to read next: all below are decided
    seq: int  # newest entry; 0 at genesis
    head_hash: bytes | None  # of the newest entry, 32 bytes; None at genesis
    duplicates: int  # offsets that repeated a settled event id
    rejected: int  # offsets that were refused
    relayed_offset: int  # all below it was published, exclusive
    changed_at: dt.datetime  # UTC; when the row last changed
    closed_ranges: int  # number of the newest closed range
    closed_offset: int  # all below it are in closed ranges, exclusive
    proved_ranges: int  # number of the newest signed range
    proved_seq: int  # last entry of it, inclusive
    proved_offset: int  # all below it are in signed ranges, exclusive
    proved_at: dt.datetime | None  # UTC; None before the first proof
    archived_ranges: int  # number of the newest range with an object
    archived_seq: int  # last entry of it, inclusive
    archived_at: dt.datetime | None  # UTC; None before the first object
    retain_until: dt.datetime | None  # of the newest object, UTC; None before the first
    manifests: int  # number of the newest manifest
    rules: int  # version of the posting rules that judges what stands at next_offset

    @property
    def finished(self) -> bool:
        """Everything this shard has read is relayed, proved and archived under a signed manifest."""
        return (
            self.relayed_offset == self.proved_offset == self.next_offset
            and self.closed_ranges == self.proved_ranges == self.archived_ranges == self.manifests
        )


@dataclass(frozen=True, slots=True)
class AuditProgress:
    """The audit chain: newest seq and hash (hex), intents that wait for the notary, and what Kafka has."""

    seq: int  # of the newest event; 0 at genesis
    head_hash: str | None  # hex; of the newest event, None at genesis
    waiting_intents: int  # in the outbox, not chained yet
    published_seq: int  # events up to here, inclusive, are in the audit topic

    @property
    def finished(self) -> bool:
        """Every intent is on the chain, and the chain is on the topic."""
        return self.waiting_intents == 0 and self.published_seq == self.seq


def shard_progress(connection: Session) -> list[ShardProgress]:
    """Every shard, in order."""
    return [ShardProgress(*row) for row in connection.execute(SHARDS)]


def audit_progress(connection: Session) -> AuditProgress:
    """The audit chain as of now."""
    row = connection.execute(AUDIT).fetchone()
    assert row is not None  # noqa: S101  # a SELECT of scalars has one row
    return AuditProgress(*row)


def manifest_heads(connection: Session) -> list[tuple[int, int, bytes]]:
    """(shard, newest manifest number, its hash) of each shard: where its manifest chain must reach in the archive."""
    rows = connection.execute(MANIFEST_HEADS)
    return [(shard, number, digest) for shard, number, digest in rows]


def audit_reach(connection: Session) -> tuple[int, int]:
    """How far the audit chain was exported to the archive, and published on its topic: the newest seq of each."""
    row = connection.execute(
        "SELECT (SELECT coalesce(max(last_seq), 0) FROM audit_export_ranges JOIN audit_exports USING (export_no)), "
        "(SELECT published_seq FROM notary_cursor)"
    ).fetchone()
    assert row is not None  # noqa: S101  # a SELECT of scalars has one row
    return int(row[0]), int(row[1])
