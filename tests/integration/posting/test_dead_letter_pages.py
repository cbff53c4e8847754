"""Pages of rejected records: all of them once, in order, and no more read than shown, whatever stands between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import psycopg
import pytest

from ledger_core.errors import RejectReason
from ledger_core.postgres.reading import dead_letters
from ledger_core.postgres.reading.dead_letters import DeadLetter, Place
from ledger_core.postgres.session import Session, session
from tests.support.databases import role_url

pytestmark = pytest.mark.services

OFFSETS: Final = 60_000  # of each shard: one in a thousand is rejected, one in four a marker, the others repeats
LARGE: Final = 3 * 1024 * 1024
FILL: Final = """
INSERT INTO verdicts (shard, source_offset, verdict, reason, first_verdict, detail, line)
SELECT shard, n, CASE WHEN n % 1000 = 7 OR n % 4 = 0 THEN 'rejected' ELSE 'duplicate' END,
       CASE WHEN n % 1000 = 7 THEN (ARRAY['malformed', 'conflict', 'unbalanced'])[1 + n / 1000 % 3]
            WHEN n % 4 = 0 THEN 'no_record' ELSE '' END, false, '', ''
  FROM generate_series(0, 2) AS shard, generate_series(0, %(offsets)s - 1) AS n"""
SHARDS: Final = """
INSERT INTO shards (shard, topic, first_offset, next_offset, seq, duplicates, rejected, relayed_offset)
SELECT n, 'finance.settlements', 0, %(offsets)s, 0, %(offsets)s - 15060, 15060, %(offsets)s
  FROM generate_series(0, 2) AS n"""


@pytest.fixture
def api(database_url: str) -> Iterator[Session]:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(SHARDS, {"offsets": OFFSETS})
        owner.execute(FILL.replace("% ", "%% "), {"offsets": OFFSETS})
        owner.execute("ANALYZE verdicts")
    with session(role_url(database_url, "finance_api"), application_name="test") as connection:
        yield connection


def all_pages(api: Session, limit: int, reason: str = "", shard: int | None = None) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    after: Place | None = None
    while True:
        page = dead_letters.page(api, reason=reason, shard=shard, after=after, limit=limit)
        assert 0 < len(page.letters) <= limit
        found += page.letters
        if page.end is None:
            return found
        after = page.end


@pytest.mark.parametrize(("shard", "reason"), [(None, "conflict"), (1, "conflict"), (2, ""), (None, "")])
def test_pages_hold_every_rejected_record_once_and_in_order(api: Session, shard: int | None, reason: str) -> None:
    wanted = api.execute(
        "SELECT shard, source_offset FROM verdicts WHERE verdict = 'rejected' AND (%s = '' OR reason = %s) "
        "AND shard BETWEEN %s AND %s ORDER BY shard, source_offset DESC",
        (reason, reason, shard or 0, 2 if shard is None else shard),
    ).fetchall()
    found = all_pages(api, 7 if reason else 9_000, reason, shard)
    assert [(letter.shard, letter.source_offset) for letter in found] == wanted
    assert dead_letters.total(api) == 3 * 15_060


def read_rows(api: Session) -> int:
    """Rows of verdicts that this session has read so far, by index or not."""
    row = api.execute(
        "SELECT coalesce(sum(idx_tup_fetch), 0) + coalesce(sum(seq_tup_read), 0) FROM pg_stat_xact_user_tables "
        "WHERE relname = 'verdicts'"
    ).fetchone()
    return 0 if row is None else int(row[0])


def test_a_page_reads_no_more_than_it_shows(api: Session) -> None:
    with api.transaction():
        page = dead_letters.page(api, reason="conflict", after=Place(1, 30_000), limit=5)
        assert len(page.letters) == 5
        assert dead_letters.newest_offsets(api, shard=2, reason="malformed", limit=5) == sorted(
            letter.source_offset for letter in dead_letters.page(api, shard=2, reason="malformed", limit=5).letters
        )
        assert 10 <= read_rows(api) < 100


def test_counts_are_those_of_each_reason_up_to_a_limit(api: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dead_letters.counts(api) == {"no_record": 45_000, "conflict": 60, "malformed": 60, "unbalanced": 60}
    monkeypatch.setattr(dead_letters, "COUNT_MAX", 50)
    assert dead_letters.counts(api) == {"conflict": 50, "malformed": 50, "no_record": 50, "unbalanced": 50}


def test_a_page_holds_a_bounded_weight_of_originals(api: Session, database_url: str) -> None:
    offsets = [letter.source_offset for letter in dead_letters.page(api, shard=0, reason="conflict", limit=10).letters]
    with psycopg.connect(database_url, autocommit=True) as owner:
        for offset in offsets:
            owner.execute(
                "INSERT INTO dead_letters (shard, source_offset, topic, timestamp_ms, value) "
                "VALUES (0, %s, 't', 0, %s)",
                (offset, bytes(LARGE)),
            )
    page = dead_letters.page(api, shard=0, reason="conflict", limit=10)
    assert [letter.source_offset for letter in page.letters] == offsets[:3]
    assert page.end == Place(0, offsets[2])
    assert [len(piece) for piece in dead_letters.pieces(api, 0, sorted(offsets))] == [3, 3, 3, 1]


def test_every_reason_is_asked_for(api: Session) -> None:
    assert sorted(dead_letters.REASONS) == sorted(RejectReason)
