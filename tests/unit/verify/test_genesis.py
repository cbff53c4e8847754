"""How a shard begins in an archive, and what a verdict line may say."""

from __future__ import annotations

import ast
import inspect

import msgspec
import pytest

from ledger_core.posting.verdicts import check_verdict
from ledger_core.verify.oracle import verify_archive
from tests.support.archive_factory import ENV, ArchiveMaker, Key, MemoryStore, archive_of, closed_of, cut_of
from tests.support.journal_factory import TinyShard

KEY = Key("ed25519")


def test_a_first_range_that_does_not_begin_at_offset_0_lacks_what_was_before() -> None:
    store = MemoryStore()
    archive_of(TinyShard(first_offset=1_000).post(3), [(3, 1_003)], KEY, store)
    report = verify_archive(store, ENV, KEY.registry)
    assert [(f.code, f.field) for f in report.findings] == [("range.source.first_offset", "source.first_offset")]
    assert "recomputed 0" in report.findings[0].message


def test_a_first_range_that_claims_a_proof_before_it_is_no_first_range() -> None:
    store, shard = MemoryStore(), TinyShard().post(3)
    cut = cut_of(shard, None, 3, 3)
    maker = ArchiveMaker(store, KEY)
    maker.add(closed_of(cut, shard, KEY, 1, "ab" * 32), [item.body for item in shard.entries], ())
    report = verify_archive(store, ENV, KEY.registry)
    assert {found.code for found in report.findings} == {"range.prev_proof_hash"}


HASH = {"content_hash": "ab" * 32}
RECORD = {"key_sha256": "cd" * 32, "value_sha256": "5e" * 32}
NAMED = {"event_id": TinyShard().post(1).entries[0].entry.event_id}
LINES: list[tuple[dict[str, str], str]] = [
    ({"verdict": "rejected", "reason": "whim", **HASH}, "not the reason of a rejection"),
    ({"verdict": "rejected", "reason": "malformed", **HASH, "event_id": "sale-1"}, "not a lower-case uuid"),
    ({"verdict": "rejected", "reason": "malformed", "content_hash": "AB" * 32}, "64 lower-case hex digits"),
    (
        {"verdict": "duplicate", "reason": "already_posted", **HASH, **NAMED, **RECORD, "offset": "+3"},
        "not a decimal integer",
    ),
    ({"verdict": "duplicate", "reason": "same_content", **HASH, **NAMED}, "not the reason of a duplicate"),
    ({"verdict": "duplicate", "reason": "already_posted", **HASH}, "event_id is missing"),
    ({"verdict": "duplicate", "reason": "already_posted", **NAMED}, "content_hash is missing"),
    ({"verdict": "rejected", "reason": "conflict", **HASH}, "event_id is missing"),
    ({"verdict": "rejected", "reason": "unknown_reversal", **HASH}, "event_id is missing"),
    ({"verdict": "rejected", "reason": "unbalanced", **NAMED}, "content_hash is missing"),
    ({"verdict": "rejected", "reason": "no_record", **HASH}, "an offset of which nothing was read"),
    ({"verdict": "rejected", "reason": "no_record", **NAMED}, "an offset of which nothing was read"),
    ({"verdict": "rejected", "reason": "no_record", "key_sha256": "cd" * 32}, "an offset of which nothing was read"),
    ({"verdict": "rejected", "reason": "unreadable", "value_sha256": "5e" * 32}, "an offset of which nothing was read"),
    ({"verdict": "rejected", "reason": "malformed", **HASH, "key_sha256": "CD" * 32}, "key_sha256 is not 64"),
    ({"verdict": "rejected", "reason": "malformed", **HASH, "value_sha256": ""}, "value_sha256 is not 64"),
    ({"verdict": "duplicate", "reason": "already_posted", **HASH, **NAMED}, "key_sha256 or value_sha256 is missing"),
    ({"verdict": "rejected", "reason": "rules_2", **HASH, **NAMED}, "a control record has no event_id"),
    ({"verdict": "rejected", "reason": "rules_2"}, "content_hash is missing"),
    ({"verdict": "rejected", "reason": "rules_1", **HASH}, "not the reason of a rejection"),
    ({"verdict": "duplicate", "reason": "rules_2", **HASH, **NAMED}, "not the reason of a duplicate"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "words"), LINES)
def test_a_verdict_that_posting_cannot_have_given_is_found(line: dict[str, str], words: str) -> None:
    store, shard = MemoryStore(), TinyShard().post(3).silence(1)
    closed = closed_of(cut_of(shard, None, 3, 4), shard, KEY, 1, None)
    shard.verdicts[3] = msgspec.json.encode({"offset": "3", **line}, order="sorted")
    ArchiveMaker(store, KEY).add(closed, [item.body for item in shard.entries], shard.verdict_lines(0, 4))
    report = verify_archive(store, ENV, KEY.registry)
    assert any(f.code == "verdict.form" and words in f.message for f in report.findings), report.findings


def test_every_rule_on_verdicts_has_a_row() -> None:
    fixed = [
        [str(part.value) for part in (words.values if isinstance(words, ast.JoinedStr) else [words])
         if isinstance(part, ast.Constant)]
        for node in ast.walk(ast.parse(inspect.getsource(check_verdict)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ValueError"
        for words in node.args
    ]  # fmt: skip
    assert [words for words in fixed if not any(told in "".join(words) for _, told in LINES)] == []
