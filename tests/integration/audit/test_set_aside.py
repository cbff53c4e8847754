"""A forged event on the chain: found, set aside by an operator's command, and passed over from then on by readers."""

from __future__ import annotations

import psycopg
import pytest

from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.proving.held_ranges import PostgresHeldRanges
from ledger_core.postgres.recovery.drills import newest_sound_drill
from ledger_core.postgres.session import session
from ledger_core.signing.registry import SignerRegistry
from producers.signing.verified_signer import VerifiedSigner
from tests.support import audit
from tests.support.command_line import Finance
from tests.support.databases import role_url
from tests.support.signing import local_signer

pytestmark = pytest.mark.services

HASH = "ab" * 32
RANGE = (
    "INSERT INTO ranges VALUES (0, 1, 1, 0, 0, 1, '', decode(repeat('ab', 32), 'hex'), '', '', NULL, 0, DEFAULT, '')"
)


@pytest.fixture
def signing() -> tuple[VerifiedSigner, SignerRegistry]:
    return local_signer()


def leave(url: str, role: str, intent: AuditIntent) -> None:
    with psycopg.connect(role_url(url, f"finance_{role}")) as connection, connection.cursor() as cursor:
        append_intent(cursor, intent)


def posted(range_no: str) -> AuditIntent:
    payload: dict[str, object] = {"shard": 0, "range_no": range_no, "proof_hash": HASH}
    return AuditIntent("journal.posted", "service:prover", payload, "ab" * 16)


def announced(url: str) -> list[object]:
    with psycopg.connect(role_url(url, "finance_prover"), autocommit=True) as connection:
        return [it.payload["range_no"] for it in PostgresHeldRanges(connection).chained(0, 1, 100)]


def test_a_forged_range_is_set_aside_and_the_shard_is_asked_about_no_more(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    """Left by the prover's own role, stolen: whatever else it says, it is of its form."""
    url, finance = environ["DATABASE_URL"], Finance(environ)

    def notarize() -> None:
        audit.run_until_idle(lambda: audit.build_notary(environ, *signing))

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(RANGE.encode())
    for range_no in ("1", "1000000"):
        leave(url, "prover", posted(range_no))
    notarize()
    assert announced(url) == ["1", "1000000"]
    true = finance.json("audit", "set-aside", "--seq", "1", "--reason", "a mistake", code=3)
    assert "it is true" in true["error"]["message"]
    told = finance.json("audit", "set-aside", "--seq", "2", "--reason", "stolen certificate, incident 1")
    assert (told["changed"], told["event_type"]) == (True, "journal.posted")
    assert finance.json("audit", "set-aside", "--seq", "2", "--reason", "again")["changed"] is False
    notarize()
    assert announced(url) == ["1"]
    assert finance.json("audit", "set-aside", "--seq", "2", "--reason", "again")["changed"] is False
    of_decision = finance.json("audit", "set-aside", "--seq", "3", "--reason", "no", code=3)
    assert "such a decision itself" in of_decision["error"]["message"]
    missing = finance.json("audit", "set-aside", "--seq", "99", "--reason", "no", code=3)
    assert "no event 99" in missing["error"]["message"]


def test_words_that_some_readers_spell_otherwise_are_refused_at_the_command(environ: dict[str, str]) -> None:
    finance = Finance(environ)
    for command in (
        ("halt", "--reason", "debits < credits"),
        ("audit", "set-aside", "--seq", "1", "--reason", "a & b"),
    ):
        assert "contains <, > or &" in finance.json(*command, code=3)["error"]["message"]
    named = finance.json("halt", "--reason", "r", code=3, FINANCE_OPERATOR="a&b")
    assert "FINANCE_OPERATOR" in named["error"]["remedy"]
    with psycopg.connect(environ["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM halts").fetchone() == (0,)


def test_a_drill_that_was_set_aside_is_none(
    environ: dict[str, str], signing: tuple[VerifiedSigner, SignerRegistry]
) -> None:
    url, finance = environ["DATABASE_URL"], Finance(environ)
    payload: dict[str, object] = {
        "drill_id": "d",
        "sound": True,
        "report_hash": HASH,
        "report_sha256": HASH,
        "signer": "k",
        "ways": [],
    }
    leave(url, "api", AuditIntent("drill.completed", "operator:mallory", payload, "t"))
    audit.run_until_idle(lambda: audit.build_notary(environ, *signing))
    with session(role_url(url, "finance_api"), application_name="test") as connection:
        assert newest_sound_drill(connection) is not None
    finance.json("audit", "set-aside", "--seq", "1", "--reason", "no drill was run")
    audit.run_until_idle(lambda: audit.build_notary(environ, *signing))
    with session(role_url(url, "finance_api"), application_name="test") as connection:
        assert newest_sound_drill(connection) is None
