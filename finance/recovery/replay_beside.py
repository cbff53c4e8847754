"""`finance replay` without `--into`: the topic against the live ledger, one snapshot, one shard after the other.

Guarantees: writes nothing but its state file, which is replaced whole at the end of each signed range: killed anywhere
and run again it goes on from there, unless topic, environment or rules are others (Refused).
Does not: read beyond the snapshot's heads; what the topic holds beyond them is the poster's lag, and is counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from consumers.recovery.replay_beside import BesideShard, LiveLedger
from consumers.recovery.replay_place import ReplayPlace, place_head
from consumers.recovery.rule_sets import RULE_SETS
from finance.recovery import replay_checks
from finance.recovery.replay_into import ReplayPlan, ShardRun, Tell
from finance.recovery.replay_sources import APPLICATION
from finance.settings import clock
from finance.wiring.kafka import REPLAYS_AS, open_partition, open_watermarks
from finance.wiring.stores import open_ledger_reader
from ledger_core.books.rule_versions import FIRST_RULES
from ledger_core.errors import Refused
from ledger_core.findings import Collector, Report
from ledger_core.postgres.posting.newest_record import newest_record
from ledger_core.postgres.recovery.replay_target import TargetState
from ledger_core.postgres.session import session
from ledger_core.posting.activation import RulesJudge
from ledger_core.tree import CompactRange
from ledger_core.verify.ledger_rows import LedgerReader, RangeRow, ShardRow
from ledger_core.verify.signed_parts import SignedPart, parts_of_rows
from producers.storage.whole_file import replace_file
from schemas.read_file import STATEMENT_BYTES_MAX, read_text

STATE_VERSION: Final = 2  # 2: with the rules in force


class LedgerSnapshot(LedgerReader, LiveLedger, Protocol):
    """One snapshot of the live ledger: what is compared entry by entry, what was signed, and its sums."""

    def sums(self, shard: int) -> Mapping[str, list[int]]:
        """`<currency> <account type>` -> [debits, credits] of all balances of a shard."""
        ...

    def activations(self, shard: int) -> list[tuple[int, int]]:
        """(offset of a control record, posting rules in force behind it), in order."""
        ...


def replay_beside(plan: ReplayPlan, state_path: Path | None, tell: Tell) -> tuple[dict[int, ShardRun], Report]:
    """Compare the topic with the live ledger. Raises Refused and Unavailable."""
    settings = plan.settings
    if plan.compare != "database":
        raise Refused(
            "without --into the topic is compared with the database",
            remedy="leave --compare out, or name an empty database with --into",
        )
    replay_checks.check_settlements(settings, plan.topology)
    watermarks = open_watermarks(settings, REPLAYS_AS)
    try:
        with session(settings.database_url("auditor"), application_name=APPLICATION, read_only=True) as live:
            nothing = TargetState(None, ())
            replay_checks.check_live(live, None, nothing, settings, plan.registry, plan.topic, plan.wanted)
            replay_checks.check_identity(watermarks, plan.topic, plan.wanted, lambda shard: newest_record(live, shard))
        state = _State(plan, state_path)
        found = Collector()
        with open_ledger_reader(settings.database_url("auditor")) as reader:
            rows = [row for row in reader.shards() if row.shard in plan.wanted]
            if not rows:
                raise Refused(
                    "that ledger has no shard to compare", remedy="see `finance status`: is it the right database?"
                )
            compared, ends = [], {}
            for row in rows:
                place = state.place(row.shard) or _beginning(plan, reader, row)
                high = replay_checks.check_reach(watermarks, plan.topic, row.shard, place.head.next_offset)
                ends[row.shard] = high
                found.count("offsets_beyond_the_ledger", max(0, high - row.next_offset))
                compared.append((row, place))
            replay_checks.check_clock(watermarks, plan.topic, ends, clock.utc_now())
            runs = {
                row.shard: ShardRun(row.shard, place.head.next_offset, row.next_offset, place.head.next_offset)
                for row, place in compared
            }
            for row, place in compared:
                found.shard = row.shard
                _Shard(plan, reader, row, place, found, state, runs, tell).run()
    finally:
        watermarks.close()
    return runs, found.report()


@dataclass(slots=True)
class _Shard:
    """One shard from its place to the snapshot's head."""

    plan: ReplayPlan
    reader: LedgerSnapshot
    row: ShardRow
    place: ReplayPlace
    found: Collector
    state: _State
    runs: dict[int, ShardRun]
    tell: Tell

    def run(self) -> None:
        plan, row = self.plan, self.row
        start = self.place.head.next_offset
        records = open_partition(plan.settings, plan.topic, row.shard, start, row.next_offset, name=REPLAYS_AS)
        try:
            beside = BesideShard(
                self.place,
                reader=records,
                live=self.reader,
                decide=RULE_SETS[plan.rules](RulesJudge(plan.settings.env, plan.registry, self.reader.activated)),
                stop=plan.stop,
                batch_records_max=plan.topology.limits.poster_batch_records_max,
                found=self.found,
            )
            for signed in self._ranges():
                self._take(beside, int(signed.part.source.next_offset))
                if beside.stopped and beside.place.head.next_offset < int(signed.part.source.next_offset):
                    return
                beside.close_range(signed)
                self.state.save(row.shard, beside.place)
            self._take(beside, row.next_offset)
            if not beside.stopped or beside.place.head.next_offset >= row.next_offset:
                self._compare_end(beside.place)
                self.state.save(row.shard, beside.place)
        finally:
            records.close()

    def _ranges(self) -> Iterator[SignedPart]:
        """The signed ranges that end after the place at hand, up to the first that is not signed yet."""

        def rows() -> Iterator[RangeRow]:
            for found in self.reader.ranges(self.row.shard):
                if found.proof is None:
                    return
                if found.next_offset > self.place.head.next_offset:
                    yield found

        return parts_of_rows(rows(), self.plan.registry, self.found)

    def _take(self, beside: BesideShard, end_offset: int) -> None:
        run = self.runs[self.row.shard]
        going = True
        while going:
            going = beside.step(end_offset)
            run.next_offset, run.seq = beside.place.head.next_offset, beside.place.head.seq
            run.from_log = beside.from_log
            self.tell(self.runs)

    def _compare_end(self, place: ReplayPlace) -> None:
        """The shard's row and its sums, at the snapshot's head."""
        row, head = self.row, place.head
        told: list[tuple[str, object, object]] = [
            ("next_offset", head.next_offset, row.next_offset),
            ("seq", head.seq, row.seq),
            ("head_hash", (head.head_hash or b"").hex(), (row.head_hash or b"").hex()),
            ("rules", head.rules, row.rules),
        ]
        if place.whole:
            told += [("duplicates", head.duplicates, row.duplicates), ("rejected", head.rejected, row.rejected)]
            sums = self.reader.sums(row.shard)
            told += [
                (name, place.sums.get(name, [0, 0]), sums.get(name, [0, 0]))
                for name in sorted(place.sums.keys() | sums.keys())
            ]
            self.found.count("sums_compared", len(sums))
        else:
            self.found.count("sums_not_compared")
        for name, said, wanted in told:
            if said != wanted:
                message = f"{name} is {said}, the ledger has {wanted}"
                self.found.add("replay.shard", message, seq=head.seq, field=name)


