"""Posting rules that change in the topic, on real servers: two posters, a replay with and without a log, a restart."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumers.posting import decision, stops
from finance.workshop.devstack import Stack
from ledger_core.books.entries import decode_entry
from ledger_core.books.rule_versions import VERSIONS
from ledger_core.errors import Unavailable
from ledger_core.ports import Record
from ledger_core.postgres.posting.poster_store import PosterStore
from ledger_core.posting.activation import RulesJudge
from ledger_core.posting.plans import ShardHead
from ledger_core.signing.registry import SignerRegistry
from schemas.wire.outcomes import decode_outcome
from tests.support.control_records import KEY, control
from tests.support.poster_world import Told
from tests.support.posting_runs import (
    check_journal,
    check_ledger,
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
from tests.support.replay_runs import empty_database, replay
from tests.support.settlements import record, sale, settlement

pytestmark = pytest.mark.services


@pytest.fixture
def environ(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """With a signers.json that holds the key of the control records."""
    (tmp_path / "signers.json").write_bytes(KEY.registry.to_json())
    return environ | {"FINANCE_SIGNERS": str(tmp_path / "signers.json")}


def judge_of(environ: dict[str, str]) -> RulesJudge:
    return RulesJudge(environ["FINANCE_ENV"], KEY.registry)


def ours(environ: dict[str, str], rules: int = 2, shard: int = 0) -> Record:
    """A control record of this very topic."""
    return control(0, rules, shard=shard, env=environ["FINANCE_ENV"], topic=topic_of(environ, "settlements"))


def bgn(n: int, shard: int = 0) -> Record:
    """An event that only rules 2 let pass."""
    return record(0, settlement(n, lines=sale(currency="BGN")), shard=shard)


def usd(n: int, shard: int = 0) -> Record:
    return record(0, settlement(n), shard=shard)


def mixed_topic(environ: dict[str, str]) -> None:
    """Offsets of shard 0: 0 posts, 1 does not yet, 2 activates, 3 and 4 post, 5 is stale, 6 forged, 7 posts."""
    stranger = control(0, 3, env=environ["FINANCE_ENV"], topic="another")
    publish(environ, [usd(1), bgn(2), ours(environ), bgn(3), usd(4), ours(environ), stranger, bgn(5)])
    publish(environ, [usd(11, 1), bgn(12, 1)])  # the other shard keeps rules 1


def in_force(dsn: str) -> dict[int, int]:
    return dict(rows(dsn, "SELECT shard, rules FROM shards"))


def reasons(dsn: str, shard: int = 0) -> list[tuple[int, str]]:
    return rows(dsn, "SELECT source_offset, reason FROM verdicts WHERE shard = %s ORDER BY 1", [shard])


def test_rules_change_at_an_offset_of_one_shard_and_every_replay_says_the_same(
    environ: dict[str, str], stack: Stack, other_database: str
) -> None:
    mixed_topic(environ)
    post_all(environ, judge=judge_of(environ))
    dsn = environ["DATABASE_URL"]
    assert in_force(dsn) == {0: 2, 1: 1}
    assert reasons(dsn) == [(1, "bad_currency"), (2, "rules_2"), (5, "bad_rules"), (6, "bad_rules")]
    assert reasons(dsn, 1) == [(1, "bad_currency")]
    bodies = [body for (body,) in rows(dsn, "SELECT body FROM entries WHERE shard = 0 ORDER BY seq")]
    assert [decode_entry(body).rules for body in bodies] == [1, 2, 2, 2]
    assert rows(dsn, "SELECT shard, source_offset FROM dead_letters ORDER BY 1, 2") == [(0, 1), (0, 5), (0, 6), (1, 1)]
    told = [decode_outcome(it.value or b"") for it in read_topic(environ, topic_of(environ, "outcomes"), 0)]
    (activation,) = (it for it in told if it.offset == 2)
    assert (activation.verdict, activation.reason, activation.event_id) == ("rejected", "rules_2", None)
    assert "operator:ada: BGN is back" in (activation.detail or "")
    check_ledger(dsn)
    check_journal(environ, dsn)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="put in force by no record"):
        psycopg.connect(dsn, autocommit=True).execute("UPDATE shards SET rules = 3 WHERE shard = 0")

    post_undisturbed(environ, other_database, judge=judge_of(environ))
    assert tables(other_database) == tables(dsn)

    assert replay(environ)["ok"], "beside the live ledger"
    for source in ("database", "nothing"):
        target = empty_database(
            stack.env["DATABASE_URL"], f"rules_{source}_{environ['FINANCE_TOPIC_PREFIX'][:8]}".strip(".")
        )
        assert replay(environ, "--into", target, "--compare", source)["is_ledger"]
        assert tables(target) == tables(dsn)
    what_if = replay(environ, "--rules", "1", exit_code=1)
    assert not what_if["is_ledger"]


def test_a_key_that_is_revoked_for_a_time_before_changes_no_verdict_that_a_log_holds(environ: dict[str, str]) -> None:
    mixed_topic(environ)
    post_all(environ, judge=judge_of(environ))
    (signer,) = KEY.registry.signers
    long_ago = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    ended = SignerRegistry([dataclasses.replace(signer, retired_at=long_ago, revoked_at=long_ago)])
    Path(environ["FINANCE_SIGNERS"]).write_bytes(ended.to_json())
    assert replay(environ)["ok"]


class Dying(PosterStore):
    """Its process dies with the first batch: before the commit, or behind it, with nothing relayed."""

    def __init__(self, dsn: str, *, behind: bool) -> None:
        super().__init__(dsn)
        self._behind = behind

    @contextmanager
    def batch(self, head: ShardHead, *, alone: bool) -> Iterator[Any]:
        with super().batch(head, alone=alone) as tx:
            yield tx
            if not self._behind:
                raise Unavailable("postgres", "killed before the commit")
        raise Unavailable("postgres", "killed behind the commit")


def test_a_poster_that_dies_around_the_activation_leaves_what_an_undisturbed_one_leaves(
    environ: dict[str, str], other_database: str
) -> None:
    mixed_topic(environ)
    post_undisturbed(environ, other_database, judge=judge_of(environ))
    for behind in (False, True, True):
        store = Dying(environ["DATABASE_URL_POSTER"], behind=behind)
        poster = new_poster(environ, store=store, judge=judge_of(environ))
        with pytest.raises(Unavailable, match="killed"):
            step_until(poster, lambda: False)
        poster.close()
    post_all(environ, judge=judge_of(environ))
    assert tables(environ["DATABASE_URL"]) == tables(other_database)
    check_ledger(environ["DATABASE_URL"])
    check_journal(environ, environ["DATABASE_URL"])


def test_a_process_that_lacks_the_rules_stands_with_that_shard_alone_and_a_newer_one_goes_on(
    environ: dict[str, str], other_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed_topic(environ)
    told = Told()
    with monkeypatch.context() as old:
        for module in (decision, stops):
            old.setattr(module, "VERSIONS", {1: VERSIONS[1]})
        poster = new_poster(environ, judge=judge_of(environ), metrics=told)
        dsn = environ["DATABASE_URL"]
        heads = "SELECT shard, next_offset, rules FROM shards ORDER BY shard"
        step_until(poster, lambda: rows(dsn, heads) == [(0, 3, 2), (1, 2, 1)])
        for _ in range(5):
            poster.step()
        assert rows(dsn, heads) == [(0, 3, 2), (1, 2, 1)], "it stands behind the activation, on record"
        assert told.in_force == {0: (2, False), 1: (1, True)}
        assert rows(dsn, "SELECT shard FROM shard_halts") == [], "nobody has to end this by hand"
        publish(environ, [usd(13, 1)])
        step_until(poster, lambda: rows(dsn, heads)[1] == (1, 3, 1))
        poster.close()
    post_all(environ, judge=judge_of(environ))
    post_undisturbed(environ, other_database, judge=judge_of(environ))
    assert tables(dsn) == tables(other_database)


# What anybody who may publish can put into a record that claims to be a control record; nobody signed it.
NAMES = ("\\u0000", "\\u0001\\u001b[2J", "\\u202e", "\\n", "\\ud83d\\ude00", "\u00e9", "\x7f", "x" * 8_100)
HOSTILE = (
    *(f'{{"{name}":1,"says":"finance.rules.v1"}}'.encode() for name in NAMES),
    *(f'{{"alg":"{name}","says":"finance.rules.v1"}}'.encode() for name in NAMES),
    b'{"says":"finance.rules.v1","\xff":1}',
    b'{"says":"finance.rules.v1","reason":' + b"[" * 4_000,
    b'{"says":"finance.rules.v1","rules":1e999}',
    b'{"says":"finance.rules.v1"' + b" " * 900_000 + b"}",
)


def test_no_word_of_a_record_that_nobody_signed_stops_its_shard(environ: dict[str, str]) -> None:
    """Each is a dead letter, with a reason that every text column, header and terminal can hold."""
    records = [it for n, value in enumerate(HOSTILE) for it in (usd(n), record(0, value=value))]
    publish(environ, [*records, usd(len(HOSTILE))])
    post_all(environ, judge=judge_of(environ))
    dsn = environ["DATABASE_URL"]
    assert [reason for _, reason in reasons(dsn)] == ["bad_rules"] * len(HOSTILE)
    details = [detail for (detail,) in rows(dsn, "SELECT detail FROM verdicts")]
    assert all(detail.isprintable() and len(detail) <= 1000 for detail in details)
    assert rows(dsn, "SELECT seq FROM shards WHERE shard = 0") == [(len(HOSTILE) + 1,)]
    check_ledger(dsn)
    check_journal(environ, dsn)
