"""A database and its promoted copy, both alive, each with a notary: the topic holds one event for each seq, and the
notary whose chain it is not ends by saying so. Whatever the older one is about when the newer one leads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from consumers.audit.notary import Notary
from consumers.kafka.watermarks import Watermarks
from finance.workshop.devstack import Stack
from ledger_core.errors import Refused, TakenOver, Unavailable
from tests.simulator.faults import Faults
from tests.support import audit
from tests.support.audit_checks import assert_published
from tests.support.databases import create_database, drop_database
from tests.support.kafka import tls
from tests.support.signing import kms_signer
from tests.support.waits import until

pytestmark = pytest.mark.services

ROOT: Final = Path(__file__).parents[3]
COMMON: Final = 5  # events that both databases have
FORK: Final = "holds another event at seq 6 than this chain"
BEHIND: Final = r"reaches seq \d+, and this chain ends at 5"


class Split:
    """One topic and two databases, the second a copy of the first at its fifth event."""

    def __init__(self, environ: dict[str, str], stack: Stack) -> None:
        self.signer, self.registry = kms_signer(stack.env, "ed25519")
        self.first = environ
        audit.append(environ["DATABASE_URL"], [audit.intent(number) for number in range(COMMON)])
        audit.run_until_idle(lambda: self.notary(environ))
        live = urlsplit(environ["DATABASE_URL"]).path.lstrip("/")
        self.copied = create_database(stack.env["DATABASE_URL"], live)
        self.second = {**environ, "DATABASE_URL": self.copied}

    def notary(self, environ: dict[str, str], **wrapped: Any) -> Notary:
        return audit.build_notary(environ, self.signer, self.registry, **wrapped)

    def append(self, environ: dict[str, str], number: int) -> None:
        audit.append(environ["DATABASE_URL"], [audit.intent(number)])

    def refused(self, environ: dict[str, str], words: str) -> None:
        """A notary of this database leads no more, and says what to do."""
        with closing(self.notary(environ)) as notary, pytest.raises(Refused, match=words) as caught:
            notary.step()
        assert "if two databases live" in caught.value.remedy

    def check_topic(self, environ: dict[str, str]) -> None:
        """Each seq once, and the chain is that of this database."""
        audit.run_until_idle(lambda: self.notary(environ))
        seqs = Counter(int(json.loads(value)["seq"]) for _, value in audit.read_topic(environ))
        assert set(seqs.values()) == {1}, seqs
        assert_published(environ, audit.rows_newest_first(environ["DATABASE_URL"])[::-1])

    def sent(self) -> int:
        """Offsets of the topic that no reader of committed records may see yet."""
        brokers, topic = self.first["KAFKA_BROKERS"], audit.topic_of(self.first)
        with (
            closing(Watermarks(brokers, {**tls(brokers), "isolation.level": "read_uncommitted"})) as written,
            closing(Watermarks(brokers, tls(brokers))) as committed,
        ):
            return written.high(topic, 0) - committed.high(topic, 0)


@pytest.fixture
def split(environ: dict[str, str], stack: Stack) -> Iterator[Split]:
    both = Split(environ, stack)
    yield both
    drop_database(stack.env["DATABASE_URL"], both.copied)


def until_idle(notary: Notary) -> None:
    while notary.step():
        pass


def test_whoever_leads_later_publishes_and_the_older_one_ends(split: Split) -> None:
    with closing(split.notary(split.first)) as older, closing(split.notary(split.second)) as newer:
        until_idle(older)
        until_idle(newer)
        split.append(split.first, 100)
        split.append(split.second, 200)
        until_idle(newer)
        with pytest.raises(TakenOver, match="another writer"):
            until_idle(older)
    split.refused(split.first, FORK)
    split.check_topic(split.second)


def test_an_older_one_that_leads_again_before_anything_was_published_is_then_the_newer(split: Split) -> None:
    """As its supervisor starts it again; whoever publishes first after that binds the other."""
    with closing(split.notary(split.second)) as promoted:
        until_idle(promoted)
        split.append(split.first, 100)
        audit.run_until_idle(lambda: split.notary(split.first))
        split.append(split.second, 200)
        with pytest.raises(TakenOver, match="another writer"):
            until_idle(promoted)
    split.refused(split.second, FORK)
    split.check_topic(split.first)


def test_records_that_were_sent_and_not_committed_are_never_seen(split: Split) -> None:
    with closing(split.notary(split.second)) as newer:

        def lead() -> None:
            until("the event is at the broker", lambda: split.sent() > 0)
            newest = audit.newest_of(split.first, split.registry)
            assert newest is not None
            assert newest.seq == COMMON, "no reader sees it"
            assert len(audit.read_topic(split.first)) == COMMON
            split.append(split.second, 200)
            until_idle(newer)

        split.append(split.first, 100)
        faults = Faults(meanwhile={"flush": lead})
        older = split.notary(split.first, publisher=lambda real: faults.around(real, "kafka"))
        with closing(older), pytest.raises(TakenOver, match="another writer"):
            until_idle(older)
    split.refused(split.first, FORK)
    split.check_topic(split.second)


def test_a_commit_that_was_applied_without_an_answer_binds_the_newer_one(split: Split) -> None:
    split.append(split.first, 100)
    faults = Faults()
    faults.arm("flush", "applied")
    with closing(split.notary(split.first, publisher=lambda real: faults.around(real, "kafka"))) as older:
        with pytest.raises(Unavailable, match="flush, applied"):
            until_idle(older)
        split.refused(split.second, BEHIND)
        split.append(split.second, 200)
        split.refused(split.second, BEHIND)
    audit.run_until_idle(lambda: split.notary(split.first))
    rows = audit.rows_newest_first(split.first["DATABASE_URL"])[::-1]
    assert assert_published(split.first, rows) == 1, "the same event once more, as it may be"


def test_killed_between_the_record_and_its_commit_it_published_nothing(split: Split) -> None:
    split.append(split.first, 100)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.support.notary_process"],
        cwd=ROOT,
        env={**os.environ, **split.first, "NOTARY_STANDS_STILL_BEFORE": "flush"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until("the event is at the broker", lambda: split.sent() > 0)
    finally:
        child.kill()
        child.wait()
    split.append(split.second, 200)
    audit.run_until_idle(lambda: split.notary(split.second))
    split.refused(split.first, FORK)
    split.check_topic(split.second)


def test_a_refused_notary_that_is_started_again_and_again_disturbs_nobody(split: Split) -> None:
    split.append(split.first, 100)
    with closing(split.notary(split.second)) as working:
        for number in range(200, 203):
            split.append(split.second, number)
            until_idle(working)
            split.refused(split.first, BEHIND)
    split.check_topic(split.second)


def test_a_standby_of_the_same_database_fences_nobody(split: Split) -> None:
    with closing(split.notary(split.first)) as leading, closing(split.notary(split.first)) as standby:
        until_idle(leading)
        assert not standby.step()
        split.append(split.first, 100)
        until_idle(leading)
        assert not standby.step()
    split.check_topic(split.first)
