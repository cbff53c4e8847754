"""What commands about keys see in a real database before they change anything, and that they come one at a time."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from finance.signing import changes, rotation
from finance.signing.desk import Look
from finance.workshop.devstack import Stack
from ledger_core.errors import Refused
from ledger_core.postgres.signing.signer_uses import SignerUse, only_changer, open_signer_uses
from ledger_core.signing.rotation import EVENT_TYPE, rotations, step_payload
from ledger_core.signing.validity import Interval
from tests.simulator.ledger import MemoryLedger
from tests.simulator.tiny_shards import add_shard
from tests.support.archive_factory import Key
from tests.support.audit_factory import audit_events
from tests.support.databases import role_url
from tests.support.journal_factory import TinyShard
from tests.support.ledger_writer import write_audit, write_ledger
from tests.support.signer_office import Office

pytestmark = pytest.mark.services

OLD, NEW = Key("ed25519", "old-v1"), Key("ed25519", "new-v1")


@pytest.fixture
def api_url(database_url: str) -> str:
    """Two shards: the prover of shard 0 has the new key, that of shard 1 was not restarted, and signed earlier."""
    ledger = MemoryLedger()
    add_shard(ledger, TinyShard(shard=1).post(4), [(2, 2), (4, 4)], OLD)
    add_shard(ledger, TinyShard(shard=0).post(6), [(3, 3), (6, 6)], NEW)
    write_ledger(database_url, ledger)
    write_audit(database_url, audit_events(NEW, 3))
    return role_url(database_url, "finance_api")


def look(api_url: str) -> Look:
    with open_signer_uses(api_url) as held:
        return Look(held.newest(), held.waiting(), held.events())


def test_a_key_that_signs_in_one_shard_still_has_not_left_though_another_s_proof_is_newer(api_url: str) -> None:
    seen = look(api_url)
    assert seen.notary_kid == NEW.kid
    with pytest.raises(Refused, match=r"still signed by old-v1: the newest proof of shard 1\."):
        seen.check_left(OLD.kid, idle=False)
    seen.check_left(OLD.kid, idle=True)
    with pytest.raises(Refused, match=r"the newest audit event and proof of shard 0"):
        seen.check_left(NEW.kid, idle=False)
    with pytest.raises(Refused, match=r"audit event\.") as refused:
        seen.check_left(NEW.kid, idle=True)
    assert "rotate" in refused.value.remedy


def test_ranges_that_wait_for_a_key_hold_it_back_whatever_the_operator_says(api_url: str, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM proofs WHERE shard = 1 AND range_no = 2")
    seen = look(api_url)
    assert seen.waiting == {OLD.kid: 1}
    with pytest.raises(Refused, match="1 closed ranges wait for a signature of old-v1"):
        seen.check_left(OLD.kid, idle=True)


def test_all_that_a_key_signed_is_counted_and_of_one_key_nothing_else(api_url: str) -> None:
    with open_signer_uses(api_url) as held:
        assert held.uses(OLD.kid) == [
            SignerUse("checkpoint", OLD.kid, 1, 2, 4, 2),
            SignerUse("proof", OLD.kid, 1, 2, 4, 2),
        ]
        everything = held.uses()
    assert {it.kid for it in everything} == {OLD.kid, NEW.kid}
    assert SignerUse("audit event", NEW.kid, None, 1, 3, 3) in everything


def test_a_revocation_ends_where_a_range_ends_and_pins_the_head_there(api_url: str, office: Office) -> None:
    made = TinyShard(shard=1).post(4)
    with pytest.raises(Refused, match="up to seq 4 of shard 1, not to 5"):
        changes.revoke(office.desk(), OLD.kid, "lost", {1: 5}, None, idle=True)
    for _ in range(2):  # the second time after a crash
        changes.revoke(office.desk(), OLD.kid, "lost", {1: 3}, None, idle=True)
        validity = office.registered(OLD.kid).validity
        assert validity is not None
        assert validity.shards == {1: Interval(2, 2, made.entries[1].entry_hash.hex())}
    with pytest.raises(Refused, match="up to seq 2"):
        changes.revoke(office.desk(), OLD.kid, "or not", {1: 4}, None, idle=True)


def test_two_operators_change_signers_one_after_the_other(api_url: str) -> None:
    with (
        only_changer(api_url),
        pytest.raises(Refused, match="another command is changing signers"),
        only_changer(api_url),
    ):
        raise AssertionError("both came in")
    with only_changer(api_url):
        pass  # the first is done, and the lock with it


@pytest.fixture
def office(stack: Stack, database_url: str, tmp_path: Path) -> Office:
    return Office(stack.env, database_url, tmp_path, OLD)


def test_a_rotation_begun_on_another_machine_is_gone_on_with_and_never_with_another_key(office: Office) -> None:
    before = office.signers.read_bytes()
    assert office.begin(office.variables(NEW)).told
    office.signers.write_bytes(before)  # this machine's copy of the registry knows nothing of it
    rotation.rollback(office.desk(), "to see")
    with pytest.raises(Refused, match="new-v1 is not in") as refused:
        rotation.finish(office.desk(), early=None, idle=False)
    assert "FINANCE_SIGNERS" in refused.value.remedy


def test_a_key_that_was_announced_cannot_be_exchanged_for_another(office: Office) -> None:
    before = office.signers.read_bytes()
    office.begin(office.variables(NEW))
    office.signers.write_bytes(before)
    other = Key("ed25519", "other")
    other.kid = NEW.kid
    with pytest.raises(Refused, match="announced with another key"):
        office.begin(office.variables(other))
    again = office.begin(office.variables(NEW))
    assert not again.told
    assert NEW.kid in again.diff, "and the registry here holds it again"


def test_a_step_that_was_done_and_not_heard_of_is_answered_with_what_it_is(office: Office) -> None:
    office.begin(office.variables(NEW))
    assert rotation.rollback(office.desk(), "mistake").told
    ended = rotation.finish(office.desk(), early=None, idle=False)
    assert (ended.step, ended.told) == ("rolled_back", True)
    kept = office.signers.read_bytes()
    again = rotation.finish(office.desk(), early=None, idle=False)
    assert (again.step, again.told) == ("rolled_back", False)
    assert office.signers.read_bytes() == kept


def test_a_rollback_never_brings_a_revoked_key_back(office: Office) -> None:
    begun = office.begin(office.variables(NEW)).rotation
    desk = office.desk()
    (current,) = rotations(desk.look().events)
    assert current.rotation_id == begun.rotation_id
    for step in ("deployed", "proved", "retired"):
        desk.tell(EVENT_TYPE, step_payload(current, step, {}))
    changes.revoke(desk, OLD.kid, "token lost", {}, None, idle=False)
    revoked = office.registered(OLD.kid)
    assert revoked.revoked_at is not None
    with pytest.raises(Refused, match="old-v1 was ended by something else than this rotation"):
        rotation.rollback(office.desk(), "why not")
    assert office.registered(OLD.kid) == revoked
    again = changes.retire(office.desk(), OLD.kid, "tidy up", idle=False)
    assert again.diff == "", "nor does retiring it make it count for more"
