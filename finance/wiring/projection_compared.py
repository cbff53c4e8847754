"""The projection beside the ledger: what `finance projection verify` is made of.

Guarantees: everything of the ledger is of one snapshot, and everything of the projection of another, at or behind the
position of the first. What topics said (verdicts, links) is compared with the ledger of a moment later, which has all
that was heard. Both sessions only read. Memory is bounded whatever both hold.
Does not: judge the ledger (`finance verify ledger`), or mend anything: `finance projection rebuild` makes it anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from finance.settings.deployment import Settings
from ledger_core.errors import Refused
from ledger_core.findings import Collector, Report
from ledger_core.postgres.reading.asking import snapshot
from ledger_core.postgres.reading.projection_check import (
    EVERY_BALANCE,
    LedgerSide,
    accounts_of,
    check_balances,
    check_count,
    check_entries,
    check_sums,
    ledger_side,
)
from ledger_core.postgres.reading.projection_derived import check_derived
from ledger_core.postgres.reading.projection_places import belongs_to
from ledger_core.postgres.reading.projection_said import (
    FETCHED,
    Row,
    check_links,
    check_settlements,
    check_stray_proofs,
    check_verdicts,
)
from ledger_core.postgres.session import Session, session

STRETCH_ENTRIES: Final = 100  # of a sample, compared together
STRETCH_ALL_ENTRIES: Final = 10_000  # of everything: lines are read by the chunk
STATEMENT_TIMEOUT_MS: Final = 15 * 60_000  # of a comparison of everything
LOOK_SECONDS: Final = 0.25
APPLICATION: Final = "finance projection"


class ComparedPart(NamedTuple):
    """What is compared where not everything is: spread evenly, the newest among it."""

    entries: int  # of each shard at most, with their lines; as many of the newest verdicts
    accounts: int  # at most, as they are asked for
    everything: bool = False  # beside these accounts, every row of every table


def compare_projection(
    settings: Settings,
    sample: ComparedPart,
    *,
    wait_seconds: float,
    begin: Callable[[int | None], Callable[[int], None]],
) -> Report:
    """What differs. `wait_seconds`: until the projection has read what the ledger has now. `begin` is called with the
    number of entries to compare, if it is known, and gives what is called with those that were. Raises Unavailable,
    Refused."""
    found = Collector()
    with _reading(settings, "auditor") as ledger, _reading(settings, "reading") as reading:
        side, balances = _ledger_side(ledger, sample)
        if belongs_to(reading) != (settings.env, settings.domain, settings.topic_prefix):
            found.add("projection.belongs", "the read side is of another environment", place="belongs")
        _wait_for(reading, side, wait_seconds)
        with snapshot(reading) as asked:
            check_sums(asked.connection, side, found)
            _check_said(ledger, asked.connection, side, sample, found)
            if sample.everything:
                check_settlements(asked.connection, found)
                check_derived(asked.connection, side.heads, found)
                check_balances(asked.connection, balances, side.heads, found)
            advance = begin(sum(seq for seq, _ in side.heads.values()) if sample.everything else None)
            for shard, (seq, _) in side.heads.items():
                if sample.everything:
                    check_count(asked.connection, shard, seq, found)
                stretches = _stretches(seq, None if sample.everything else sample.entries)
                check_entries(ledger, asked.connection, shard, _told(stretches, advance), found)
    return found.report()


@contextmanager
def _reading(settings: Settings, role: str) -> Iterator[Session]:
    with session(
        settings.database_url(role),
        application_name=APPLICATION,
        read_only=True,
        statement_timeout_ms=STATEMENT_TIMEOUT_MS,
    ) as found:
        found.execute("SET jit = off")  # compiling takes longer than what is saved but on the largest ledgers
        yield found


def _ledger_side(ledger: Session, sample: ComparedPart) -> tuple[LedgerSide, Iterable[Row]]:
    """What the ledger has in one snapshot, and the balance of every account in it, which the server keeps for us."""
    balances = ledger.cursor(name="balances", withhold=True) if sample.everything else None
    with ledger.transaction():
        ledger.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        if balances is not None:
            balances.itersize = FETCHED
            balances.execute(EVERY_BALANCE)
        return ledger_side(ledger, accounts_of(ledger, sample.accounts)), balances or ()


def _check_said(ledger: Session, asked: Session, side: LedgerSide, sample: ComparedPart, found: Collector) -> None:
    for shard in side.heads:
        check_verdicts(ledger, asked, shard, None if sample.everything else sample.entries, found)
        check_links(ledger, asked, shard, found)
    check_stray_proofs(asked, found)


def _wait_for(reading: Session, side: LedgerSide, seconds: float) -> None:
    """Until the projection has what the ledger had. Raises Refused."""
    until = time.monotonic() + seconds
    while True:
        with snapshot(reading) as asked:
            behind = sum(max(0, seq - asked.reach.position.get(shard, 0)) for shard, (seq, _) in side.heads.items())
        if behind == 0:
            return
        if time.monotonic() >= until:
            raise Refused(
                f"the projection is {behind} entries behind the ledger",
                remedy="see that `finance run projector` runs and stands on no shard, or wait longer (--wait)",
            )
        time.sleep(LOOK_SECONDS)


def _stretches(seq: int, entries: int | None) -> Iterator[tuple[int, int]]:
    """Parts of the entries 1 to seq, oldest first: all of it, or so many evenly spread, the newest among them."""
    size = STRETCH_ALL_ENTRIES if entries is None else STRETCH_ENTRIES
    parts = -(-seq // size)
    wanted = parts if entries is None else min(parts, -(-entries // size))
    for number in range(wanted):
        at = parts - 1 - (wanted - 1 - number) * parts // wanted
        yield at * size + 1, min(seq, (at + 1) * size)


def _told(stretches: Iterator[tuple[int, int]], advance: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    for first, last in stretches:
        yield first, last
        advance(last - first + 1)
