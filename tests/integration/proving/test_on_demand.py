"""Proofs on demand, as the role finance_api, against a ledger that the prover proved: every cut, and every lie."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from consumers.proving.on_demand import DemandTerms, prove_on_demand
from ledger_core.errors import Corrupt, Refused
from ledger_core.postgres.connection import connect
from ledger_core.postgres.proving.on_demand_store import PostgresOnDemandStore
from ledger_core.posting.verdicts import verdicts_hash
from ledger_core.proving.on_demand import Selection, select_by_time, state
from ledger_core.proving.range_proof import parse_proof
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.signatures import decode_signature, verify_digest
from ledger_core.tree import leaf_hash, root_of
from ledger_core.verify.oracle import verify_proof
from tests.support.journal_factory import START, TinyShard
from tests.support.journal_writer import publish, write
from tests.support.pipeline import Pipeline, step_until, utc_now

QUERY = "SELECT max(next_offset) FROM ranges JOIN proofs USING (shard, range_no) WHERE shard = %s"


@pytest.fixture
def pipeline(environ: dict[str, str]) -> Pipeline:
    return Pipeline(environ)


@pytest.fixture
def store(environ: dict[str, str]) -> Iterator[PostgresOnDemandStore]:
    with contextlib.closing(PostgresOnDemandStore(connect(environ["DATABASE_URL_API"], application_name="t"))) as store:
        yield store


@pytest.fixture
def ledger(pipeline: Pipeline, database_url: str) -> list[TinyShard]:
    """Two shards with verdicts before, between, inside and after their entries, and ranges without any entry."""
    first = TinyShard(shard=0).silence(15).post(7).silence(2).post(4, seconds=10, currency="EUR")
    first.silence(25).post(16, seconds=20).silence(3)
    shards = [first, TinyShard(shard=1).post(9, seconds=5).post(9, seconds=15)]
    prove(pipeline, database_url, *shards)
    return shards


def prove(pipeline: Pipeline, url: str, *shards: TinyShard) -> None:
    for shard in shards:
        write(url, shard)
        publish(pipeline.brokers, pipeline.topic, shard)

    def done() -> bool:
        with psycopg.connect(url) as connection:
            return all(connection.execute(QUERY, [it.shard]).fetchone() == (it.next_offset,) for it in shards)

    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, done)


def terms(number: int = 1) -> DemandTerms:
    return DemandTerms("test", f"test-demand-{number}", "ab" * 16, utc_now(), "operator:alice")


def test_every_selection_of_a_shard_states_the_truth(
    ledger: list[TinyShard], store: PostgresOnDemandStore, pipeline: Pipeline
) -> None:
    shard = ledger[0]
    size = len(shard.entries)
    for first_seq in range(1, size + 1):
        for last_seq in range(first_seq, size + 1):
            found = state(store, pipeline.registry, Selection(0, first_seq, last_seq))
            part = found.shard_range()
            entries = shard.entries[first_seq - 1 : last_seq]
            assert part.root == root_of(leaf_hash(item.body) for item in shard.entries[:last_seq]).hex()
            assert part.head_hash == entries[-1].entry_hash.hex()
            assert part.prev_hash == (shard.entries[first_seq - 2].entry_hash.hex() if first_seq > 1 else None)
            start, end = int(part.source.first_offset), int(part.source.next_offset)
            assert [item for item in shard.entries if start <= item.offset < end] == entries
            assert part.source.verdicts_hash == verdicts_hash(shard.verdict_lines(start, end)).hex()
            assert start == (shard.first_offset if first_seq == 1 else start)
            assert end == (shard.next_offset if last_seq == size else end)
            debits = sum(int(it.amount_minor) for item in entries for it in item.entry.lines if it.side == "debit")
            assert sum(found.totals.values()) == debits
            times = [item.entry.recorded_at for item in entries]
            assert (found.from_ts, found.to_ts) == (min(times), max(times))


def test_selections_that_meet_leave_no_offset_between_them(
    ledger: list[TinyShard], store: PostgresOnDemandStore, pipeline: Pipeline
) -> None:
    size = len(ledger[0].entries)
    for cut in range(1, size):
        before = state(store, pipeline.registry, Selection(0, 1, cut)).shard_range()
        after = state(store, pipeline.registry, Selection(0, cut + 1, size)).shard_range()
        assert before.source.next_offset == after.source.first_offset
        assert before.head_hash == after.prev_hash


def test_proof_over_all_shards_is_signed_stored_and_told_to_the_audit_chain(
    ledger: list[TinyShard], store: PostgresOnDemandStore, pipeline: Pipeline, database_url: str
) -> None:
    signer = PinnedSigner(pipeline.signer, pipeline.registry)
    data = prove_on_demand(store, signer, pipeline.registry, select_by_time(store, None, None), terms())
    proof = parse_proof(data)
    assert verify_proof(data, pipeline.registry).sound
    verify_digest(signer.public_key, bytes.fromhex(proof.hash), decode_signature(proof.signature))
    assert [(part.shard, part.last_seq) for part in proof.shards] == [(0, "27"), (1, "18")]
    assert (proof.prev_proof_hash, proof.num_rows, sorted(proof.totals)) == (None, "45", ["EUR", "USD"])
    with psycopg.connect(database_url) as connection:
        stored = connection.execute("SELECT proof FROM proofs WHERE shard IS NULL").fetchall()
        told = connection.execute("SELECT event_type FROM audit_outbox WHERE actor_id = 'operator:alice'").fetchall()
    assert stored == [(data,)]
    assert told == [("proof.published",)]


def test_selection_by_time_takes_the_entries_recorded_in_it(
    ledger: list[TinyShard], store: PostgresOnDemandStore
) -> None:
    moments = [None, *(START + dt.timedelta(seconds=seconds) for seconds in (0, 5, 10, 12, 20, 30))]
    for from_ts in moments:
        for to_ts in moments:
            expected = []
            for shard in ledger:
                texts = [dt.datetime.fromisoformat(item.entry.recorded_at) for item in shard.entries]
                inside = [
                    seq
                    for seq, moment in enumerate(texts, start=1)
                    if (from_ts is None or moment >= from_ts) and (to_ts is None or moment < to_ts)
                ]
                expected += [Selection(shard.shard, inside[0], inside[-1])] if inside else []
            assert select_by_time(store, from_ts, to_ts) == expected


def test_what_is_not_proved_yet_is_refused(
    ledger: list[TinyShard], store: PostgresOnDemandStore, pipeline: Pipeline, database_url: str
) -> None:
    ledger[1].post(1, seconds=30)
    write(database_url, ledger[1])
    with pytest.raises(Refused, match=r"shard 1 is proved to seq 18, not to 19.*finance status"):
        state(store, pipeline.registry, Selection(1, 1, 19))
    with pytest.raises(Refused, match="proved to seq 18, not to 19"):
        select_by_time(store, None, START + dt.timedelta(seconds=40))
    assert select_by_time(store, None, None, [1]) == [Selection(1, 1, 18)]


def test_an_empty_or_doubled_demand_is_refused(
    ledger: list[TinyShard], store: PostgresOnDemandStore, pipeline: Pipeline
) -> None:
    signer = PinnedSigner(pipeline.signer, pipeline.registry)
    for selections in ([], [Selection(0, 1, 1), Selection(0, 2, 2)]):
        with pytest.raises(Refused, match="Remedy"):
            prove_on_demand(store, signer, pipeline.registry, selections, terms())
    for first, last in ((0, 1), (2, 1)):
        with pytest.raises(Refused, match="are not a range"):
            Selection(0, first, last)


LIES = {
    "an entry's body": "UPDATE entries SET body = replace(convert_from(body, 'UTF8'), 'order-4', 'order-5')::bytea "
    "WHERE shard = 0 AND seq = 4",
    "a range's payload": "UPDATE ranges SET payload = replace(convert_from(payload, 'UTF8'), 'USD', 'CHF')::bytea "
    "WHERE shard = 0 AND range_no = 2",
    "a range's hash": "UPDATE ranges SET hash = sha256(hash) WHERE shard = 0 AND range_no = 3",
    "a range's tree": "UPDATE ranges SET tree = sha256(tree) || substr(tree, 33) WHERE shard = 0 AND range_no = 2",
    "a verdict line": "UPDATE verdicts SET line = replace(convert_from(line, 'UTF8'), 'already', 'readily')::bytea "
    "WHERE shard = 0 AND source_offset = 23",
    "a missing verdict": "DELETE FROM verdicts WHERE shard = 0 AND source_offset = 22",
    "a missing range": "DELETE FROM ranges WHERE shard = 0 AND range_no = 4",
}


@pytest.mark.parametrize("lie", LIES)
def test_nothing_that_was_altered_enters_a_proof(
    ledger: list[TinyShard], store: PostgresOnDemandStore, pipeline: Pipeline, database_url: str, lie: Any
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")  # a superuser may: triggers and keys are off
        assert connection.execute(LIES[lie]).rowcount == 1
    with pytest.raises(Corrupt, match="shard 0"):
        state_all(store, pipeline)


def state_all(store: PostgresOnDemandStore, pipeline: Pipeline) -> None:
    for last_seq in range(2, 28):
        state(store, pipeline.registry, Selection(0, 2, last_seq))
