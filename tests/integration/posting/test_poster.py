"""The poster on real Kafka and Postgres: what is posted, answered, dead-lettered, relayed, halted and resumed."""

from __future__ import annotations

import msgspec
import psycopg
import pytest

from consumers.posting import relay_backlog
from consumers.posting.poster import PosterLimits
from ledger_core.books.entries import decode_entry
from ledger_core.errors import Refused, Unavailable
from ledger_core.ports import Record
from ledger_core.postgres.posting import control
from ledger_core.postgres.posting.shard_halts import Decision, decide, open_halts
from ledger_core.postgres.session import session
from producers.kafka.publisher import KafkaPublisher
from schemas.wire.journal import decode_journal
from schemas.wire.outcomes import decode_outcome
from schemas.wire.records import Outcome
from tests.simulator.faults import Faults
from tests.support.heavy_events import set_compression
from tests.support.kafka import tls
from tests.support.mixed_events import mixed
from tests.support.plain_ledger import plain, written
from tests.support.posting_runs import (
    NO_LIMIT,
    SeesHalts,
    balances,
    check_journal,
    check_ledger,
    is_done,
    new_poster,
    post_all,
    post_undisturbed,
    publish,
    read_topic,
    rows,
    step_until,
    tables,
    topic_of,
)
from tests.support.settlements import TOPIC, event_id, record, sale, settlement

pytestmark = pytest.mark.services


def _outcomes(environ: dict[str, str], shard: int = 0) -> list[Outcome]:
    """In order of source offset: inside a batch what is posted is told first."""
    told = [decode_outcome(r.value or b"") for r in read_topic(environ, topic_of(environ, "outcomes"), shard)]
    return sorted(told, key=lambda outcome: outcome.offset)


def test_event_becomes_entry_lines_balances_journal_record_and_outcome(environ: dict[str, str]) -> None:
    fields = settlement(1, lines=sale(10_000), pii_digest="ab" * 32, provider=("stripe", "ch_1", 10_000, "USD"))
    publish(environ, [record(0, fields)])
    post_all(environ)
    dsn = environ["DATABASE_URL"]
    ((seq, body, entry_hash),) = rows(dsn, "SELECT seq, body, entry_hash FROM entries")
    entry = decode_entry(body)
    assert (seq, entry.event_id, entry.settlement_id) == (1, event_id(1), "st-1")
    assert entry.source.offset == "0"
    assert entry.pii_digest == "ab" * 32
    expected = plain("""
        dr asset:psp:stripe            100.00 USD
        cr liability:payable:seller-42  99.97 USD
        cr revenue:fees                  0.03 USD
    """)
    assert written(entry.lines) == expected
    assert balances(dsn) == expected
    (told,) = read_topic(environ, topic_of(environ, "journal"), 0)
    journal = decode_journal(told.value or b"")
    assert (journal.body, journal.entry_hash, journal.seq) == (body, entry_hash, 1)
    (outcome,) = _outcomes(environ)
    assert outcome == Outcome(event_id(1), "st-1", "posted", None, None, 0, 0, 1, entry_hash)
    check_ledger(dsn)


def test_repeats_get_the_same_answer_and_changed_content_is_a_conflict_that_names_the_fields(
    environ: dict[str, str],
) -> None:
    changed = settlement(1, lines=sale(20_000), order_id="order-other", occurred_at_us=5)
    publish(
        environ,
        [
            record(0, settlement(1)),
            record(0, settlement(1, occurred_at_us=7)),  # the time is not content
            record(0, changed),
            record(0, settlement(2, reverses=event_id(1))),
            record(0, settlement(3, reverses=event_id(99))),
            record(0, settlement(3, reverses=event_id(99))),
        ],
    )
    post_all(environ)
    told = [(o.verdict, o.reason, o.seq) for o in _outcomes(environ)]
    assert told == [
        ("posted", None, 1),
        ("duplicate", "already_posted", 1),
        ("rejected", "conflict", None),
        ("posted", None, 2),
        ("rejected", "unknown_reversal", None),
        ("rejected", "unknown_reversal", None),
    ]
    assert _outcomes(environ)[2].detail == (
        "event id is posted already (shard 0, seq 1) with other content: lines, order_id"
    )
    first = rows(environ["DATABASE_URL"], "SELECT source_offset FROM verdicts WHERE first_verdict")
    assert first == [(4,)]


def test_once_rejected_an_event_id_stays_rejected(environ: dict[str, str]) -> None:
    unbalanced = settlement(1, lines=sale()[:2])
    publish(environ, [record(0, unbalanced), record(0, settlement(1)), record(0, unbalanced)])
    post_all(environ)
    assert [o.reason for o in _outcomes(environ)] == ["unbalanced", "conflict", "unbalanced"]
    assert rows(environ["DATABASE_URL"], "SELECT count(*) FROM entries") == [(0,)]


