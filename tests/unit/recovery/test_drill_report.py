"""A drill's report says one thing, under one signature; its page escapes whatever a damaged object held."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from finance.recovery.drill.page import page_of
from finance.recovery.drill.report import (
    DrillPayload,
    DrillShardResult,
    Step,
    WayResult,
    assemble_report,
    finding_of,
    line,
    parse_report,
    verify_report,
)
from ledger_core.findings import Finding
from tests.support.archive_factory import Key
from tests.support.audit_factory import audit_events

KEY = Key("ed25519")
EVIL = '<script>alert("1")</script>\x00\n\u202eend'


def way(*findings: Finding, **changes: Any) -> WayResult:
    fields: dict[str, Any] = {
        "way": "archive",
        "sources": ("s3://finance-audit",),
        "steps": (Step(name="rebuild", phase="restore", milliseconds="1500", done="3000", unit="entries"),),
        "shards": (shard("7", "3000"), shard("0", "0")),
        "audit": None,
        "balances": (),
        "keys": (),
        "counts": {"entries": "3000"},
        "findings": tuple(map(finding_of, findings)),
        "findings_beyond_max": "0",
        "sound": not findings,
    }
    return WayResult(**{**fields, **changes})


def shard(behind: str, milliseconds: str | None) -> DrillShardResult:
    return DrillShardResult(
        shard=0,
        seq="10",
        next_offset="10",
        head_hash="ab" * 32,
        root="cd" * 32,
        root_size="10",
        live_seq="17",
        live_next_offset="17",
        behind_entries=behind,
        behind_offsets=behind,
        behind_milliseconds=milliseconds,
    )


def signed(*ways: WayResult, sound: bool | None = None) -> bytes:
    payload = DrillPayload(
        version=1,
        service="finance",
        statement="drill",
        env="dev",
        drill_id="20251101T031700Z-0a1b2c3d",
        actor_id="operator:ada",
        started_at="2025-11-01T03:17:00.000000Z",
        ts="2025-11-01T03:18:00.000000Z",
        ways=ways,
        sound=all(it.sound for it in ways) if sound is None else sound,
        signer_kid=KEY.kid,
        alg="ed25519",
    )
    return assemble_report(payload, KEY.sign_digest(payload.digest()))


def test_a_report_verifies_and_any_changed_byte_is_found() -> None:
    data = signed(way())
    assert verify_report(data, KEY.registry).sound
    assert verify_report(data + b"\n", KEY.registry).sound
    for at in range(0, len(data), 7):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert not verify_report(changed, KEY.registry).sound, at
    assert not verify_report(data, Key("ed25519", "another-key").registry).sound


def test_a_chain_that_does_not_hold_the_report_or_is_not_sound_is_no_place_for_it() -> None:
    data, other = signed(way()), audit_events(KEY)
    chain = b"".join(event.to_json() + b"\n" for event in other)
    codes = [
        [it.code for it in verify_report(data, KEY.registry, audit_lines=it).findings] for it in (chain, chain[:-1])
    ]
    assert codes == [["drill.record"], ["audit.form"]]


@pytest.mark.parametrize("changes", [{"sound": False}, {"findings": (finding_of(Finding("a.b", "c")),)}])
def test_a_way_that_contradicts_itself_cannot_be_built(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sound exactly when"):
        way(**changes)


def test_a_drill_is_not_sound_when_one_of_its_ways_is_not() -> None:
    with pytest.raises(ValueError, match="sound exactly when"):
        signed(way(), way(Finding("a.b", "c")), sound=True)


def test_what_a_damaged_object_held_neither_breaks_the_report_nor_runs_in_the_page() -> None:
    report = parse_report(signed(way(Finding("archive.form", EVIL * 100, shard=1, seq=-1, field="x", place=EVIL))))
    page = page_of(report, "drill.json", "ef" * 32)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert report.hash in page
    assert len(report.ways[0].findings[0].message) <= 1000
    assert msgspec.json.encode(line(EVIL)).isascii()


def test_the_page_says_how_far_behind_and_how_long() -> None:
    page = page_of(parse_report(signed(way())), "drill.json", "ef" * 32)
    assert "7 entries, 7 offsets, 3.0 s" in page
    assert "2,000 entries/s" in page
    assert "Exit code 0" in page
    assert "Exit code 1" in page_of(parse_report(signed(way(Finding("a.b", "c")))), "drill.json", "ef" * 32)
