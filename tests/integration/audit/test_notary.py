"""The notary on the real servers: one chain, every intent once, whatever fails at whichever step."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import psycopg
import pytest

from consumers.audit.notary import Notary
from finance.workshop.devstack import Stack
from ledger_core.errors import Unavailable
from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.notary_store import EVENT_COLUMNS, event_from_row
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.signing.signer_uses import tell
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.rotation import announcement
from ledger_core.verify.audit import check_audit
from producers.signing.verified_signer import VerifiedSigner
from tests.simulator.faults import Faults, Mode
from tests.support import audit
from tests.support.audit_checks import assert_chain, assert_published
from tests.support.databases import role_url
from tests.support.signing import kms_signer, local_signer
from tests.support.waits import until

pytestmark = pytest.mark.services

STORE_STEPS = ["acquire", "head", "pending", "extend", "unpublished", "set_published", "backlog"]
PUBLISHER_STEPS = ["fence", "publish", "flush"]


@pytest.fixture
def signing() -> tuple[VerifiedSigner, SignerRegistry]:
    return local_signer()


@pytest.mark.parametrize("mode", ["not applied", "applied"])
@pytest.mark.parametrize("step", [*STORE_STEPS, *PUBLISHER_STEPS, "sign_digest"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_failure_at_any_step_applied_or_not_loses_and_doubles_nothing(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry], step: str, mode: Mode, nth: int
) -> None:
    signer, registry = signing
    url = environ["DATABASE_URL"]
    audit.append(url, [audit.intent(number) for number in range(25)])
    faults = Faults()
    faults.arm(step, mode, nth)

    def failing(target: Any) -> Any:
        return faults.around(target, "test")

    audit.run_until_idle(
        lambda: audit.build_notary(
            environ, failing(signer), registry, batch_events_max=10, store=failing, publisher=failing
        )
    )
    once_a_life = nth == 2 and step in ("acquire", "head", "fence", "backlog")
    assert faults.fired == ([] if once_a_life else [f"{step}: {mode}"])
    rows = assert_chain(url, registry, range(25))
    repeats = assert_published(environ, rows)
    assert repeats <= 10, "no more than the one batch that failed"


def test_two_notaries_at_once_give_one_chain_and_the_second_takes_over(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    signer, registry = signing
    url = environ["DATABASE_URL"]
    stop = [threading.Event(), threading.Event()]
    led: list[set[int]] = [set(), set()]

    def run(which: int) -> None:
        notary = audit.build_notary(environ, signer, registry, batch_events_max=7)
        while not stop[which].is_set():
            if notary.step():
                led[which].add(1)
        notary.close()

    threads = [threading.Thread(target=run, args=[which]) for which in (0, 1)]
    for thread in threads:
        thread.start()
    audit.append(url, [audit.intent(number) for number in range(50)])
    until("the outbox is empty", lambda: audit.outbox_size(url) == 0)
    assert sum(map(bool, led)) == 1, "only one of them wrote"
    leader = 0 if led[0] else 1
    stop[leader].set()
    threads[leader].join()
    audit.append(url, [audit.intent(number) for number in range(50, 80)])
    until("the outbox is empty", lambda: audit.outbox_size(url) == 0)
    stop[1 - leader].set()
    threads[1 - leader].join()
    assert led[1 - leader], "the standby took over"
    audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry))
    assert assert_published(environ, assert_chain(url, registry, range(80))) == 0


def test_two_thousand_intents_of_four_writers_come_once_and_rolled_back_ones_never(
    environ: dict[str, str], stack: Stack
) -> None:
    signer, registry = kms_signer(stack.env, "ed25519")
    url = environ["DATABASE_URL"]

    def write(first: int) -> None:
        with psycopg.connect(role_url(url, "finance_api")) as connection:
            for start in range(first, first + 500, 10):
                with connection.cursor() as cursor:
                    for number in range(start, start + 10):
                        append_intent(cursor, audit.intent(number))
                connection.commit()
                with connection.cursor() as cursor:
                    append_intent(cursor, audit.intent(1_000_000 + start))
                connection.rollback()

    writers = [threading.Thread(target=write, args=[first]) for first in range(0, 2000, 500)]
    for writer in writers:
        writer.start()
    notary = audit.build_notary(environ, signer, registry)
    while any(writer.is_alive() for writer in writers):
        notary.step()
    while notary.step():
        pass
    notary.close()
    assert assert_published(environ, assert_chain(url, registry, range(2000))) == 0


def test_without_a_signer_intents_wait_nothing_unsigned_leaves_and_it_resumes_by_itself(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    signer, registry = signing
    url = environ["DATABASE_URL"]
    audit.append(url, [audit.intent(number) for number in range(10)])
    faults = Faults()
    faults.arm("sign_digest", "not applied", nth=6)
    outage = faults.around(signer, "signer")
    notary = audit.build_notary(environ, outage, registry, batch_events_max=5)
    assert notary.step()
    assert notary.step(), "what was signed before is published"
    assert not notary.step(), "the circuit waits, and nobody is asked"
    notary.close()
    assert audit.outbox_size(url) == 5, "the second batch waits, whole"
    assert len(audit.rows_newest_first(url)) == 5
    assert len(audit.read_topic(environ)) == 5, "what was signed before was published all the same"
    audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry))
    assert assert_published(environ, assert_chain(url, registry, range(10))) == 0


def test_what_a_faltering_signer_did_sign_is_chained(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    """Else a signer that fails once in a batch, each time, would stop the chain for ever."""
    signer, registry = signing
    url = environ["DATABASE_URL"]
    audit.append(url, [audit.intent(number) for number in range(10)])
    faults = Faults()
    faults.arm("sign_digest", "not applied", nth=4)
    outage = faults.around(signer, "signer")
    notary = audit.build_notary(environ, outage, registry)
    assert notary.step()
    assert audit.outbox_size(url) == 7
    notary.close()
    audit.run_until_idle(lambda: audit.build_notary(environ, outage, registry))
    assert assert_published(environ, assert_chain(url, registry, range(10))) == 0


def test_without_a_broker_the_chain_grows_and_is_published_when_it_is_back(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry], stack: Stack
) -> None:
    signer, registry = signing
    url = environ["DATABASE_URL"]
    audit.append(url, [audit.intent(number) for number in range(30)])

    def build() -> Notary:
        return audit.build_notary(environ, signer, registry, batch_events_max=10)

    notary = build()
    assert notary.step()
    stack.kill("kafka")
    try:
        with pytest.raises(Unavailable, match="kafka"):
            notary.step()
        notary.close()
        assert audit.outbox_size(url) == 0, "an outage of Kafka does not stop the chain"
    finally:
        stack.start("kafka")
    audit.run_until_idle(build)
    assert assert_published(environ, assert_chain(url, registry, range(30))) <= 10


def test_a_successor_is_announced_by_the_outgoing_key_or_waits_for_it(environ: dict[str, str]) -> None:
    (old, registry), (new, also) = local_signer(kid="old-v1"), local_signer(kid="new-v1")
    registry = registry.with_signer(also.get("new-v1"))
    url = environ["DATABASE_URL"]
    said = announcement(
        registry.get("old-v1"),
        registry.get("new-v1"),
        rotation_id="1",
        overlap=dt.timedelta(0),
        incoming_variables={},
        outgoing_variables={},
    )
    tell(role_url(url, "finance_api"), AuditIntent("signer.rotation", "operator:alice", said, "ab" * 16))
    audit.append(url, [audit.intent(1)])
    hasty = audit.build_notary(environ, new, registry)
    try:
        assert hasty.step() is False, "the incoming key alone announces nothing, and nothing passes it"
    finally:
        hasty.close()
    assert audit.outbox_size(url) == 2
    audit.run_until_idle(lambda: audit.build_notary(environ, new, registry, others=[old]))
    with psycopg.connect(url) as connection:
        rows = connection.execute(f"SELECT {EVENT_COLUMNS} FROM audit_events ORDER BY seq").fetchall()
    events = [event_from_row(row) for row in rows]
    assert [event.signer_kid for event in events] == ["old-v1", "new-v1"]
    assert check_audit(events, registry).sound
