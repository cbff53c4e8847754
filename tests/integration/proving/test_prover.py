"""The prover on Postgres and Kafka, as the role finance_prover: ranges, proofs, checkpoints, audit intents."""

from __future__ import annotations

import contextlib
import re
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors
from structlog.testing import capture_logs

from finance.settings.deployment import Settings
from finance.wiring.signers import open_signer
from ledger_core.errors import Corrupt, Refused, Unavailable
from ledger_core.postgres.proving.prover_store import RANGE_COLUMNS
from ledger_core.postgres.proving.time_decisions import accept
from ledger_core.proving.closed_range import ClosedRange
from ledger_core.proving.range_proof import parse_proof
from ledger_core.signing.registry import SignerRegistry
from ledger_core.times import format_time, parse_time
from schemas.topology.load import load_topology
from tests.support.journal_factory import TinyShard
from tests.support.journal_writer import publish, write
from tests.support.pipeline import Pipeline, step_until
from tests.support.proof_checks import check_checkpoint, check_proof, check_ranges

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pipeline(environ: dict[str, str]) -> Pipeline:
    return Pipeline(environ)


def rows(url: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query, values).fetchall()


def ranges_of(url: str, shard: int) -> list[ClosedRange]:
    query = f"SELECT {RANGE_COLUMNS} FROM ranges WHERE shard = %s ORDER BY range_no"
    return [ClosedRange(*row) for row in rows(url, query, shard)]


def proved_whole(url: str, shard: TinyShard) -> bool:
    return proved_offset(url, shard.shard) == shard.next_offset


def proved_offset(url: str, shard: int) -> int:
    query = "SELECT max(next_offset) FROM ranges JOIN proofs USING (shard, range_no) WHERE shard = %s"
    return rows(url, query, shard)[0][0] or 0


def check_all(url: str, shards: Any, registry: SignerRegistry) -> None:
    for shard in shards:
        ranges = ranges_of(url, shard.shard)
        check_ranges(shard, ranges)
        proofs = dict(rows(url, "SELECT range_no, proof FROM proofs WHERE shard = %s", shard.shard))
        assert len(proofs) == len(ranges)
        for closed in ranges:
            check_proof(closed, proofs[closed.range_no], registry)
        notes = dict(rows(url, "SELECT next_offset, note FROM checkpoints WHERE shard = %s", shard.shard))
        assert sorted(notes) == [closed.next_offset for closed in ranges]
        for closed in ranges:
            check_checkpoint(shard, closed, notes[closed.next_offset], registry)
    told = rows(url, "SELECT event_type, payload->>'proof_hash', trace_id FROM audit_outbox ORDER BY outbox_id")
    hashes = [(closed.hash.hex(), closed.range_no) for shard in shards for closed in ranges_of(url, shard.shard)]
    assert sorted(kind for kind, _, _ in told) == sorted(["journal.posted", "proof.published"] * len(hashes))
    assert {text for _, text, _ in told} == {text for text, _ in hashes}


def test_two_shards_are_proved_gapless_with_their_verdicts(
    pipeline: Pipeline, environ: dict[str, str], database_url: str
) -> None:
    shards = [TinyShard(shard=0).post(23).silence(4), TinyShard(shard=1).silence(17).post(3)]
    for shard in shards:
        write(database_url, shard)
        publish(pipeline.brokers, pipeline.topic, shard)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: all(proved_offset(database_url, it.shard) == it.next_offset for it in shards))
    check_all(database_url, shards, pipeline.registry)


def test_a_restart_goes_on_from_the_last_closed_range(pipeline: Pipeline, database_url: str) -> None:
    shard = TinyShard().post(15)
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: proved_offset(database_url, 0) >= 10)
    shard.post(10).silence(1)
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard, first_seq=14)  # the relay repeats after a crash
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: proved_offset(database_url, 0) == shard.next_offset)
    check_all(database_url, [shard], pipeline.registry)


def test_a_range_without_entries_is_proved_at_genesis_and_later(pipeline: Pipeline, database_url: str) -> None:
    shard = TinyShard().silence(5)
    write(database_url, shard)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: proved_offset(database_url, 0) == 5)
        shard.post(1)
        write(database_url, shard)
        publish(pipeline.brokers, pipeline.topic, shard)
        step_until(prover, lambda: proved_offset(database_url, 0) == 6)
        shard.silence(2)
        write(database_url, shard)
        step_until(prover, lambda: proved_offset(database_url, 0) == 8)
    check_all(database_url, [shard], pipeline.registry)


def test_a_gap_in_the_journal_stops_loudly(pipeline: Pipeline, database_url: str) -> None:
    shard = TinyShard().post(9)
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard, last_seq=4)
    publish(pipeline.brokers, pipeline.topic, shard, first_seq=6)
    with (
        contextlib.closing(pipeline.prover()) as prover,
        pytest.raises(Corrupt, match="shard 0: the journal goes from seq 4 to 6"),
    ):
        step_until(prover, lambda: False)


