"""An operator's certificate writes no other operator's name, whatever statement is sent with it."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable

import psycopg
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from psycopg import errors

from finance.workshop.devstack import Stack
from finance.workshop.devstack.authority import Authority, Pair
from ledger_core.postgres.schema import guard
from ledger_core.postgres.schema.authority import MATRIX
from tests.support.command_line import Finance
from tests.support.databases import role_url
from tests.support.payout_acts import approve, close, hold, let_go, payout

INSUFFICIENT_PRIVILEGE = "42501"
OF_THE_ROW = ("23503", "23514", "P0001")  # what else may be wrong with a row of these
TRACE = "ab" * 16
# Table -> a row of it that finance_api may insert, but for whose name it is in.
ROWS = {
    "audit_outbox": "INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id) "
    "VALUES ('dead_letter.retried', %s, '{}', '')",
    "halts": "INSERT INTO halts (reason, actor_id, trace_id) VALUES ('r', %s, '')",
    "halts_lifted": "INSERT INTO halts_lifted (halt_no, reason, actor_id, trace_id) "
    "SELECT max(halt_no), 'r', %s, '' FROM halts",
    "lock_decisions": "INSERT INTO lock_decisions (object_key, reason, actor_id) VALUES ('k', 'r', %s)",
    "time_decisions": "INSERT INTO time_decisions (shard, upto, reason, actor_id) VALUES (0, now(), 'r', %s)",
    "personal_erasures": "INSERT INTO personal_erasures (event_id, reason, actor_id, trace_id) "
    "VALUES ('00000000-0000-0000-0000-000000000001', 'r', %s, '')",
    "personal_approvals": "INSERT INTO personal_approvals (event_id, reason, actor_id, trace_id) "
    "VALUES ('00000000-0000-0000-0000-000000000001', 'r', %s, '')",
    "personal_disclosures": "INSERT INTO personal_disclosures (from_ts, to_ts, fields, reason, actor_id, trace_id) "
    "VALUES ('2025-11-01', '2025-12-01', '{}', 'r', %s, '')",
    "payouts": payout("c", "{}").replace("'operator:{}'", "%s"),
    "payout_approvals": approve("b", "{}").replace("'operator:{}'", "%s"),
    "payout_closings": close("b", "rejected", "{}").replace("'operator:{}'", "%s"),
    "payee_holds": hold("c", "{}").replace("'operator:{}'", "%s"),
    "payee_holds_lifted": let_go("c", "{}").replace("'operator:{}'", "%s"),
    "shard_resumes": f"INSERT INTO shard_resumes (halt_id, reason, actor_id, trace_id) SELECT 0, 'r', %s, '{TRACE}'",
}


# The subject of a certificate, part by part in the order of the certificate: (attribute, value). A text: CN alone.
Subject = str | tuple[tuple[x509.ObjectIdentifier, str], ...]
CN, OU, ORG, COUNTRY = (
    NameOID.COMMON_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.COUNTRY_NAME,
)


def _name(subject: Subject) -> x509.Name:
    parts = ((CN, subject),) if isinstance(subject, str) else subject
    return x509.Name([x509.NameAttribute(attribute, value, _validate=False) for attribute, value in parts])


def writes(table: str) -> bool:
    return "INSERT" in MATRIX[table].get("api", "")


def test_every_table_in_which_an_operator_is_named_asks_for_the_certificate(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        told = guard.describe(connection)
        named = connection.execute(
            "SELECT table_name FROM information_schema.columns "
            "WHERE column_name = 'actor_id' AND table_schema = 'public'"
        ).fetchall()
    asked = set(re.findall(r"BEFORE INSERT ON public\.(\w+) .*refuse_other_operators", "\n".join(told)))
    assert asked == {table for (table,) in named if table in MATRIX and writes(table)} == set(ROWS)


@pytest.fixture(scope="module")
def url(secure_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Subject], str]:
    """The front door's role on the secure stack, by a certificate of that common name."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    Finance({**inherited, **secure_stack.env})("migrate")
    authority, now = Authority(secure_stack.place.tls), dt.datetime.now(dt.UTC)
    folder = tmp_path_factory.mktemp("operators")

    def by(subject: Subject) -> str:
        own = folder / f"{len(list(folder.iterdir()))}"
        own.mkdir()
        pair = Pair(own / "tls.crt", own / "tls.key")
        authority.issue(pair, _name(subject), now - dt.timedelta(hours=1), now + dt.timedelta(hours=1))
        api = role_url(secure_stack.env["DATABASE_URL"], "finance_api")
        return api.replace(str(secure_stack.place.tls / "api"), str(own))

    return by