def test_dead_letters_carry_the_original_and_why(environ: dict[str, str]) -> None:
    value, headers = b"\x00\xff\x00not avro", (("trace", b"\x00\xff"), ("trace", None), ("naïve", b""))
    publish(environ, [Record(TOPIC, 1, 0, 0, b"\xff\x00key", value, headers), Record(TOPIC, 1, 0, 0, None, None, ())])
    post_all(environ)
    letter, empty = read_topic(environ, topic_of(environ, "settlements.dlq"), 1)
    assert (letter.key, letter.value, letter.headers[:3]) == (b"\xff\x00key", value, headers)
    added = dict(letter.headers[3:])
    assert added["finance.reason"] == b"unknown_schema"
    assert (added["finance.partition"], added["finance.offset"]) == (b"1", b"0")
    assert added["finance.topic"] == topic_of(environ, "settlements").encode()
    assert (empty.key, empty.value, dict(empty.headers)["finance.reason"]) == (None, None, b"malformed")


def test_original_too_large_for_the_dead_letter_topic_stays_whole_in_postgres(environ: dict[str, str]) -> None:
    """Before the brokers counted what a batch unpacks to, three megabytes of zeros got in."""
    from producers.kafka.publisher import KafkaPublisher

    brokers, topic = environ["KAFKA_BROKERS"], topic_of(environ, "settlements")
    set_compression(brokers, topic, "producer")
    publisher = KafkaPublisher(brokers, {**tls(brokers), "message.max.bytes": 10_000_000})
    publisher.publish(topic, 0, key=b"k", value=bytes(3_000_000))
    publisher.flush(300)
    publisher.close()
    set_compression(brokers, topic, "uncompressed")
    publish(environ, [record(0, settlement(1))])
    post_all(environ)
    (letter,) = read_topic(environ, topic_of(environ, "settlements.dlq"), 0)
    assert (letter.value, dict(letter.headers)["finance.reason"]) == (None, b"oversize")
    assert b"finance dlq show 0 0" in (dict(letter.headers)["finance.omitted"] or b"")
    assert rows(environ["DATABASE_URL"], "SELECT length(value) FROM dead_letters") == [(3_000_000,)]
    assert [o.verdict for o in _outcomes(environ)] == ["rejected", "posted"]


def test_one_event_id_in_two_shards_is_posted_once_and_a_conflict_once(environ: dict[str, str]) -> None:
    publish(environ, [record(0, settlement(1), shard=0), record(0, settlement(1), shard=1)])
    post_all(environ)
    verdicts = sorted((o.verdict, o.reason) for shard in (0, 1) for o in _outcomes(environ, shard))
    assert verdicts == [("posted", None), ("rejected", "conflict")]
    check_ledger(environ["DATABASE_URL"])


def test_batch_cuts_change_no_row_of_any_table(environ: dict[str, str], other_database: str) -> None:
    publish(environ, mixed(1_200, 11))
    post_all(environ)
    post_undisturbed(environ, other_database, limits=msgspec.structs.replace(NO_LIMIT, batch_records_max=17))
    expected, found = tables(environ["DATABASE_URL"]), tables(other_database)
    assert len(expected["entries"]) > 900
    assert len(expected["verdicts"]) > 100
    for table in expected:
        assert found[table] == expected[table], table
    check_ledger(other_database)
    check_journal(environ, environ["DATABASE_URL"])


def test_what_was_committed_but_not_published_is_published_by_the_next_owner(environ: dict[str, str]) -> None:
    """As after a crash between COMMIT and the first publication: with the answers that were due."""
    publish(environ, [record(0, settlement(1)), record(0, settlement(1)), Record(TOPIC, 0, 0, 0, b"k", b"x", ())])
    dsn = environ["DATABASE_URL_POSTER"]
    faults, brokers = Faults(), environ["KAFKA_BROKERS"]
    faults.arm("publish", "not applied")  # as a crash would
    first = new_poster(environ, publisher=faults.around(KafkaPublisher(brokers, tls(brokers)), "kafka"))
    with pytest.raises(Unavailable):
        step_until(first, lambda: False)
    first.close()
    assert rows(dsn, "SELECT next_offset, relayed_offset FROM shards WHERE shard = 0") == [(3, 0)]
    assert _outcomes(environ) == []
    post_all(environ)
    posted, repeated, rejected = _outcomes(environ)
    assert (posted.verdict, posted.seq, posted.settlement_id) == ("posted", 1, "st-1")
    assert (repeated.verdict, repeated.seq, repeated.settlement_id) == ("duplicate", 1, "st-1")
    assert (rejected.verdict, rejected.reason) == ("rejected", "malformed")
    check_journal(environ, dsn)


