"""The archive as the memory of control records: which of them counted is in its verdict lines."""

from __future__ import annotations

from consumers.recovery.archive_log import ArchiveLog
from ledger_core.posting.verdicts import VerdictLine, encode_verdict
from ledger_core.verify.oracle import verify_archive
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of
from tests.support.journal_factory import TinyShard

KEY = Key("ed25519")


def of_offsets(shard: TinyShard, reason: str) -> TinyShard:
    """One more offset with a verdict of that reason on the record's bytes."""
    line = VerdictLine(content_hash="ab" * 32, offset=str(shard.next_offset), reason=reason, verdict="rejected")
    shard.verdicts[shard.next_offset] = encode_verdict(line)
    shard.next_offset += 1
    return shard


def test_the_archive_says_which_control_records_counted_as_far_as_it_reaches() -> None:
    shard = of_offsets(of_offsets(TinyShard().post(2), "rules_2"), "bad_rules").post(1, rules=2)
    store = MemoryStore()
    archive_of(shard, [(3, 5)], KEY, store)
    log = ArchiveLog(store, ENV, KEY.registry)
    assert [log.activated(0, offset) for offset in range(6)] == [False, False, True, False, False, None]
    assert log.activated(7, 0) is None, "of a shard that it does not have"
    assert verify_archive(store, ENV, KEY.registry).sound


def test_entries_and_control_records_of_an_archive_that_disagree_are_found() -> None:
    wrong = {
        "too early": TinyShard().post(1, rules=2),
        "too late": of_offsets(TinyShard().post(1), "rules_2").post(1),
        "a version skipped": of_offsets(TinyShard().post(1), "rules_3"),
        "taken back": of_offsets(of_offsets(TinyShard(), "rules_2").post(1, rules=2), "rules_2").post(1, rules=2),
    }
    for shard in wrong.values():
        store = MemoryStore()
        archive_of(shard, [(len(shard.entries), shard.next_offset)], KEY, store)
        report = verify_archive(store, ENV, KEY.registry)
        assert {found.code for found in report.findings} == {"range.rules"}, report.findings
