"""A database that was put back gives an event id that came to two shards the verdicts that were reported,
whichever shard reads first; so what is proved and archived agrees, and the ledger goes on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from ledger_core.ports import Record
from ledger_core.postgres.recovery.epochs import begin_epoch
from ledger_core.postgres.session import session
from tests.support import databases
from tests.support.backups import finance
from tests.support.posting_runs import publish, rows
from tests.support.route import Ledger
from tests.support.settlements import event_id, record, settlement
from tests.support.waits import until

pytestmark = pytest.mark.services

IDS = 10
ENTRIES = "SELECT shard, seq, body FROM entries ORDER BY 1, 2"
LINES = "SELECT shard, source_offset, line FROM verdicts ORDER BY 1, 2"
HELD = "SELECT (SELECT count(*) FROM manifests), (SELECT sum(next_offset)::int FROM shards)"


def asked(first: int, shard: int, *, other: bool = False) -> list[Record]:
    """Events of their own, or with the event ids of those and another content."""
    made = [settlement(first + number) for number in range(IDS)]
    if other:
        made = [msgspec.structs.replace(it, settlement_id=f"other-{it.settlement_id}") for it in made]
    return [record(0, it, shard=shard) for it in made]


def run(environ: dict[str, str], records: list[Record]) -> None:
    publish(environ, records)
    finance(environ, "run", "all", "--until-idle")


@pytest.fixture
def past(environ: dict[str, str]) -> Iterator[dict[str, str]]:
    """The settings of the ledger on its database as it was before event ids came to two shards: to shard 1 first, then
    to shard 0; and the other way round."""
    run(environ, [*asked(0, 0), *asked(100, 1)])
    live = environ["DATABASE_URL"]
    copy = databases.create_database(live, urlsplit(live).path.lstrip("/"))
    run(environ, [*asked(1000, 1), *asked(2000, 0)])
    run(environ, [*asked(1000, 0, other=True), *asked(2000, 1, other=True)])
    with session(copy, application_name="test") as connection:
        begin_epoch(
            connection, kind="restore", epoch_id=str(uuid.uuid4()), actor_id="operator:t", reason="lost", trace_id="t"
        )
    name = urlsplit(copy).path.lstrip("/")
    addresses = {key: value for key, value in environ.items() if key.startswith("DATABASE_URL")}
    yield {**environ, **{key: databases.database_at(value, name) for key, value in addresses.items()}}
    databases.drop_database(live, copy)


@pytest.mark.parametrize("first", [0, 1])
def test_a_restored_ledger_tells_again_what_was_told_of_event_ids_that_came_to_two_shards(
    environ: dict[str, str], past: dict[str, str], tmp_path: Path, first: int
) -> None:
    live, back = environ["DATABASE_URL"], past["DATABASE_URL"]
    posted = rows(live, "SELECT shard, count(*) FROM entries WHERE source_offset >= 10 GROUP BY 1 ORDER BY 1")
    assert posted == [(0, IDS), (1, IDS)]
    # Of these nothing was reported yet: they come behind the same ids of the other shard, whose turn may be later.
    publish(past, asked(1000, 0) if first == 0 else asked(2000, 1))
    ledger = Ledger(past, tmp_path)
    processes = [ledger.start(name) for name in ("poster", "prover", "archiver")]
    manifests = rows(live, "SELECT count(*) FROM manifests")[0][0]

    def whole() -> bool:
        for process in processes:
            assert process.running, process.tail()
        return rows(back, HELD) == [(manifests, 7 * IDS)]

    try:
        until("the copy has every manifest", whole)
    finally:
        for process in processes:
            process.stop()
    assert rows(back, ENTRIES) == rows(live, ENTRIES)
    lines = rows(back, LINES)
    assert lines == [line for line in lines if line in rows(live, LINES) or line[1] >= 30]
    fresh = "SELECT DISTINCT shard, reason FROM verdicts WHERE source_offset >= 30"
    assert rows(back, fresh) == [(first, "conflict")]
    assert rows(back, "SELECT count(*) FROM verdicts v JOIN entries e USING (event_id) WHERE v.first_verdict") == [(0,)]
    assert rows(back, "SELECT * FROM halts") == []
    assert rows(back, "SELECT shard FROM entries WHERE event_id = %s", [event_id(1000)]) == [(1,)]

    finance(past, "audit", "restore", "--from", "topic")
    run(past, asked(3000, 0))
    for what in ("ledger", "archive", "audit"):
        assert finance(past, "verify", what)["ok"]