@pytest.mark.parametrize("table", ROWS)
def test_a_certificate_writes_its_own_name_and_no_other(url: Callable[[Subject], str], table: str) -> None:
    outcomes: dict[str, str | None] = {}
    for name in ("ada", "cfo", "ad", "ada ", "Ada"):
        with psycopg.connect(url("operator.ada")) as connection:
            try:
                if table != "halts":
                    connection.execute(ROWS["halts"], ("operator:ada",))
                connection.execute(ROWS[table], (f"operator:{name}",))
                outcomes[name] = None
            except psycopg.Error as error:
                outcomes[name] = error.sqlstate
            connection.rollback()
    others = {name: state for name, state in outcomes.items() if name != "ada"}
    assert set(others.values()) == {INSUFFICIENT_PRIVILEGE}
    assert outcomes["ada"] in (None, *OF_THE_ROW), "the name was not what is wrong"


MALLORY = "operator.mallory"
COMPANY = ((COUNTRY, "DE"), (ORG, "Example Marketplace Holding GmbH"), (OU, "Payments and Settlements, Europe"))
# Subject -> the one operator in whose name it may write; None: in nobody's.
SUBJECTS: dict[Subject, str | None] = {
    MALLORY: "mallory",
    (*COMPANY, (CN, MALLORY)): "mallory",
    ((CN, MALLORY), *COMPANY): "mallory",
    "operator." + "m" * 50 + "cfo": "m" * 50 + "cfo",
    ((ORG, "x" * 38), (CN, "operator.cfomallory")): "cfomallory",
    ((OU, "a/CN=operator.cfo"), (CN, MALLORY)): None,
    ((OU, "a,CN=operator.cfo"), (CN, MALLORY)): None,
    ((OU, "a+CN=operator.cfo"), (CN, MALLORY)): None,
    ((CN, "operator.cfo"), (CN, MALLORY)): None,
    ((CN, MALLORY), (CN, "operator.cfo")): None,
    ((CN, "api"), (CN, "operator.cfo")): None,
}


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_whatever_the_subject_looks_like_it_names_one_operator_or_none(
    url: Callable[[Subject], str], subject: Subject
) -> None:
    wrote: list[str] = []
    for name in ("mallory", "cfo", "cfomallory", "cfomallor", "m" * 50, "m" * 50 + "cfo"):
        try:
            with psycopg.connect(url(subject)) as connection:
                connection.execute(ROWS["halts"], (f"operator:{name}",))
                wrote.append(name)
                connection.rollback()
        except (psycopg.OperationalError, errors.InsufficientPrivilege):
            continue
    wanted = SUBJECTS[subject]
    assert wrote == ([] if wanted is None else [wanted])


def test_the_front_door_itself_speaks_for_those_whom_it_let_in(url: Callable[[Subject], str]) -> None:
    with psycopg.connect(url("api")) as connection:
        connection.execute(ROWS["halts"], ("operator:cfo",))
        connection.rollback()


@pytest.mark.parametrize("common_name", ["operator", "operator.", "operator.Ada", "xoperator.ada", "marketplace"])
def test_another_certificate_does_not_come_in(url: Callable[[Subject], str], common_name: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        psycopg.connect(url(common_name)).close()
