"""What a replay came to, against everything that speaks of the same ledger.

Guarantees: the filled database is judged by the oracle, with every signed head and root of the source of proofs as
an expectation; compared with the live ledger entry by entry (`ledger_core.recovery.compare_ledgers`) and with the
signed counts and verdicts; its newest entries stand on the journal topic as they were relayed. The first difference of
each kind is named. What could not be compared is counted.
"""

from __future__ import annotations

from collections.abc import Callable

from consumers.kafka.journal_end import newest_in_journal
from finance.recovery.replay_into import ReplayPlan
from finance.recovery.replay_sources import APPLICATION, open_archive_log
from finance.wiring.kafka import REPLAYS_AS, open_watermarks
from finance.wiring.oracle import watched
from finance.wiring.stores import open_ledger_reader
from ledger_core.findings import Collector, Report
from ledger_core.postgres.recovery.recorded_verdicts import of_another_shard, unfounded
from ledger_core.postgres.session import session
from ledger_core.recovery.compare_ledgers import compare_ledgers
from ledger_core.verify.ledger_rows import LedgerReader
from ledger_core.verify.oracle import LedgerHead, verify_ledger
from ledger_core.verify.signed_parts import compare_with_signed, parts_of_rows


def compare_filled(plan: ReplayPlan, dsn: str, advance: Callable[[int], None]) -> Report:
    """Everything about the database at `dsn`. `advance` is called with entries read. Raises Unavailable and Refused."""
    found = Collector()
    with open_ledger_reader(dsn) as ours:
        heads = _compare_with_source(plan, ours, found)
        report = verify_ledger(watched(ours, advance), plan.registry, expected=heads)
        found.take(report)
        if plan.is_ledger:
            _compare_with_journal(plan, ours, found)
    with session(dsn, application_name=APPLICATION, read_only=True, statement_timeout_ms=0) as connection:
        found.count("verdicts_of_another_shard", of_another_shard(connection))
        if plan.is_ledger and not plan.shards:
            for shard, offset, event_id in unfounded(connection):
                message = f"the log has it rejected because of another shard, and none has event id {event_id}"
                found.add("replay.unfounded", message, shard=shard, field="verdict", place=f"offset {offset}")
    return found.report()


def _compare_with_source(plan: ReplayPlan, ours: LedgerReader, found: Collector) -> list[LedgerHead]:
    """The heads that were signed, after comparing what else was."""
    rows = [row for row in ours.shards() if row.shard in plan.wanted]
    heads: list[LedgerHead] = []
    if plan.compare == "database":
        with open_ledger_reader(plan.settings.database_url("auditor")) as live:
            found.take(compare_ledgers(ours, live, name="the live ledger", shards=set(plan.wanted)))
            for row in rows:
                found.shard = row.shard
                parts = parts_of_rows(live.ranges(row.shard), plan.registry, found)
                heads += compare_with_signed(ours, row, parts, found, whole=plan.is_ledger)
    elif plan.compare == "archive":
        log = open_archive_log(plan.settings, plan.registry)
        for row in rows:
            found.shard = row.shard
            heads += compare_with_signed(ours, row, log.parts(row.shard), found, whole=plan.is_ledger)
    found.shard = None
    return heads


def _compare_with_journal(plan: ReplayPlan, ours: LedgerReader, found: Collector) -> None:
    """What was relayed must be what stands here: a poster that goes on from here relays after it."""
    topic = plan.topology.topics["journal"].name
    watermarks = open_watermarks(plan.settings, REPLAYS_AS)
    try:
        for row in ours.shards():
            newest = newest_in_journal(watermarks, topic, row.shard)
            if newest is None or row.shard not in plan.wanted:
                continue
            found.count("journal_heads_compared")
            here = ours.entries(row.shard, newest.seq, newest.seq)
            if not here or here[0].entry_hash != newest.entry_hash:
                what = "is another entry" if here else f"lies beyond this ledger's end, {row.seq}"
                message = f"the newest entry on {topic}, seq {newest.seq}, {what}"
                found.add("replay.journal", message, shard=row.shard, seq=newest.seq, field="entry_hash")
    finally:
        watermarks.close()