def _beginning(plan: ReplayPlan, reader: LedgerSnapshot, row: ShardRow) -> ReplayPlace:
    """Genesis, or the newest end of a range at or before `--from-offset`: there head and tree stand on record."""
    place = ReplayPlace(place_head(row.shard, row.topic, first_offset=row.first_offset, next_offset=row.first_offset))
    if plan.from_offset is None:
        return place
    activated = reader.activations(row.shard)
    for found in reader.ranges(row.shard):
        if found.next_offset > plan.from_offset:
            break
        head = place_head(
            row.shard,
            row.topic,
            first_offset=found.next_offset - found.last_seq,  # as if nothing but entries came before: never compared
            next_offset=found.next_offset,
            seq=found.last_seq,
            head_hash=found.head_hash,
            rules=max((n for at, n in activated if at < found.next_offset), default=FIRST_RULES),
        )
        place = ReplayPlace(head, CompactRange.from_bytes(found.last_seq, found.tree), whole=False)
    return place


class _State:
    """The places of all shards in one file. Without a path nothing is kept."""

    def __init__(self, plan: ReplayPlan, path: Path | None) -> None:
        self._path = path
        self._of = {
            "version": STATE_VERSION,
            "env": plan.settings.env,
            "topic": plan.topic,
            "rules": plan.rules,
        }
        self._shards: dict[str, Any] = {}
        if path is not None and path.exists():
            try:
                told = json.loads(read_text(path, STATEMENT_BYTES_MAX))
                self._shards = told.pop("shards")
            except (ValueError, KeyError, AttributeError) as error:
                raise Refused(
                    f"{path} is not the state of a replay ({error})", remedy="remove it: it begins anew"
                ) from None
            if told != self._of:
                raise Refused(f"{path} is of another replay: {told}", remedy="name another file with --state")

    def place(self, shard: int) -> ReplayPlace | None:
        told = self._shards.get(str(shard))
        try:
            return None if told is None else ReplayPlace.from_json(shard, told)
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(f"{self._path} is damaged ({error})", remedy="remove it: the replay begins anew") from None

    def save(self, shard: int, place: ReplayPlace) -> None:
        """Replaced whole: a crash leaves the old state or the new one."""
        if self._path is None:
            return
        self._shards[str(shard)] = place.to_json()
        replace_file(self._path, json.dumps({**self._of, "shards": self._shards}).encode())
