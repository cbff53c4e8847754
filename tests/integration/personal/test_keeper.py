"""The keeper on real servers: what it keeps, what it refuses, and what nobody can make it do to another one's data."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from consumers.metrics import NullMetrics
from ledger_core.errors import Unavailable
from tests.simulator.faults import Faults, Mode
from tests.support.personal import (
    WAITING_DAYS,
    digest,
    erasure,
    keep_until,
    keeper,
    kept,
    post,
    read_to,
    record,
    refused,
    rows,
    say,
    waiting,
)
from tests.support.settlements import event_id
from tests.support.waits import until

pytestmark = pytest.mark.services

ENTRIES = 5


def is_kept(url: str, *numbers: int) -> bool:
    return set(kept(url)) == {event_id(n) for n in numbers}


@pytest.mark.parametrize("order", ["data first", "event first"])
def test_data_are_kept_with_their_event_whichever_comes_first(environ: dict[str, str], order: str) -> None:
    url = environ["DATABASE_URL"]
    if order == "event first":
        post(url, 1, digest(1))
    say(environ, record(1))
    if order == "data first":
        keep_until(environ, lambda: waiting(url) == 1)
        assert kept(url) == {}
        post(url, 1, digest(1))
    keep_until(environ, lambda: is_kept(url, 1))
    assert kept(url)[event_id(1)] == b'{"buyer":"Zoe 1"}'
    assert refused(url) == []


@pytest.mark.parametrize("posted", [False, True], ids=["before the event", "behind the event"])
def test_a_stranger_who_writes_under_anothers_event_id_replaces_nothing(environ: dict[str, str], posted: bool) -> None:
    """Wrong data before and behind the right ones, and an empty record: the entry's digest decides."""
    url = environ["DATABASE_URL"]
    if posted:
        post(url, 1, digest(1))
    say(environ, record(1, "Mallory"), record(1), record(1, "Eve"), erasure(1))
    keep_until(environ, lambda: read_to(url) == 4)
    if not posted:
        assert waiting(url) == 3
        post(url, 1, digest(1))
    keep_until(environ, lambda: is_kept(url, 1) and waiting(url) == 0)
    assert kept(url) == {event_id(1): b'{"buyer":"Zoe 1"}'}
    assert refused(url) == [
        (0, "other_digest", digest(1, "Mallory")),
        (2, "other_digest", digest(1, "Eve")),
        (3, "not_decided", None),
    ]


def test_a_flood_under_one_event_id_leaves_the_newest_few(environ: dict[str, str]) -> None:
    """Whoever guesses an event id beforehand does not keep the shop's own record out."""
    url = environ["DATABASE_URL"]
    say(environ, *(record(1, f"Mallory {i}") for i in range(100)), record(1))
    keep_until(environ, lambda: read_to(url) == 101)
    assert waiting(url) == 8
    assert {reason for _, reason, _ in refused(url)} == {"crowded_out"}
    post(url, 1, digest(1))
    keep_until(environ, lambda: is_kept(url, 1) and waiting(url) == 0)


def test_no_bad_record_stops_it_or_leaves_its_content_anywhere(environ: dict[str, str]) -> None:
    url = environ["DATABASE_URL"]
    key, value = record(1)
    assert value is not None
    bad = [
        (key, b""),
        (key, b'{"buyer": "Zoe in JSON"}'),
        (key, value + b"x"),
        (key, value[:-1]),
        (record(2)[0], value),
        (b"", value),
        (b"\xff\xfe", None),
        (key, bytes(900_000)),
        (key, value[:5] + b"\x06abc" + value[42:]),
    ]
    post(url, 1, digest(1))
    say(environ, *bad, record(1))
    keep_until(environ, lambda: is_kept(url, 1))
    assert [reason for _, reason, _ in refused(url)] == [
        *("unknown_schema", "unknown_schema", "malformed", "malformed", "key_mismatch", "key_mismatch"),
        *("key_mismatch", "oversize", "bad_field"),
    ]
    assert {found for _, _, found in refused(url)} == {None}


def test_an_entry_without_a_digest_keeps_no_data_whatever_its_metadata_say(environ: dict[str, str]) -> None:
    """The publisher's own pairs can be spelled as the entry's fields are, and are not taken for them."""
    url = environ["DATABASE_URL"]
    told = digest(1).hex()
    pairs = f'{{"a":"}},","occurred_at":"x","order_id":"y","pii_digest":"{told}"}}'
    post(url, 1, None, metadata=pairs)
    post(url, 2, digest(2), metadata=pairs)
    say(environ, record(1), record(2))
    keep_until(environ, lambda: is_kept(url, 2) and read_to(url) == 2)
    assert refused(url) == [(0, "other_digest", digest(1))]