def test_a_shard_whose_journal_was_lost_is_published_again_in_pieces_while_another_posts(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_backlog, "PIECE_OFFSETS_MAX", 10)
    dsn = environ["DATABASE_URL"]
    publish(environ, mixed(1000, 5))
    post_all(environ)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # as a rebuild writes it that found no journal
        connection.execute("UPDATE shards SET relayed_offset = first_offset WHERE shard = 0")
    publish(environ, mixed(100, 6, first=5000))
    state = "SELECT relayed_offset < 500, next_offset FROM shards ORDER BY shard"
    poster = new_poster(environ)
    step_until(poster, lambda: rows(dsn, state)[1][1] == 550)
    assert rows(dsn, state)[0] == (True, 500), "shard 0 posts nothing before it caught up, and holds nobody up"
    step_until(poster, lambda: rows(dsn, state)[0] == (False, 550))
    poster.close()
    check_ledger(dsn)
    check_journal(environ, dsn)


def test_halt_stops_posting_at_once_and_resume_loses_nothing(environ: dict[str, str]) -> None:
    publish(environ, mixed(400, 3))
    dsn, admin = environ["DATABASE_URL_POSTER"], environ["DATABASE_URL"]
    metrics = SeesHalts()
    poster = new_poster(environ, limits=msgspec.structs.replace(NO_LIMIT, batch_records_max=50), metrics=metrics)
    try:
        step_until(poster, lambda: rows(dsn, "SELECT sum(next_offset) > 0 FROM shards") == [(True,)])
        control.halt(admin, reason="a test", actor_id="operator:test", trace_id="t")
        stopped = rows(dsn, "SELECT sum(next_offset) FROM shards")
        step_until(poster, lambda: metrics.halt_seen)
        for _ in range(20):
            poster.step()
        assert rows(dsn, "SELECT sum(next_offset) FROM shards") == stopped
        publish(environ, mixed(100, 4, first=400))
        control.resume(admin, reason="a test", actor_id="operator:test", trace_id="t")
        step_until(poster, lambda: is_done(environ, dsn))
    finally:
        poster.close()
    assert rows(dsn, "SELECT sum(next_offset)::int FROM shards") == [(500,)]
    check_ledger(admin)


def test_beyond_the_dead_letter_limit_the_shard_is_halted_and_what_an_operator_allowed_passes(
    environ: dict[str, str],
) -> None:
    """Otherwise one batch of bad records would halt again at every resume, for ever."""
    publish(environ, [Record(TOPIC, 0, 0, 0, b"k", b"bad", ()) for _ in range(30)])
    dsn, admin = environ["DATABASE_URL_POSTER"], environ["DATABASE_URL"]
    limits = PosterLimits(dead_letters_max=10, dead_letter_window_records=100, slow_seconds=0.01)
    ended = "(SELECT FROM shard_resumes r WHERE r.halt_id = h.halt_id)"
    halted = f"SELECT kind, at_offset, detail FROM shard_halts h WHERE NOT EXISTS {ended}"
    poster = new_poster(environ, limits=limits)
    try:
        step_until(poster, lambda: bool(rows(admin, halted)))
        for _ in range(20):
            poster.step()
        assert rows(admin, halted) == [
            ("dead_letters", 10, "dead-letter limit: 11 of the last 11 records were rejected, more than 10")
        ]
        assert rows(admin, "SELECT count(*) FROM verdicts") == [(10,)]
        assert rows(admin, "SELECT count(*) FROM halts") == [(0,)]
        with session(environ["DATABASE_URL_API"], application_name="test") as connection:
            (found,) = open_halts(connection)
        decided = Decision(halt=found, actor_id="operator:test", reason="seen", trace_id="0" * 32, allowed_offset=30)
        decide(environ["DATABASE_URL_API"], decided)
        with pytest.raises(Refused, match="meanwhile"):
            decide(environ["DATABASE_URL_API"], decided)
        step_until(poster, lambda: is_done(environ, dsn))
        publish(environ, [Record(TOPIC, 0, 0, 0, b"k", b"bad again", ()) for _ in range(11)])
        step_until(poster, lambda: bool(rows(admin, halted)))
    finally:
        poster.close()
    assert rows(admin, "SELECT count(*) FROM verdicts") == [(40,)]


def test_idle_poster_notes_what_is_relayed_and_a_stopped_one_leaves_nothing_to_repeat(environ: dict[str, str]) -> None:
    publish(environ, mixed(300, 5))
    dsn = environ["DATABASE_URL_POSTER"]
    poster = new_poster(environ, limits=msgspec.structs.replace(NO_LIMIT, batch_records_max=300))
    step_until(poster, lambda: rows(dsn, "SELECT sum(next_offset) = 300 FROM shards") == [(True,)])
    poster.close()
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert connection.execute("SELECT 1 FROM shards WHERE relayed_offset < next_offset").fetchall() == []
