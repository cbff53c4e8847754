"""What a committed batch is to whoever watches: one log line, and the metrics. Nothing here changes what is done."""

from __future__ import annotations

from typing import Final

import structlog

from consumers.metrics import Metrics
from ledger_core.errors import RejectReason
from ledger_core.posting.plans import Plan
from ledger_core.posting.verdicts import activated_rules

NO_RECORD: Final = RejectReason.NO_RECORD.value

log = structlog.get_logger("poster")


def report_batch(metrics: Metrics, plan: Plan, *, seconds: float, now: float) -> None:
    """Report the plan that was committed after `seconds`, at `now` (Unix seconds)."""
    before, after = plan.before, plan.after
    records = [*(entry.record for entry in plan.posted[:1]), *(v.record for v in plan.verdicts[:1] if v.record)]
    oldest_ms = min((record.timestamp_ms for record in records if record.timestamp_ms > 0), default=None)
    latency_seconds = 0.0 if oldest_ms is None else max(0.0, now - oldest_ms / 1000)
    log.info(
        "poster.batch",
        shard=after.shard,
        first_offset=before.next_offset,
        next_offset=after.next_offset,
        posted=len(plan.posted),
        duplicates=after.duplicates - before.duplicates,
        rejected=after.rejected - before.rejected,
        seq=after.seq,
        head=after.head_hash.hex() if after.head_hash else None,
        seconds=round(seconds, 4),
        latency_seconds=round(latency_seconds, 4),
    )
    if plan.posted:
        metrics.posted(after.shard, len(plan.posted), latency_seconds)
    if after.duplicates > before.duplicates:
        metrics.duplicates(after.shard, after.duplicates - before.duplicates)
    holes = 0
    for verdict in plan.verdicts:
        if verdict.reason == NO_RECORD:
            holes += 1
        elif activated_rules(verdict.reason) is not None:
            log.warning("poster.rules_activated", shard=after.shard, offset=verdict.offset, detail=verdict.detail)
        elif verdict.kind == "rejected":
            metrics.rejected(verdict.reason, 1)
    if holes:
        metrics.no_record(after.shard, holes)