def test_data_whose_event_never_comes_go_after_their_time(environ: dict[str, str]) -> None:
    url = environ["DATABASE_URL"]
    say(environ, record(1), record(2))
    keep_until(environ, lambda: waiting(url) == 2)
    with psycopg.connect(url) as connection:
        late = f"UPDATE personal_data SET received_at = now() - interval '{WAITING_DAYS + 1} days' WHERE event_id = %s"
        connection.execute(late.encode(), [event_id(1)])
    keep_until(environ, lambda: waiting(url) == 1)
    assert refused(url) == [(0, "no_event", digest(1))]
    with psycopg.connect(url) as connection:
        connection.execute(
            f"UPDATE personal_refused SET refused_at = now() - interval '{WAITING_DAYS + 1} days'".encode()
        )
    keep_until(environ, lambda: refused(url) == [])


@pytest.mark.parametrize("call", ["known", "write", "waiting", "settle", "forget", "prune"])
@pytest.mark.parametrize("mode", ["not applied", "applied"])
def test_whatever_fails_once_everything_is_kept_once(environ: dict[str, str], call: str, mode: Mode) -> None:
    url = environ["DATABASE_URL"]
    for n in range(1, ENTRIES + 1):
        post(url, n, digest(n))
    say(environ, *(record(n) for n in range(1, ENTRIES + 1)), record(1, "Mallory"))
    say(environ, record(7), erasure(7), partition=1)
    faults = Faults()
    faults.arm(call, mode)
    with closing(keeper(environ, lambda store: faults.around(store, "postgres"), 2)) as one, pytest.raises(Unavailable):
        until("it fails", lambda: False, between=one.step)
    wanted = range(1, ENTRIES + 1)
    keep_until(environ, lambda: is_kept(url, *wanted) and read_to(url) == ENTRIES + 1 and read_to(url, 1) == 2)
    assert [(reason, found) for _, reason, found in refused(url)] == [
        ("other_digest", digest(1, "Mallory")),
        ("not_decided", None),
    ]
    assert waiting(url) == 1


def test_what_waits_is_told_with_its_age(environ: dict[str, str]) -> None:
    """An alert on the age of what waits is for this process too."""
    say(environ, *(record(n) for n in range(1, 4)))
    told = Lags()
    keep_until(environ, lambda: read_to(environ["DATABASE_URL"]) == 3, batch_records_max=1, metrics=told)
    ages = [seconds for partition, records, seconds in told.lags if (partition, records) in ((0, 1), (0, 2))]
    assert ages
    assert all(seconds > 0 for seconds in ages)
    assert (0, 0, 0.0) in told.lags


class Lags(NullMetrics):
    def __init__(self) -> None:
        self.lags: list[tuple[int, int, float]] = []

    def lag(self, shard: int, records: int, seconds: float) -> None:
        self.lags.append((shard, records, seconds))


def test_two_keepers_share_the_partitions_and_neither_keeps_twice(environ: dict[str, str]) -> None:
    url = environ["DATABASE_URL"]
    for n in range(1, ENTRIES + 1):
        post(url, n, digest(n))
    for partition in (0, 1):
        say(environ, *(record(n) for n in range(1, ENTRIES + 1)), partition=partition)
    with closing(keeper(environ)) as one, closing(keeper(environ)) as other:
        until(
            "both are done",
            lambda: read_to(url) == read_to(url, 1) == ENTRIES and is_kept(url, *range(1, ENTRIES + 1)),
            between=lambda: (one.step(), other.step()),
        )
    assert len(rows(url, "SELECT FROM personal_data")) == ENTRIES


def test_a_keeper_that_was_frozen_writes_nothing_over_its_successor(environ: dict[str, str]) -> None:
    """Its batch comes too late: the cursor has moved, and nothing of it is written."""
    url = environ["DATABASE_URL"]
    say(environ, record(1), record(2))

    def successor() -> None:
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO personal_cursors VALUES (0, 2)")

    faults = Faults(meanwhile={"write": successor})
    with closing(keeper(environ, lambda store: faults.around(store, "postgres"))) as frozen:
        until("it wakes up", lambda: read_to(url) == 2, between=frozen.step)
    assert rows(url, "SELECT FROM personal_data") == []
    say(environ, record(3))
    keep_until(environ, lambda: waiting(url) == 1)
