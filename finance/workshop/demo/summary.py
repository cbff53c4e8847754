"""What the route came to, as the ledger itself says, beside what the sales data say."""

from __future__ import annotations

import datetime as dt

from finance.workshop.demo.expectation import Expectation
from finance.workshop.demo.ledger import DemoLedger
from finance.workshop.demo.model import Comparison, ShardSummary, Stage, Summary, TypeTotal
from ledger_core.postgres.reading.progress import ShardProgress, shard_progress
from ledger_core.postgres.reading.queries import TrialLine, trial_balance
from ledger_core.postgres.session import session

COUNTS = """
SELECT (SELECT count(*) FROM proofs WHERE shard = %(shard)s),
       (SELECT count(*) FROM archive_objects WHERE shard = %(shard)s)"""


def summarize(ledger: DemoLedger, expected: Expectation, stages: list[Stage]) -> Summary:
    """Read the ledger as its auditor's role does, and compare. Raises Unavailable, Refused."""
    with session(
        ledger.settings.database_url("auditor"), application_name="finance demo", read_only=True
    ) as connection:
        shards = shard_progress(connection)
        trial = trial_balance(connection)
        modes = connection.execute("SELECT DISTINCT mode FROM archive_objects ORDER BY mode").fetchall()
        counts = {s.shard: connection.execute(COUNTS, {"shard": s.shard}).fetchone() for s in shards}
        audit = connection.execute("SELECT count(*) FROM audit_events").fetchone() or (0,)
    return Summary(
        stages=tuple(stages),
        comparisons=_compare(expected, sum(shard.seq for shard in shards), trial),
        shards=tuple(_shard(shard, counts[shard.shard] or (0, 0)) for shard in shards),
        trial_balance=tuple(TypeTotal(line.type, line.accounts, line.debits, line.credits) for line in trial),
        modes=tuple(mode for (mode,) in modes),
        audit_events=audit[0],
    )


def heads(ledger: DemoLedger) -> dict[int, tuple[int, bytes | None]]:
    """Sequence and head hash of each shard."""
    with session(
        ledger.settings.database_url("auditor"), application_name="finance demo", read_only=True
    ) as connection:
        return {shard.shard: (shard.seq, shard.head_hash) for shard in shard_progress(connection)}


def _compare(expected: Expectation, entries: int, trial: list[TrialLine]) -> tuple[Comparison, ...]:
    debits = {line.type: line.debits - line.credits for line in trial}
    return (
        Comparison("baskets for which something was paid = entries", expected.baskets, entries, False),
        Comparison("sales less coupons = asset", expected.paid, debits.get("asset", 0), True),
        Comparison("discounts of the house = expense", expected.discounts, debits.get("expense", 0), True),
        Comparison("owed to manufacturers = liability", expected.owed, -debits.get("liability", 0), True),
        Comparison("fees, 10 % rounded down = revenue", expected.fees, -debits.get("revenue", 0), True),
    )


def _shard(shard: ShardProgress, counts: tuple[int, int]) -> ShardSummary:
    return ShardSummary(
        shard=shard.shard,
        entries=shard.seq,
        duplicates=shard.duplicates,
        rejected=shard.rejected,
        proofs=counts[0],
        objects=counts[1],
        head_hash=shard.head_hash.hex() if shard.head_hash else "",
        retain_until=shard.retain_until.astimezone(dt.UTC) if shard.retain_until else None,
    )
