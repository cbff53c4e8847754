"""Rules that change among the events: live, replayed and judged by the oracle, wherever batches are cut, it is one."""

from __future__ import annotations

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.posting.decision import decide, decisions
from consumers.recovery.replay import ShardReplay
from consumers.recovery.rule_sets import by_the_ledger
from ledger_core.books.entries import decode_entry
from ledger_core.books.rule_versions import NEWEST_RULES
from ledger_core.ports import Record
from ledger_core.posting.activation import RulesJudge
from ledger_core.posting.sequencing import event_ids, sequence
from ledger_core.posting.verdicts import activated_rules
from ledger_core.recovery.replay_port import StopAt
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.oracle import verify_ledger
from tests.property.recovery.test_replay_properties import Log, Reader
from tests.simulator.checks import bytes_of, check_chain_and_counts, check_sound
from tests.simulator.faults import Faults
from tests.simulator.ledger import MemoryLedger
from tests.simulator.posting import MemoryPosterStore
from tests.support.archive_factory import ENV, Key
from tests.support.control_records import KEY, control, judge
from tests.support.settlements import TOPIC, record, sale, settlement

STRANGER = Key(kid="stranger-v1")
# What stands at an offset: an event for all rules, one for rules 2 alone, a control record, a stale or forged one.
KINDS = st.lists(st.sampled_from(("any", "any", "new", "again", "next", "stale", "forged")), min_size=1, max_size=24)


def partition(kinds: list[str]) -> list[Record]:
    records: list[Record] = []
    rules = 1
    for offset, kind in enumerate(kinds):
        if kind == "next" and rules < NEWEST_RULES:
            rules += 1
            records.append(control(offset, rules))
        elif kind in ("next", "stale"):
            records.append(control(offset, max(2, rules)) if rules > 1 else control(offset, 3))
        elif kind == "forged":
            records.append(control(offset, rules + 1, key=STRANGER))
        else:
            number = offset if kind != "again" else max(0, offset - 3)
            currency = "BGN" if kind == "new" else "USD"
            records.append(record(offset, settlement(number, lines=sale(currency=currency))))
    return records


def live(records: list[Record], sizes: list[int]) -> MemoryLedger:
    """As a poster does it, in batches of these sizes, again and again."""
    ledger = MemoryLedger()
    store = MemoryPosterStore(ledger, Faults())
    head = store.open_shard(0, TOPIC)
    turn = 0
    while head.next_offset < len(records):
        part = records[head.next_offset :][: sizes[turn % len(sizes)]]
        batch = list(decisions(part, head.rules, partial(decide, judge=judge())))
        with store.batch(head, alone=True) as tx:
            head = tx.write(sequence(head, batch, tx.look_up(*event_ids(batch))), relayed_offset=0).after
        turn += 1
    return ledger


def replayed(records: list[Record], batch: int, log: Log | None, judge_of: RulesJudge) -> MemoryLedger:
    ledger = MemoryLedger()
    store = MemoryPosterStore(ledger, Faults())
    shard = ShardReplay(
        store.open_shard(0, TOPIC),
        reader=Reader(records),
        store=store,
        log=log,
        decide=by_the_ledger(judge_of),
        stop=StopAt(),
        batch_records_max=batch,
    )
    while shard.step():
        pass
    return ledger


@settings(deadline=None)
@given(KINDS, st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(1, 9))
def test_live_and_replayed_in_any_batches_it_is_one_ledger(kinds: list[str], sizes: list[int], batch: int) -> None:
    records = partition(kinds)
    posted = live(records, sizes)
    check_chain_and_counts(posted)
    check_sound(posted)
    log = Log(posted, knows_first=True)
    for again in (
        live(records, [len(records)]),
        replayed(records, batch, None, judge()),
        replayed(records, batch, log, RulesJudge(ENV, KEY.registry, log.activated)),
    ):
        assert bytes_of(again, 0) == bytes_of(posted, 0)
        assert again.heads[0].rules == posted.heads[0].rules
    in_force = 1
    verdicts = {verdict.offset: verdict.reason for verdict in posted.unposted.get(0, [])}
    entries = {item.record.offset: decode_entry(item.body).rules for item in posted.posted.get(0, [])}
    for offset in range(len(records)):
        in_force = activated_rules(verdicts.get(offset, "")) or in_force
        assert entries.get(offset, in_force) == in_force


@settings(deadline=None, max_examples=50)
@given(KINDS)
def test_an_activation_that_is_taken_back_contradicts_entries_and_head(kinds: list[str]) -> None:
    posted = live(partition(["any", "next", *kinds]), [5])
    rows = posted.verdict_rows[0]
    at = next(number for number, row in enumerate(rows) if row.reason == "rules_2")
    line = rows[at].line.replace(b"rules_2", b"malformed")
    rows[at] = rows[at]._replace(reason="malformed", line=line)
    report = verify_ledger(posted, SignerRegistry(()))
    assert {"range.rules", "ledger.shard"} & {finding.code for finding in report.findings}
