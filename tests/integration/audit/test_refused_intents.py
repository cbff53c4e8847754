"""What cannot be chained is kept apart, with an event that says so, and everything behind it goes on."""

from __future__ import annotations

from typing import Any, Final

import psycopg
import pytest

from ledger_core.postgres.verify.ledger_reader import open_ledger_reader
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.audit import check_audit
from producers.signing.verified_signer import VerifiedSigner
from tests.support import audit
from tests.support.audit_checks import assert_published
from tests.support.signing import local_signer

pytestmark = pytest.mark.services

# The owner may take the checks away, or they were not there yet: the notary asks for itself.
CHECKS: Final = ("names", "payload_size", "payload_texts", "payload_reserved", "payload_numbers")
DEEP: Final = "[" * 2000 + "]" * 2000
BAD: Final = "('dead_letter.retried', 'operator:a', %s, 't')"
# what is left -> what the event says of it
POISONS: Final[dict[str, tuple[str, str]]] = {
    "a float": (BAD % """'{"shard": 0, "source_offset": "1", "reason": 1.5}'""", "another form: reason"),
    "a float of a list": ("('journal.adopted', 'service:prover', '{}', 't')", "lacks the field shard"),
    "a field of the chain": (BAD % """'{"shard": 0, "source_offset": "1", "reason": "r", "seq": "1"}'""", "seq"),
    "3 MB": (BAD % "jsonb_build_object('reason', repeat(md5('a'), 100000))", "payload of more than 98304 bytes"),
    "70 kB": (
        BAD % """jsonb_build_object('shard', 0, 'source_offset', '1', 'reason', repeat('x', 70000))""",
        "payload of 70",
    ),
    "deep nesting": (BAD % f"""'{{"reason": {DEEP}}}'""", "cannot be read"),
    "a text that is not in NFC": (
        BAD % """jsonb_build_object('shard', 0, 'source_offset', '1', 'reason', U&'e\\0301')""",
        "NFC",
    ),
    "a text that Go spells otherwise": (
        BAD % """'{"shard": 0, "source_offset": "1", "reason": "a < b"}'""",
        "contains <, > or &".replace("<", "\uff1c").replace(">", "\uff1e").replace("&", "\uff06"),
    ),
    "a type that nobody knows": ("('x', 'service:poster', '{}', 't')", "no event of the type x"),
    "another one's event": (
        """('ledger.resumed', 'service:archiver', '{"reason": "all clear"}', 't')""",
        "ledger.resumed is left by operator, and not by service:archiver",
    ),
    "a proof of the prover's by an operator": (
        """('proof.published', 'operator:a', jsonb_build_object('proof_id', 'dev-0-1', 'proof_hash', repeat('ab', 32),
        'signer_kid', 'k', 'num_rows', '1', 'shards', '[]'::jsonb), 't')""",
        "operator:a publishes no proof under an id like dev-0-1",
    ),
    "a long name": ("(repeat('x', 1000), 'operator:a', '{}', 't')", "event_type of more than 100 bytes"),
    "an announcement by a key that nobody has": (
        """('signer.rotation', 'operator:x',
        '{"step": "announced", "outgoing_kid": "nobody", "incoming_kid": "new", "rotation_id": "r"}', 't')""",
        "nobody, which is to sign it, is not in the registry",
    ),
}
TIMES: Final = ("infinity", "-infinity", "9999-12-31 23:59:59.999999+00", "2100-01-01 00:00:00+00")


@pytest.fixture
def signing() -> tuple[VerifiedSigner, SignerRegistry]:
    return local_signer()


def leave(url: str, values: str, columns: str = "event_type, actor_id, payload, trace_id") -> None:
    with psycopg.connect(url, autocommit=True) as owner:
        for check in CHECKS:
            owner.execute(f"ALTER TABLE audit_outbox DROP CONSTRAINT IF EXISTS outbox_{check}".encode())
        owner.execute(f"INSERT INTO audit_outbox ({columns}) VALUES {values}".encode())


def chained(environ: dict[str, str], signer: VerifiedSigner, registry: SignerRegistry) -> list[dict[str, Any]]:
    """What a notary makes of the outbox: a sound chain, published, with nothing left to do."""
    url = environ["DATABASE_URL"]
    audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry))
    assert audit.outbox_size(url) == 0
    with open_ledger_reader(url) as reader:
        report = check_audit(reader.audit_events(), registry)
    assert report.sound, report.findings
    rows = audit.rows_newest_first(url)[::-1]
    assert_published(environ, rows)
    return rows


@pytest.mark.parametrize("poison", POISONS)
def test_one_bad_intent_is_kept_apart_and_the_rest_is_chained(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry], poison: str
) -> None:
    url = environ["DATABASE_URL"]
    values, said = POISONS[poison]
    audit.append(url, [audit.intent(1)])
    leave(url, values)
    audit.append(url, [audit.intent(2), audit.intent(3)])
    rows = chained(environ, *signing)
    assert [row["payload"].get("source_offset") for row in rows] == ["1", None, "2", "3"]
    refused = rows[1]
    assert (refused["event_type"], refused["actor_id"]) == ("audit.intent_refused", "service:notary")
    assert said in refused["payload"]["reason"]
    with psycopg.connect(url) as connection:
        kept = connection.execute(
            "SELECT outbox_id::text, encode(sha256(convert_to(payload::text, 'UTF8')), 'hex'), reason "
            "FROM refused_intents"
        ).fetchall()
    payload = refused["payload"]
    assert kept == [(payload["outbox_id"], payload["content_sha256"], payload["reason"])]


@pytest.mark.parametrize("time", TIMES)
def test_no_time_that_somebody_chose_stands_on_the_chain(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry], time: str
) -> None:
    url = environ["DATABASE_URL"]
    values = f"""('ledger.resumed', 'operator:a', '{{"reason": "r"}}', 't', '{time}')"""
    leave(url, values, "event_type, actor_id, payload, trace_id, created_at")
    audit.append(url, [audit.intent(number) for number in range(3)])
    assert len(chained(environ, *signing)) == 4
    with psycopg.connect(url) as connection:
        late = connection.execute("SELECT count(*) FROM audit_events WHERE created_at > clock_timestamp()").fetchone()
    assert late == (0,)