def test_every_signature_of_a_kms_verifies(pipeline: Pipeline, environ: dict[str, str], database_url: str) -> None:
    settings = Settings.from_env(environ, ROOT)
    pipeline.registry = SignerRegistry.from_json(settings.signers_path.read_bytes())
    for key, algorithm in (("KMS_KEY_RSA", "rsa-sha256"), ("KMS_KEY_ED25519", "ed25519")):
        variables = environ | {"AUDIT_SIGNING_KMS_KEY_ID": environ[key], "AUDIT_SIGNING_ALG": algorithm}
        settings = Settings.from_env(variables, ROOT)
        pipeline.signer = open_signer(settings, load_topology(settings.topology_path), pipeline.registry)
        shard = TinyShard(shard=0 if key == "KMS_KEY_RSA" else 1).post(11)
        write(database_url, shard)
        publish(pipeline.brokers, pipeline.topic, shard)
        with contextlib.closing(pipeline.prover()) as prover:
            step_until(prover, partial(proved_whole, database_url, shard))
        ((proof,),) = rows(database_url, "SELECT proof FROM proofs WHERE shard = %s AND range_no = 1", shard.shard)
        assert parse_proof(proof).alg == algorithm
        check_proof(ranges_of(database_url, shard.shard)[0], proof, pipeline.registry)


def test_two_provers_at_once_close_every_range_once(pipeline: Pipeline, database_url: str) -> None:
    shard = TinyShard().post(64)
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard)
    zombie = pipeline.prover()
    step_until(zombie, lambda: bool(ranges_of(database_url, 0)))
    # Another one, which does not know of the group: as a zombie whose partition went to somebody else.
    pipeline.environ = pipeline.environ | {"FINANCE_TOPIC_PREFIX": pipeline.environ["FINANCE_TOPIC_PREFIX"] + "other"}
    with contextlib.closing(pipeline.prover()) as prover, contextlib.closing(zombie):
        shard.post(30)
        write(database_url, shard)
        publish(pipeline.brokers, pipeline.topic, shard, first_seq=65)
        end = 94
        while proved_offset(database_url, 0) < end:
            zombie.step()
            prover.step()
    check_all(database_url, [shard], pipeline.registry)


def test_a_cut_connection_is_unavailable_and_the_next_prover_goes_on(pipeline: Pipeline, database_url: str) -> None:
    shard = TinyShard().post(25)
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard)
    prover = pipeline.prover()
    step_until(prover, lambda: bool(ranges_of(database_url, 0)))
    rows(database_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-prover'")
    shard.post(5)
    write(database_url, shard)
    with pytest.raises(Unavailable, match="postgres"):
        step_until(prover, lambda: False)
    prover.close()
    publish(pipeline.brokers, pipeline.topic, shard, first_seq=26)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: proved_offset(database_url, 0) == 30)
    check_all(database_url, [shard], pipeline.registry)


def test_the_provers_role_can_neither_change_nor_delete_what_it_wrote(
    environ: dict[str, str], pipeline: Pipeline, database_url: str
) -> None:
    shard = TinyShard().post(10)
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: proved_offset(database_url, 0) == 10)
    for attack in ("UPDATE ranges SET hash = ''", "DELETE FROM proofs", "UPDATE checkpoints SET tree_size = 0"):
        with pytest.raises(errors.InsufficientPrivilege):
            rows(environ["DATABASE_URL_PROVER"], attack)
        with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
            rows(database_url, attack)


def test_records_that_a_broker_dated_ahead_are_proved_by_an_operators_decision(
    pipeline: Pipeline, database_url: str
) -> None:
    ahead = 50 * 366 * 86_400
    shard = TinyShard().post(3).post(4, seconds=ahead)
    decide = partial(
        accept,
        pipeline.environ["DATABASE_URL_API"],
        shard=0,
        reason="broker 2 was ahead",
        actor_id="operator:ada",
        trace_id="ab" * 16,
    )
    with pytest.raises(Refused, match="no entry of shard 0 waits"):
        decide()
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard, 1)

    def waits() -> None:
        """Until it says why; it goes on with other shards."""
        with capture_logs() as said, contextlib.closing(pipeline.prover()) as prover:
            step_until(prover, lambda: any(it["event"] == "prover.clock_ahead" for it in said))
        told = next(it["detail"] for it in said if it["event"] == "prover.clock_ahead")
        assert re.search(r"the broker gave a record the time 2[01].*finance shards accept-times", told)

    waits()
    upto = decide()
    assert upto == parse_time(shard.entries[-1].entry.recorded_at)
    with pytest.raises(Refused, match="no entry of shard 0 waits"):
        decide()
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: proved_whole(database_url, shard))
    check_ranges(shard, ranges_of(database_url, 0))
    proved_at = {parse_proof(proof).ts for (proof,) in rows(database_url, "SELECT proof FROM proofs")}
    assert max(proved_at) < "2060"
    accepted = "SELECT payload->>'upto' FROM audit_outbox WHERE event_type = 'shard.times_accepted'"
    assert rows(database_url, accepted) == [(format_time(upto),)]
    shard.post(1, seconds=2 * ahead)  # further ahead than what was accepted
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard, 8)
    waits()
