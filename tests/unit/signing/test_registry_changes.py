"""Changing a registry that others share, replacing its file whole, and reading a rotation from the chain."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from finance.signing.changes import end
from finance.signing.desk import Look
from finance.signing.key_choice import check_clock
from finance.signing.reach import cut, reach
from finance.wiring import registry_file
from finance.wiring.registry_file import change_registry, read_registry
from ledger_core.audit.events import AuditEvent, next_event
from ledger_core.errors import Refused
from ledger_core.ports import AuditIntent
from ledger_core.postgres.signing.signer_uses import SignerUse
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry, write_signer
from ledger_core.signing.registry_edit import EMPTY, diff, with_signers
from ledger_core.signing.rotation import EVENT_TYPE, SignerEvent, announcement, must_be_signed_by, rotations
from ledger_core.signing.validity import NOTHING, Interval, Validity
from ledger_core.verify.audit import check_audit
from tests.support.archive_factory import Key

OLD, NEW = Key("ed25519", "old-v1"), Key("ed25519", "new-v1")
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def signer(key: Key, **fields: Any) -> RegisteredSigner:
    return dataclasses.replace(RegisteredSigner(key.kid, "ed25519", key.public, NOW), **fields)


THEIRS = {**write_signer(signer(OLD)), "owner": "kernel", "signer_kid": "theirs"}


@pytest.mark.parametrize(
    "document",
    [{"signers": [THEIRS], "note": 1}, [THEIRS], {"theirs": THEIRS}, {"signers": {"theirs": THEIRS}}],
    ids=["object", "array", "map", "object of a map"],
)
def test_signers_of_others_and_unknown_fields_stay_in_every_shape(document: object) -> None:
    data = json.dumps(document).encode()
    once = with_signers(data, [signer(NEW)])
    kept = SignerRegistry.from_json(once, foreign=True)
    assert {it.kid for it in kept.signers} == {"theirs", NEW.kid}
    assert b'"owner": "kernel"' in once
    retired = with_signers(once, [signer(NEW, retired_at=NOW, validity=Validity({}, NOTHING))])
    assert SignerRegistry.from_json(retired, foreign=True).get(NEW.kid).validity == Validity({}, NOTHING)
    assert with_signers(retired, [signer(NEW)]) == once, "and back again"
    assert with_signers(once, [signer(NEW)]) is once, "twice changes nothing"
    assert f'"signer_kid": "{NEW.kid}"' in diff(data, once, "signers.json")


def test_a_kid_is_never_given_to_another_key() -> None:
    with pytest.raises(ValueError, match="another key"):
        with_signers(with_signers(EMPTY, [signer(OLD)]), [dataclasses.replace(signer(NEW), kid=OLD.kid)])


def test_the_file_is_the_old_one_or_the_new_one_whenever_it_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "signers.json"
    change_registry(path, lambda data: with_signers(data, [signer(OLD)]))
    before = path.read_bytes()
    path.chmod(0o640)

    def killed(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            change_registry(path, lambda data: with_signers(data, [signer(NEW)]))
    assert path.read_bytes() == before
    assert [it.name for it in tmp_path.iterdir()] == ["signers.json"], "nothing is left behind"
    change_registry(path, lambda data: with_signers(data, [signer(NEW)]), dry_run=True)
    assert path.read_bytes() == before
    change_registry(path, lambda data: with_signers(data, [signer(NEW)]))
    assert {it.kid for it in read_registry(path).signers} == {OLD.kid, NEW.kid}
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "signers.json"
    path.write_bytes(b'{"signers": [')
    with pytest.raises(Refused, match="cannot be read"):
        change_registry(path, lambda data: with_signers(data, [signer(NEW)]))
    assert path.read_bytes() == b'{"signers": ['
    with pytest.raises(Refused, match="cannot be read"):
        change_registry(tmp_path / "nowhere" / "signers.json", lambda data: data)
    assert registry_file.unreadable(path, ValueError("x")).remedy


def payload(outgoing: Key = OLD, incoming: Key = NEW) -> dict[str, object]:
    return announcement(
        signer(outgoing),
        signer(incoming),
        rotation_id="1",
        overlap=dt.timedelta(days=7),
        incoming_variables={"AUDIT_SIGNING_KID": incoming.kid},
        outgoing_variables={},
    )


def chain(*steps: tuple[Key, dict[str, object]]) -> list[AuditEvent]:
    prev, events = None, []
    for number, (key, said) in enumerate(steps):
        intent = AuditIntent(EVENT_TYPE, "operator:alice", said, "ab" * 16)
        prev = next_event(prev, intent, event_id=f"e{number}", created_at=NOW)
        events.append(prev.signed(key.sign_digest(prev.digest), key.registry.get(key.kid)))
    return events


KIDS = {"outgoing_kid": OLD.kid, "incoming_kid": NEW.kid}
BOTH = SignerRegistry([signer(OLD), signer(NEW)])


def test_an_announcement_by_the_outgoing_key_is_sound_and_carries_the_new_one() -> None:
    events = chain((OLD, payload()), (NEW, {"step": "deployed", "rotation_id": "1", **KIDS}))
    assert check_audit(events, BOTH).sound
    pem = str(events[0].payload["incoming_public_key_pem"])
    assert type(NEW.public).parse(pem) == NEW.public, "whoever has the old key alone learns the new one"


@pytest.mark.parametrize(
    ("events", "field"),
    [
        (chain((NEW, payload())), "signer_kid"),
        (chain((NEW, {"step": "x"}), (OLD, payload())), "incoming_kid"),
        (chain((OLD, {**payload(), "incoming_fingerprint": "00" * 32})), "incoming_fingerprint"),
    ],
    ids=["by the new key itself", "after it signed", "another key"],
)
def test_an_announcement_that_proves_nothing_is_found(events: list[AuditEvent], field: str) -> None:
    found = [(it.code, it.field) for it in check_audit(events, BOTH).findings]
    assert ("audit.rotation", field) in found


def test_only_an_operator_s_announcement_chooses_the_key_that_signs() -> None:
    assert must_be_signed_by(AuditIntent(EVENT_TYPE, "operator:a", payload(), "t")) == OLD.kid
    assert must_be_signed_by(AuditIntent(EVENT_TYPE, "service:poster", payload(), "t")) is None
    assert must_be_signed_by(AuditIntent(EVENT_TYPE, "operator:a", {**payload(), "step": "proved"}, "t")) is None
    assert must_be_signed_by(AuditIntent("ledger.halted", "operator:a", payload(), "t")) is None
    assert must_be_signed_by(AuditIntent(EVENT_TYPE, "operator:a", {**payload(), "outgoing_kid": 3}, "t")) is None


def test_a_rotation_is_read_from_the_chain_and_what_is_none_is_passed_over() -> None:
    def event(step: str, rotation_id: str = "1") -> SignerEvent:
        said = {**payload(), "step": step, "rotation_id": rotation_id}
        return SignerEvent(EVENT_TYPE, "operator:a", said, NOW)

    stray = SignerEvent("signer.retired", "operator:a", {"rotation_id": "1", "step": "retired"}, NOW)
    (one,) = rotations([event("deployed", "2"), event("announced"), event("no step"), stray, event("deployed")])
    assert (one.step, one.open, one.leaving, one.staying) == ("deployed", True, OLD.kid, NEW.kid)
    assert one.overlap == dt.timedelta(days=7)
    (back,) = rotations([event("announced"), event("deployed"), event("rolling_back")])
    assert (back.open, back.leaving, back.staying) == (True, NEW.kid, OLD.kid)


USES = [
    SignerUse("proof", "a", 0, 10, 40, 4),
    SignerUse("manifest", "a", 0, 10, 30, 3),
    SignerUse("range without proof", "a", 1, 7, 7, 1),
    SignerUse("operator proof", "a", 2, 5, 9, 1),
    SignerUse("audit event", "a", None, 3, 8, 6),
]


def test_a_key_counts_for_exactly_what_it_signed() -> None:
    found = reach(USES)
    assert found.shards == {0: Interval(10, 40), 1: Interval(7, 7), 2: Interval(10, 9)}
    assert found.audit == Interval(3, 8)
    assert reach([]) == Validity({}, NOTHING)


def test_a_revoked_key_is_cut_earlier_and_never_later() -> None:
    found = cut(reach(USES), {0: 20}, 5)
    assert found.shard(0) == Interval(10, 20)
    assert found.audit == Interval(3, 5)
    assert 5 not in cut(reach(USES), {0: 4}, None).shard(0)
    with pytest.raises(Refused, match="up to seq 40"):
        cut(reach(USES), {0: 41}, None)


def test_a_key_that_is_over_keeps_its_time_and_an_emergency_key_ends_early() -> None:
    past, ahead = NOW - dt.timedelta(days=1), NOW + dt.timedelta(hours=2)
    assert end(signer(OLD, retired_at=past), Validity(), NOW).retired_at == past
    assert end(signer(OLD, retired_at=ahead), Validity(), NOW).retired_at == NOW


@pytest.mark.parametrize(("ahead_ms", "later_ms"), [(-5, 0), (0, 1), (5, 6)])
def test_a_key_ends_behind_the_newest_audit_event_that_it_signed(ahead_ms: int, later_ms: int) -> None:
    """Behind a burst that event is dated ahead of the clock: an earlier end would make it a finding for ever."""
    look = Look((), {}, (), NOW + dt.timedelta(milliseconds=ahead_ms))
    assert look.ending(NOW) == NOW + dt.timedelta(milliseconds=later_ms)
    assert Look((), {}, ()).ending(NOW) == NOW


def test_a_revocation_is_never_undone_by_a_registry_that_does_not_know_of_it() -> None:
    revoked = signer(OLD, retired_at=NOW, revoked_at=NOW, validity=Validity({}, NOTHING))
    copy = with_signers(EMPTY, [revoked])
    assert SignerRegistry.from_json(copy).get(OLD.kid) == revoked
    with pytest.raises(ValueError, match=r"old-v1 is revoked there"):
        with_signers(copy, [signer(OLD, retired_at=NOW)])
    with pytest.raises(ValueError, match="could sign still"):
        signer(OLD, revoked_at=NOW)


@pytest.mark.parametrize("field", ["retiredAt", "revokedAt", "retired_at"])
def test_an_end_that_is_not_understood_is_refused_and_never_passed_over(field: str) -> None:
    item = {**write_signer(signer(OLD)), field: 1767225600}
    with pytest.raises(ValueError, match=OLD.kid):
        SignerRegistry.from_json(json.dumps([item]).encode())


def test_a_clock_that_is_wrong_is_refused() -> None:
    check_clock(NOW, NOW + dt.timedelta(seconds=59))
    with pytest.raises(Refused, match=r"\+61 s"):
        check_clock(NOW + dt.timedelta(seconds=61), NOW)
