"""The read side: what feeding it costs at each size, how fast it answers at the last one, and how large it is.

    python -m tests.bench reading -- --sizes 100000,1000000,10000000

One process feeds one shard, as the projector does, with nothing beside it. At each size the rate over the last
`--window` entries is taken. Ten million take about half an hour. Targets: 15,000 entries a second at every size;
settlement, order, reference and event in 10 ms, a statement page or balance of the busiest account in 25, the trial
balance in a second.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import psycopg

from ledger_core.books.entries import JournalEntry
from ledger_core.postgres.reading.projection_balances import account_sides, position_at, trial_sides
from ledger_core.postgres.reading.projection_entries import By, entries_by, statement
from ledger_core.postgres.reading.projection_store import ProjectionStore
from ledger_core.reading.fold import JournalItem, ShardReach, fold
from ledger_core.reading.rows import time_us
from tests.bench.load import fresh_ledger
from tests.bench.processor_time import tree_seconds
from tests.bench.reading_load import EVERY, HOT, START, journal, p95_ms
from tests.support.projections import NOW, ask_there, asking, begun, make_schemas, opened

BATCH_RECORDS = 4000
QUESTIONS = 200
SIZES_OF = "SELECT pg_total_relation_size(oid) FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench reading", description=__doc__)
    parser.add_argument("--sizes", default="100000,300000")
    parser.add_argument("--window", type=int, default=100_000, help="entries over which a rate is taken")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    sizes = sorted(map(int, options.sizes.split(",")))
    figures: list[dict[str, float]] = []
    with fresh_ledger() as ledger:
        make_schemas(ledger.url)
        place = begun(ledger.url)
        with opened(ledger.url, place) as store:
            feeding = Feeding(store, random.Random(3), sizes, options.window, ledger.pids()["postgres"][0])
            for figure in feeding.run():
                figures.append({**figure, "bytes_per_entry": size_of(ledger.url, place) / figure["entries"]})
                if not options.json:
                    print(", ".join(f"{name} {value:,.1f}" for name, value in figures[-1].items()), flush=True)
        ask_there(ledger.url, place)
        answers = questions(ledger.url, place, sizes[-1], feeding.kept)
    if options.json:
        print(json.dumps({"feeding": figures, "p95_ms": answers}))
    else:
        print(f"at {sizes[-1]:,} entries, p95: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in answers.items()))
    return 0


@dataclass
class Feeding:
    """Entries into a projection, with the time that takes; making them is not measured."""

    store: ProjectionStore
    chance: random.Random
    sizes: list[int]
    window: int
    postgres_pid: int
    kept: list[JournalEntry] = field(default_factory=list)  # some of them, to ask for
    seconds: float = 0.0
    python: float = 0.0  # seconds of processor time
    postgres: float = 0.0  # the same of the server, all of its processes

    def run(self) -> Iterator[dict[str, float]]:
        """What the last entries of each size cost."""
        reach, ends = self.store.reach(0), set(self.sizes)
        batch: list[JournalItem] = []
        begins = {max(0, size - self.window) for size in self.sizes}
        before = (0, 0.0, 0.0, 0.0)
        for item, entry in journal(self.sizes[-1], self.chance):
            if item.offset in begins:
                reach = self._write(reach, batch)
                batch = []
                before = (item.offset, self.seconds, self.python, self.postgres)
            batch.append(item)
            if self.chance.random() < QUESTIONS / self.sizes[-1]:
                self.kept.append(entry)
            if len(batch) == BATCH_RECORDS or item.seq in ends:
                reach = self._write(reach, batch)
                batch = []
            if item.seq in ends:
                count = item.seq - before[0]
                yield {
                    "entries": item.seq,
                    "fed_per_second": count / (self.seconds - before[1]),
                    "python_us": (self.python - before[2]) / count * 1e6,
                    "postgres_us": (self.postgres - before[3]) / count * 1e6,
                }

    def _write(self, reach: ShardReach, batch: list[JournalItem]) -> ShardReach:
        server, ours, began = tree_seconds(self.postgres_pid), time.process_time(), time.perf_counter()
        folded = fold(reach, batch, NOW, self.store.kept(0, reach.seq, 2 * len(batch)))
        if batch:
            self.store.write(reach, folded)
        self.seconds += time.perf_counter() - began
        self.python += time.process_time() - ours
        self.postgres += tree_seconds(self.postgres_pid) - server
        return folded.reach


def questions(url: str, place: str, entries: int, kept: Sequence[JournalEntry]) -> dict[str, float]:
    """Milliseconds, p95, the second time that they are asked."""
    chance, position = random.Random(5), {0: entries}
    span = entries * EVERY // dt.timedelta(days=1) + 4
    asked = [(int(it.seq), START.date() + dt.timedelta(days=chance.randrange(-3, span))) for it in kept]
    moments = [(time_us(it.recorded_at),) for it in kept if int(it.seq) < entries]
    with asking(url, place) as connection:
        connection.execute("SET jit = off")
        names = {
            By.SETTLEMENT: [(it.settlement_id,) for it in kept],
            By.ORDER: [(it.order_id,) for it in kept],
            By.REFERENCE: [(it.provider.reference,) for it in kept if it.provider is not None],
            By.EVENT: [(it.event_id,) for it in kept],
        }
        found: dict[str, float] = {}
        for _ in range(2):
            for by, asks in names.items():
                found[by.value] = p95_ms(lambda name, by=by: entries_by(connection, by, name, position, limit=50), asks)
            found["statement page"] = p95_ms(
                lambda seq, _: statement(connection, HOT, "USD", position, behind={0: (seq, 9)}, limit=100), asked
            )
            found["balance"] = p95_ms(lambda seq, day: account_sides(connection, HOT, {0: seq}, day), asked)
            found["trial balance"] = p95_ms(lambda seq, day: trial_sides(connection, {0: seq}, day), asked)
            found["position of a time"] = p95_ms(lambda moment: position_at(connection, moment), moments)
    return found


def size_of(url: str, place: str) -> int:
    """Bytes of a projection, its indexes among them."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        return sum(size for (size,) in connection.execute(SIZES_OF, (place,)))
