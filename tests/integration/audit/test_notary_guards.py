"""What the notary and its tables refuse: zombies, second writers, altered events, intents without a canonical form."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from finance.settings.variables import PROCESSES
from ledger_core.errors import Corrupt, Refused, Unavailable
from ledger_core.postgres.audit.notary_store import PostgresAuditStore
from ledger_core.signing.registry import SignerRegistry
from producers.kafka.publisher import KafkaPublisher
from producers.signing.verified_signer import VerifiedSigner
from tests.support import audit
from tests.support.audit_checks import assert_chain
from tests.support.databases import role_url
from tests.support.kafka import tls
from tests.support.signing import local_signer

pytestmark = pytest.mark.services


@pytest.fixture
def signing() -> tuple[VerifiedSigner, SignerRegistry]:
    return local_signer()


def test_a_notary_whose_session_was_cut_writes_nothing_more(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    signer, registry = signing
    url = environ["DATABASE_URL"]
    audit.append(url, [audit.intent(number) for number in range(10)])

    class CutBeforeExtend(PostgresAuditStore):
        """The server ends the session, and another notary does the work, between signing and the transaction."""

        def extend(self, *arguments: Any) -> None:
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute("SELECT pg_terminate_backend(%s)", [self._connection.info.backend_pid])
            audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry))
            super().extend(*arguments)

    zombie = audit.build_notary(
        environ, signer, registry, store=lambda _: CutBeforeExtend(role_url(url, "finance_notary"))
    )
    with pytest.raises(Unavailable, match="postgres"):
        zombie.step()
    zombie.close()
    assert_chain(url, registry, range(10))


def test_the_database_refuses_a_second_writer_that_holds_no_lock(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    signer, registry = signing
    url = environ["DATABASE_URL"]
    audit.append(url, [audit.intent(number) for number in range(5)])

    def overtaken(_: object) -> PostgresAuditStore:
        class Overtaken(PostgresAuditStore):
            def acquire(self, wait_seconds: float) -> bool:
                return True  # a bug, or a lock service that lies

            def extend(self, *arguments: Any) -> None:
                audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry))
                audit.append(url, [audit.intent(5)])
                super().extend(*arguments)

        return Overtaken(role_url(url, "finance_notary"))

    rogue = audit.build_notary(environ, signer, registry, store=overtaken)
    with pytest.raises(Unavailable, match="another writer extended the chain"):
        rogue.step()
    rogue.close()
    assert audit.outbox_size(url) == 1, "and it took no intent away"
    audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry))
    assert_chain(url, registry, range(6))


def _with_chain(environ: dict[str, str], signer: VerifiedSigner, registry: SignerRegistry, count: int) -> str:
    """So many events, signed and published; the database they are in."""
    url = environ["DATABASE_URL"]
    audit.append(url, [audit.intent(number) for number in range(count)])
    audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry))
    return url


def test_nothing_is_chained_to_an_event_that_does_not_verify(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    signer, registry = signing
    url = _with_chain(environ, signer, registry, 1)
    _as_superuser(url, """UPDATE audit_events SET payload = payload || '{"reason": "other"}'""")
    audit.append(url, [audit.intent(1)])
    notary = audit.build_notary(environ, signer, registry)
    with pytest.raises(Corrupt, match="seq 1"):
        notary.step()
    notary.close()
    assert audit.outbox_size(url) == 1


def test_an_event_altered_before_it_was_published_is_not_published(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    signer, registry = signing
    url = environ["DATABASE_URL"]
    audit.append(url, [audit.intent(0), audit.intent(1)])
    notary = audit.build_notary(environ, signer, registry)
    notary.step()
    _as_superuser(url, "UPDATE audit_events SET signature = encode(sha256('x'), 'base64') WHERE seq = 2")
    with pytest.raises(Corrupt, match="seq 2"):
        notary.step()
    notary.close()
    assert len(audit.read_topic(environ)) <= 1


def test_repeats_at_the_end_of_the_topic_hide_nothing_of_what_was_published(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    """A notary was killed while it published again, and then the database was put back: the last record is on its
    chain, and what strangers hold beyond it is not. Chaining on would fork."""
    signer, registry = signing
    url = _with_chain(environ, signer, registry, 10)
    published = audit.read_topic(environ)
    brokers = environ["KAFKA_BROKERS"]
    killed = KafkaPublisher(brokers, tls(brokers))
    for key, value in published[3:6]:
        killed.publish(audit.topic_of(environ), 0, key=key, value=value)
    killed.flush(300)
    killed.close()
    _as_superuser(url, "DELETE FROM audit_events WHERE seq > 7; UPDATE notary_cursor SET published_seq = 3")
    audit.append(url, [audit.intent(10)])
    notary = audit.build_notary(environ, signer, registry)
    with pytest.raises(Refused, match="reaches seq 10, and this chain ends at 7"):
        notary.step()
    notary.close()
    assert audit.outbox_size(url) == 1


def test_a_key_that_the_registry_lost_stops_the_notary_and_is_no_corruption(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    """Corrupt would halt all posting for a line that is missing in signers.json."""
    signer, registry = signing
    _with_chain(environ, signer, registry, 1)
    other, lacking = local_signer(kid="another-key")
    notary = audit.build_notary(environ, other, lacking)
    with pytest.raises(Refused, match="who signed audit event seq 1, is not in the registry") as caught:
        notary.step()
    notary.close()
    assert "put that key back" in caught.value.remedy


@pytest.mark.parametrize(
    "payload",
    [{"reason": 1.5}, {"seq": "1"}, {"reason": "a\0b"}, {"9": "x"}, {"reason": "x" * 70_000}, {"reason": "<"}],
)
def test_append_intent_refuses_what_could_never_be_chained(database_url: str, payload: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="audit intent"):
        audit.append(database_url, [audit.intent(0, **payload)])
    assert audit.outbox_size(database_url) == 0


def test_intents_of_one_instant_get_strictly_increasing_times(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    signer, registry = signing
    url = environ["DATABASE_URL"]
    _as_superuser(
        url,
        "INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id, created_at) SELECT "
        "'dead_letter.retried', 'operator:a', "
        "jsonb_build_object('shard', 0, 'source_offset', n::text, 'reason', 'r'), '', "
        "timestamptz '2026-01-01 00:00:00Z' - n * interval '1 hour' "
        "FROM generate_series(0, 9) AS n",
    )
    audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry, batch_events_max=3))
    rows = assert_chain(url, registry, range(10))
    assert [row["created_at"] for row in rows] == [f"2026-01-01T00:00:00.{n:03d}000Z" for n in range(10)]


def test_the_chain_can_be_changed_by_no_role_of_the_service(environ: dict[str, str]) -> None:
    for role in (*PROCESSES, "api", "auditor"):
        with psycopg.connect(role_url(environ["DATABASE_URL"], f"finance_{role}"), autocommit=True) as connection:
            for statement in (
                "UPDATE audit_events SET actor_id = 'x'",
                "DELETE FROM audit_events",
                "TRUNCATE audit_events",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
            if role != "notary":
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute("INSERT INTO audit_events (id) VALUES ('x')")


def _as_superuser(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # past the triggers
        connection.execute(statement)
