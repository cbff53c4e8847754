"""Control records: what counts, what is an ordinary rejection, and what stands before and behind one that counts."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable

import msgspec
import pytest

from consumers.posting.decision import decide, decisions
from ledger_core.books.entries import decode_entry
from ledger_core.books.entry_rules import entry_faults
from ledger_core.books.rule_versions import FIRST_RULES, NEWEST_RULES, RULES_1, VERSIONS, UnknownRules, rules_of
from ledger_core.errors import Corrupt, RejectReason
from ledger_core.ports import NO_APPEND_TIME_MS, Record
from ledger_core.posting.activation import STATEMENT_BYTES_MAX, RulesJudge, assemble_rules
from ledger_core.posting.plans import Activation, Decided, Known, Plan, Rejection
from ledger_core.posting.sequencing import sequence
from ledger_core.posting.verdicts import activated_rules, check_verdict, decode_verdict
from ledger_core.signing.mac_keys import MacKey
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from tests.simulator.ledger import genesis
from tests.support.archive_factory import ENV, Key
from tests.support.control_records import KEY, at, control, control_payload, control_value, judge
from tests.support.poster_world import World
from tests.support.settlements import APPENDED_AT_MS, TOPIC, event_id, record, sale, settlement

OTHER = Key(kid="other-v1")
LONG = {f"k{number:02}": "v" for number in range(40)}
CAME = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=APPENDED_AT_MS)
HOUR = dt.timedelta(hours=1)


def bgn(n: int) -> Record:
    """An event that only rules 2 let pass."""
    return record(n, settlement(n, lines=sale(currency="BGN"), metadata=LONG))


def planned(*records: Record) -> Plan:
    batch = list(decisions(records, FIRST_RULES, lambda it, rules: decide(it, rules, judge())))
    return sequence(genesis(0, TOPIC), batch, {})


def signed_with(signature: bytes) -> bytes:
    return assemble_rules(control_payload(), signature)


def edited(value: bytes, old: bytes, new: bytes) -> bytes:
    assert old in value
    return value.replace(old, new)


# What a publisher, who may write whatever it likes into the partition, may try: the words say why it does not count.
FORGED: dict[str, tuple[Callable[[], bytes], str]] = {
    "signed by nobody known": (lambda: control_value(key=OTHER), "is not in the registry"),
    "signed by another key under the name": (lambda: signed_with(OTHER.sign_digest(bytes(32))), "signature"),
    "another environment": (lambda: control_value(env="prod"), "environment"),
    "another topic": (lambda: control_value(topic="other.settlements"), "topic"),
    "another shard": (lambda: control_value(shard=1), "shard"),
    "a version skipped": (lambda: control_value(3), "only 2 can follow"),
    "a version far away": (lambda: control_value(999_999_999), "only 2 can follow"),
    "edited": (lambda: edited(control_value(), b"BGN is back", b"BGN is Back"), "hash is not that of the payload"),
    "another spelling": (lambda: edited(control_value(), b'"env":', b'"env": '), "canonical form"),
    "a field more": (lambda: edited(control_value(), b'{"actor_id"', b'{"a":1,"actor_id"'), "unknown field"),
    "the first rules": (lambda: edited(control_value(), b'"rules":2', b'"rules":1'), ">= 2"),
    "no signature": (lambda: edited(control_value(), b'"signature":"', b'"signature":"!'), "signature"),
    "cut off": (lambda: control_value()[:-9], "truncated"),
    "too large": (lambda: control_value(reason="x" * 900) + b" " * STATEMENT_BYTES_MAX, "at most"),
    "no more than the words": (lambda: b'{"says":"finance.rules.v1"}', "missing required field"),
}


@pytest.mark.parametrize("case", FORGED)
def test_what_only_claims_to_be_a_control_record_is_an_ordinary_rejection(case: str) -> None:
    make, words = FORGED[case]
    plan = planned(record(0, settlement(1)), record(1, value=make()), bgn(2), record(3, settlement(3)))
    assert [item.record.offset for item in plan.posted] == [0, 3]
    bad, late = plan.verdicts
    assert (bad.offset, bad.reason, bad.event_id, bad.first_verdict) == (1, RejectReason.BAD_RULES, None, False)
    assert words in bad.detail
    assert late.reason == RejectReason.BAD_CURRENCY or late.reason == RejectReason.OVERSIZE
    assert plan.after.rules == FIRST_RULES
    check_verdict(decode_verdict(bad.line))


ENDED: dict[str, tuple[dict[str, object], bool]] = {
    "retired since": ({"retired_at": CAME + HOUR}, True),
    "retired before": ({"retired_at": CAME - HOUR}, False),
    "revoked since": ({"retired_at": CAME + HOUR, "revoked_at": CAME + HOUR}, True),
    "revoked before": ({"retired_at": CAME + HOUR, "revoked_at": CAME - HOUR}, False),
    "of another kind": ({"signs": frozenset({"proof", "drill"})}, False),
    "of this kind": ({"signs": frozenset({"rules"})}, True),
}


@pytest.mark.parametrize("case", ENDED)
def test_the_brokers_time_and_not_the_statements_own_says_whether_a_key_had_ended(case: str) -> None:
    changes, counts = ENDED[case]
    (signer,) = KEY.registry.signers
    registry = SignerRegistry([dataclasses.replace(signer, **changes)])  # type: ignore[arg-type]
    found = at(CAME, control(0, ts="2025-01-01T00:00:00.000000Z"))
    assert isinstance(decide(found, RULES_1, judge(registry)).outcome, Activation) == counts


def test_a_mac_key_puts_nothing_in_force_and_its_service_is_not_asked() -> None:
    """A publisher names whichever key it likes: no record of its makes a poster call a key service."""

    def ask(_key_id: str, _digest: bytes, _mac: bytes) -> bool:
        raise AssertionError("asked")

    mac = RegisteredSigner("mac-v1", "hmac-sha256", MacKey("key-1", "ab" * 32, ask))
    value = control_value(signer_kid="mac-v1")
    for said in (value, edited(value, b'"alg":"ed25519"', b'"alg":"hmac-sha256"')):
        outcome = decide(record(0, value=said), RULES_1, judge(SignerRegistry([mac]))).outcome
        assert isinstance(outcome, Rejection)
        assert outcome.reason is RejectReason.BAD_RULES


@pytest.mark.parametrize("told", [True, False, None])
def test_a_verdict_on_record_outlives_the_key(told: bool | None) -> None:
    (signer,) = KEY.registry.signers
    ended = SignerRegistry([dataclasses.replace(signer, retired_at=CAME - HOUR, revoked_at=CAME - HOUR)])
    for registry, counts in ((ended, bool(told)), (KEY.registry, told is not False)):
        asked = RulesJudge(ENV, registry, lambda _shard, _offset: told)
        assert isinstance(decide(control(0), RULES_1, asked).outcome, Activation) == counts
    forged = RulesJudge(ENV, KEY.registry, lambda _shard, _offset: True)
    outcome = decide(record(0, value=control_value(key=OTHER)), RULES_1, forged).outcome
    assert isinstance(outcome, Rejection), "a log makes no signature"


def test_a_record_that_its_publisher_dated_puts_nothing_in_force() -> None:
    dated = msgspec.structs.replace(control(0), timestamp_ms=NO_APPEND_TIME_MS)
    outcome = decide(dated, RULES_1, judge()).outcome
    assert isinstance(outcome, Rejection)
    assert outcome.reason is RejectReason.BAD_FIELD


def test_json_that_claims_nothing_is_malformed_as_ever() -> None:
    for value in (b'{"event_id":"1"}', b"{", control_value().replace(b"finance.rules.v1", b"finance.rules.v9")):
        outcome = decide(record(0, value=value), RULES_1, judge()).outcome
        assert isinstance(outcome, Rejection)
        assert outcome.reason is RejectReason.MALFORMED


def test_what_stands_before_is_judged_by_the_old_rules_and_what_stands_behind_by_the_new() -> None:
    plan = planned(record(0, settlement(1)), bgn(1), control(2), bgn(3), record(4, settlement(4)))
    assert [(it.record.offset, decode_entry(it.body).rules) for it in plan.posted] == [(0, 1), (3, 2), (4, 2)]
    assert b'"rules"' not in plan.posted[0].body, "the first rules are named by silence"
    assert [(v.offset, v.reason) for v in plan.verdicts] == [(1, "oversize"), (2, "rules_2")]
    assert plan.after.rules == 2
    activation = plan.verdicts[1]
    assert (activation.record, activation.event_id, activation.first_verdict) == (None, None, False), "no dead letter"
    assert activated_rules(activation.reason) == 2
    check_verdict(decode_verdict(activation.line))
    for item in plan.posted:
        assert entry_faults(decode_entry(item.body)) == []


def test_the_same_control_record_once_more_is_stale() -> None:
    plan = planned(control(0), control(1), record(2, settlement(2)))
    assert [v.reason for v in plan.verdicts] == ["rules_2", "bad_rules"]
    assert plan.after.rules == 2


def test_an_event_keeps_its_verdict_over_a_change_of_rules() -> None:
    plan = planned(bgn(0), record(1, settlement(1)), control(2), record(3, settlement(1)), bgn(4))
    again = msgspec.structs.replace(bgn(0), offset=5)
    batch = list(decisions([again], 2, lambda it, rules: decide(it, rules, judge())))
    late = sequence(plan.after, batch, {event_id(0): _rejected(plan)})
    assert [(v.offset, v.reason) for v in plan.verdicts][1:] == [(2, "rules_2"), (3, "already_posted")]
    assert [v.reason for v in late.verdicts] == ["conflict"], "an event id keeps its verdict; a new one may pass"


def _rejected(plan: Plan) -> Known:
    first = plan.verdicts[0]
    return Known(0, 0, None, first.content_hash, first.reason)


def test_an_entry_that_names_rules_is_judged_by_them() -> None:
    plan = planned(control(0), bgn(1))
    entry = decode_entry(plan.posted[0].body)
    assert entry_faults(entry) == []
    said = {fault.field for fault in entry_faults(msgspec.structs.replace(entry, rules=1))}
    assert {"metadata", "lines[1].currency"} <= said
    (unknown,) = entry_faults(msgspec.structs.replace(entry, rules=NEWEST_RULES + 1))
    assert unknown.field == "rules"
    assert f"knows rules 1 to {NEWEST_RULES}" in unknown.message


def test_versions_count_from_one_without_a_gap_and_each_says_what_it_changes() -> None:
    assert list(VERSIONS) == list(range(FIRST_RULES, NEWEST_RULES + 1))
    assert all(rules.number == number and rules.changes for number, rules in VERSIONS.items())
    with pytest.raises(UnknownRules, match="finance knows rules 1 to"):
        rules_of(NEWEST_RULES + 1)


def test_an_activation_that_does_not_follow_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="where rules 1 are in force"):
        sequence(genesis(0, TOPIC), [Decided(record(0, value=b""), Activation(3, bytes(32), ""))], {})


def test_behind_rules_that_nobody_here_knows_the_shard_waits_and_says_so() -> None:
    records = [record(0, settlement(0))]
    records += [control(number - 1, number) for number in range(2, NEWEST_RULES + 2)]
    records.append(record(NEWEST_RULES + 1, settlement(9)))
    world = World(*records, judge=judge())
    world.run()
    head = world.ledger.heads[0]
    assert (head.rules, head.next_offset, head.seq) == (NEWEST_RULES + 1, NEWEST_RULES + 1, 1)
    assert world.told.in_force == {0: (NEWEST_RULES + 1, False)}
    assert world.told.stops.get(0, (False, False)) == (False, False), "no halt: a newer process goes on by itself"
    world.check()


def test_a_poster_takes_an_activation_in_the_middle_of_its_batch() -> None:
    world = World(record(0, settlement(0)), bgn(1), control(2), bgn(3), record(4, value=control_value()), judge=judge())
    world.run()
    assert world.ledger.heads[0].rules == 2
    assert [v.reason for v in world.ledger.unposted[0]] == ["oversize", "rules_2", "bad_rules"]
    assert world.told.reasons == ["oversize", "bad_rules"], "an activation is no dead letter"
    assert world.told.in_force == {0: (2, True)}
    world.check()


def test_forged_control_records_count_towards_the_dead_letter_limit() -> None:
    records = [record(offset, value=control_value(key=OTHER)) for offset in range(20)]
    world = World(*records, judge=judge(), dead_letters_max=10)
    world.run()
    assert world.ledger.halts[0].kind == "dead_letters"
