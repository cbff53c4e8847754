"""kill -9 of prover, archiver and notary, at random moments and right after each step, under load; two of each at once.

Each start joins a consumer group of its own, so that it owns every shard at once, whoever else still believes so too:
a restart need not wait until the broker gives a dead member up, and two processes of a kind fight for every range.
After all of it there is one chain of ranges, one proof a range, one version an object, one manifest chain and one audit
chain.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import buckets
from tests.support.route import Ledger
from tests.support.waits import until

pytestmark = pytest.mark.services

KILLS = 15
RATE = 250.0
LIMITS = {"range_entries_max": 100, "range_idle_seconds": 1, "retry_delay_ms_max": 1000}
# The lines that end a step: what comes after the line is not done yet.
STEPS = {
    "prover": ("range.closed", "proof.published"),
    "archiver": ("batch.archived", "manifest.stored"),
    "notary": ("notary.chained", "notary.published"),
}


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(environ, tmp_path, LIMITS)
    try:
        yield made
    finally:
        made.end()


def check_single(ledger: Ledger) -> None:
    """What only the store and the tables can say: nothing stands there twice."""
    client, bucket = buckets.s3_client(ledger.environ), ledger.environ["S3_AUDIT_BUCKET"]
    versions: dict[str, int] = {}
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        assert not page.get("DeleteMarkers")
        for version in page.get("Versions", ()):
            versions[version["Key"]] = versions.get(version["Key"], 0) + 1
    shadowed = {key: count for key, count in versions.items() if count > 1 and not key.startswith("canary/")}
    assert not shadowed, f"more than one version under a name: {shadowed}"
    ranges, proofs, objects, manifests = ledger.ask(
        "SELECT (SELECT count(*) FROM ranges), (SELECT count(*) FROM proofs), (SELECT count(*) FROM archive_objects), "
        "(SELECT count(*) FROM manifests)"
    )
    assert ranges == proofs == objects == manifests
    exports = ledger.ask("SELECT count(*) FROM audit_exports")[0]  # of the audit chain: a slow run may have idled
    tiles = ledger.ask("SELECT count(*) FROM tiles")[0]
    assert sum(not key.startswith("canary/") for key in versions) == objects + manifests + exports + tiles
    # Of each range one posted intent, one proof and one export stand on the audit chain, and none twice.
    repeated = ledger.ask(
        "SELECT count(*) FROM (SELECT 1 FROM audit_events GROUP BY event_type, payload - "
        "ARRAY['id', 'seq', 'created_at', 'hash', 'prev_hash', 'trace_id'] HAVING count(*) > 1) AS again"
    )[0]
    assert repeated == 0
    events = ledger.ask("SELECT count(*) FROM audit_events WHERE payload->>'chain' IS DISTINCT FROM 'audit'")[0]
    assert events == 3 * ranges


class Killer(threading.Thread):
    """Starts one kind of process KILLS times, and kills it: in turn after each of its steps, and at random moments. The
    next one lives: the other kinds wait for its work."""

    def __init__(self, ledger: Ledger, name: str, seed: int) -> None:
        super().__init__()
        self.ledger, self.kind = ledger, name
        self.dice = random.Random(f"{seed}:{name}")
        self.after: dict[str, int] = {}
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            for number in range(KILLS):
                self._once(number)
            self.ledger.start(self.kind)
        except BaseException as error:
            self.failed = error

    def _once(self, number: int) -> None:
        victim = self.ledger.start(self.kind, group=f"{self.kind}-{number}")
        step = (*STEPS[self.kind], "random")[number % 3]
        if step == "random":
            time.sleep(self.dice.uniform(0.8, 2.5))  # from before its first connection to the middle of its work
        else:
            victim.wait_said(step)
        assert victim.running, victim.tail()
        victim.kill()
        assert victim.noise == [], victim.noise
        self.after[step] = self.after.get(step, 0) + 1


def test_killed_after_each_step_and_at_random_moments_nothing_is_lost_or_doubled(ledger: Ledger) -> None:
    seed = random.SystemRandom().randrange(10**6)
    poster = ledger.start("poster")
    poster.wait_said("poster.shard_opened")
    killers = [Killer(ledger, name, seed) for name in STEPS]
    for killer in killers:
        killer.start()
    while any(killer.is_alive() for killer in killers):
        ledger.publish(100, RATE)
    for killer in killers:
        assert killer.failed is None, f"seed {seed}, {killer.kind}: {killer.failed}"
        assert set(killer.after) == {*STEPS[killer.kind], "random"}
        assert sum(killer.after.values()) == KILLS
    ledger.wait_finished()
    ledger.check()
    check_single(ledger)


def test_two_of_each_and_a_thawed_zombie_make_one_chain(ledger: Ledger) -> None:
    """Both provers own every shard, both archivers too; then the first ones freeze, the second ones take over, and the
    first ones come back in the belief that nothing happened."""
    ledger.start("poster").wait_said("poster.shard_opened")
    first = {name: ledger.start(name, group=f"{name}-first") for name in STEPS}
    first["notary"].wait_said("notary.leading")
    second = {name: ledger.start(name, group=f"{name}-second") for name in STEPS}
    for process in (*first.values(), *second.values()):
        process.wait_said("service.started")
    ledger.publish(3000, RATE * 2)  # side by side
    assert not second["notary"].said("notary.leading"), "two notaries lead at once"
    for process in first.values():
        process.freeze()
    frozen_at = time.monotonic()
    ledger.publish(2000, RATE * 2)
    second["notary"].wait_said("notary.leading")
    for name, step in (("prover", "proof.published"), ("archiver", "manifest.stored"), ("notary", "notary.published")):
        second[name].wait_said(step, since=frozen_at)
    ledger.wait_finished()
    for process in first.values():
        process.thaw()
    ledger.publish(2000, RATE * 2)
    ledger.wait_finished()
    for name, process in {**first, **{f"second {name}": it for name, it in second.items()}}.items():
        assert process.running, f"{name} ended:\n{process.tail()}"
    provers, archivers = (first["prover"], second["prover"]), (first["archiver"], second["archiver"])
    assert any(prover.said("range.closed_elsewhere") for prover in provers), "they never met"
    assert any(archiver.said("range.archived_elsewhere") for archiver in archivers), "they never met"
    for name, process in first.items():
        until(f"the thawed {name} is well", process.healthy)
    ledger.check()
    check_single(ledger)
