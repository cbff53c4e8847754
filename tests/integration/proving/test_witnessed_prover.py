"""A prover whose key is a witness: what grows is signed, what was rolled back or forked is not and stays inside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ledger_core.proving.checkpoint import note_text, origin_of, parse_and_verify
from ledger_core.signing.registry import SignerRegistry
from ledger_core.tree import consistency_proof, leaf_hash, root_of
from producers.signing.https_exchange import HttpsExchange
from producers.signing.proxy import ProxyKey
from producers.signing.verified_signer import pin
from tests.support.journal_factory import TinyShard
from tests.support.journal_writer import publish, write
from tests.support.pipeline import Pipeline, step_until, utc_now
from tests.support.proxies import KIDS, TestProxy, b64, running_proxy

ED = KIDS[1]
ORIGIN = origin_of("example.com", "test", 0)
# Checkpoints of ranges and live ones come in any order: then the witness names the size that it wants to see first.
ASKED_AGAIN = {"refused:LOG_SHRANK", "refused:OLD_SIZE"}


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[TestProxy]:
    with running_proxy(tmp_path, witness=True, kids=[ED]) as running:
        yield running
        assert running.report().findings == []


@pytest.fixture
def pipeline(environ: dict[str, str], witness: TestProxy) -> Pipeline:
    made = Pipeline(environ)
    made.registry = SignerRegistry([witness.registered[ED]])
    door = witness.door
    exchange = HttpsExchange(
        f"https://127.0.0.1:{door.door.port}",
        ca_file=str(door.authority.path),
        client_pair=(str(door.client.certificate), str(door.client.key)),
    )
    made.signer = pin(ProxyKey(exchange, "ed25519", made.registry, api_key=None, kid=ED), made.registry, now=utc_now())
    return made


def checkpoints(url: str, shard: int = 0) -> dict[int, bytes]:
    with psycopg.connect(url) as connection:
        query = "SELECT tree_size, note FROM checkpoints WHERE shard = %s ORDER BY tree_size"
        return dict(connection.execute(query, (shard,)).fetchall())


def posted(pipeline: Pipeline, shard: TinyShard, count: int) -> None:
    """Let the shard grow, in Postgres and in the journal."""
    first = len(shard.entries) + 1
    shard.post(count)
    write(pipeline.environ["DATABASE_URL"], shard)
    publish(pipeline.brokers, pipeline.topic, shard, first_seq=first)


def sign(witness: TestProxy, shard: TinyShard, size: int, old: int | None = None) -> int:
    """Another prover's request: the same key, the same log, perhaps another history."""
    leaves = [leaf_hash(item.body) for item in shard.entries]
    text = note_text(ORIGIN, size, root_of(leaves[:size]))
    proof = (
        {} if old is None else {"old_size": old, "consistency": list(map(b64, consistency_proof(leaves, old, size)))}
    )
    return witness.post(body={"payload_b64": b64(text), "kind": "note", **proof}).status


def refusals(witness: TestProxy) -> set[str]:
    return {event for event in witness.events() if event.startswith("refused")}


def test_checkpoints_of_a_growing_ledger_are_signed_over_restarts(
    pipeline: Pipeline, witness: TestProxy, database_url: str
) -> None:
    shard = TinyShard()
    posted(pipeline, shard, 23)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: 23 in checkpoints(database_url))
        posted(pipeline, shard, 1)
        step_until(prover, lambda: 24 in checkpoints(database_url))
    publish(pipeline.brokers, pipeline.topic, shard, first_seq=20)  # the relay repeats after a crash
    posted(pipeline, shard, 12)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: 36 in checkpoints(database_url))
    found = checkpoints(database_url)
    assert list(found) == [10, 20, 23, 24, 34, 36]
    for size, note in found.items():
        kept, _ = parse_and_verify(note, pipeline.registry)
        assert (kept.size, kept.root) == (size, root_of(leaf_hash(item.body) for item in shard.entries[:size]))
    assert refusals(witness) <= ASKED_AGAIN, "each continues what the witness saw"
    sizes = {record["size"] for record in witness.records() if record["event"] == "signed" and "size" in record}
    assert sizes >= {"10", "20", "23", "24", "34", "36"}, "and live checkpoints between them"


def test_a_witness_that_comes_late_or_missed_some_is_given_what_it_asks_for(
    pipeline: Pipeline, witness: TestProxy, database_url: str
) -> None:
    shard = TinyShard().post(17)
    assert sign(witness, shard, 7) == 200, "a size at which no range of ours ends"
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: 17 in checkpoints(database_url))
    assert "refused:OLD_SIZE" in refusals(witness)
    assert refusals(witness) <= ASKED_AGAIN


def test_a_ledger_that_was_put_back_gets_its_signatures_again(
    pipeline: Pipeline, witness: TestProxy, database_url: str
) -> None:
    shard = TinyShard().post(30)
    assert sign(witness, shard, 25) == 200
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: 30 in checkpoints(database_url))
    assert list(checkpoints(database_url)) == [10, 20, 30]
    assert "refused:OLD_SIZE" in refusals(witness)
    assert refusals(witness) <= ASKED_AGAIN


def test_a_ledger_that_was_rolled_back_publishes_nothing_and_its_neighbour_goes_on(
    pipeline: Pipeline, witness: TestProxy, database_url: str
) -> None:
    assert sign(witness, TinyShard().post(25), 25) == 200
    lost, other = TinyShard().post(15), TinyShard(shard=1).post(10)
    for shard in (lost, other):
        write(database_url, shard)
        publish(pipeline.brokers, pipeline.topic, shard)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: 10 in checkpoints(database_url, 1) and "refused:LOG_SHRANK" in refusals(witness))
        assert nothing_published(database_url)
        posted(pipeline, lost, 11)  # the rest comes back: it is the true history, after all
        step_until(prover, lambda: 26 in checkpoints(database_url))
    assert list(checkpoints(database_url)) == [10, 20, 26]


@pytest.mark.parametrize("size", [5, 10, 14])
def test_a_fork_publishes_nothing(pipeline: Pipeline, witness: TestProxy, database_url: str, size: int) -> None:
    forked = TinyShard().post(3).post(1, currency="EUR").post(20)
    assert sign(witness, forked, size) == 200
    shard = TinyShard().post(20)
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard)
    said = "refused:LOG_FORKED" if size == 10 else "refused:LOG_INCONSISTENT"
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: said in refusals(witness))
        for _ in range(3):
            prover.step()
    assert nothing_published(database_url)
    assert pipeline.metrics.signer_failures == 0, "the key is well"


def nothing_published(url: str) -> bool:
    with psycopg.connect(url) as connection:
        query = (
            "SELECT (SELECT count(*) FROM proofs WHERE shard = 0) + (SELECT count(*) FROM checkpoints WHERE shard = 0)"
        )
        return connection.execute(query).fetchone() == (0,)
