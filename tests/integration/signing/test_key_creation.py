"""`finance rotate create`, from the command's function on: made in the service, told on the chain, once."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

import psycopg
import pytest

from finance.cli.signing.key_options import kernel_copy, key_policy
from finance.guards.probes import probe_registry
from finance.settings.variables import Kind
from finance.signing.key_choice import variables_of
from finance.signing.key_creation import Created, create
from finance.workshop.devstack import Stack
from ledger_core.errors import Refused
from ledger_core.signing.registry_edit import EMPTY
from ledger_core.signing.rotation import CREATED
from producers.signing.key_maker import KeySpec
from tests.support.archive_factory import Key
from tests.support.signer_office import Office

pytestmark = pytest.mark.services
OLD = Key("ed25519", "old-v1")


@pytest.fixture
def office(stack: Stack, database_url: str, tmp_path: Path) -> Office:
    return Office(stack.env, database_url, tmp_path, OLD)


@pytest.fixture
def alias() -> str:
    return f"alias/finance-{uuid.uuid4().hex[:12]}"


def made(office: Office, alias: str, kid: str = "new-v1") -> Created:
    variables = variables_of("kms", alias, kid, "ed25519", None)
    return create(office.desk(), variables, KeySpec("ed25519"), policy=None)


def told(office: Office) -> list[tuple[str, str]]:
    events = office.desk().look().events
    return [(it.text("signer_kid"), it.text("fingerprint")) for it in events if it.event_type == CREATED]


def test_a_key_is_made_and_told_once_and_can_then_be_announced(office: Office, alias: str) -> None:
    first = made(office, alias)
    assert (first.made, first.told) == (True, True)
    assert told(office) == [("new-v1", first.signer.public_key.fingerprint)]
    again = made(office, alias)
    assert (again.made, again.told, again.signer.public_key) == (False, False, first.signer.public_key)
    assert len(told(office)) == 1
    variables = variables_of("kms", alias, "new-v1", "ed25519", None)
    assert office.begin(variables).told
    with pytest.raises(Refused, match="new-v1 is registered already"):
        made(office, alias)
    with pytest.raises(Refused, match="that key is registered as new-v1"):
        made(office, alias, "new-v2")


def test_killed_after_the_key_was_made_the_next_run_tells_of_it(office: Office, alias: str, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("REVOKE INSERT ON audit_outbox FROM finance_api")
        with pytest.raises(Refused, match="may not do that"):
            made(office, alias)
        connection.execute("GRANT INSERT ON audit_outbox TO finance_api")
    assert told(office) == []
    again = made(office, alias)
    assert (again.made, again.told) == (False, True)
    assert told(office) == [("new-v1", again.signer.public_key.fingerprint)]


@pytest.mark.parametrize(
    ("kind", "key", "says"), [("proxy", "https://proxy:8443", "made behind it"), ("local", "key.pem", "private key")]
)
def test_keys_that_are_not_ours_to_make_are_refused_with_who_makes_them(
    office: Office, kind: Kind, key: str, says: str
) -> None:
    variables = variables_of(kind, key, "new-v1", "ed25519", None)
    with pytest.raises(Refused) as refused:
        create(office.desk(), variables, KeySpec("ed25519"), policy=None)
    assert says in str(refused.value)
    assert told(office) == []


def test_in_production_a_kms_key_has_a_policy_and_one_that_is_filled_in(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="may sign with the new key"):
        key_policy(None, "kms", "production")
    assert key_policy(None, "kms", "staging") is None
    assert key_policy(None, "pkcs11", "production") is None
    with pytest.raises(Refused, match="filled in"):
        key_policy(Path("deploy/kms/key-policy-ledger.json"), "kms", "production")
    filled = tmp_path / "policy.json"
    filled.write_text('{"Version": "2012-10-17", "Statement": []}')
    assert key_policy(filled, "kms", "production") == filled.read_text()
    filled.write_text("not JSON")
    with pytest.raises(Refused, match="not a key policy"):
        key_policy(filled, "kms", "production")


def test_in_production_kernel_s_own_copy_is_wanted_and_a_setting_remembers_it(office: Office, tmp_path: Path) -> None:
    settings = dataclasses.replace(office.settings, env="production")
    with pytest.raises(Refused, match="whether Kernel has the key") as refused:
        kernel_copy(None, settings, needed=True)
    assert "KERNEL_SIGNERS_FILE" in refused.value.remedy
    assert kernel_copy(None, settings, needed=False) is None
    assert kernel_copy(None, office.settings, needed=True) is None, "a dev ledger has no Kernel"
    copy = tmp_path / "kernel.json"
    known = dataclasses.replace(settings, values={**settings.values, "KERNEL_SIGNERS_FILE": str(copy)})
    assert kernel_copy(None, known, needed=True) == copy
    assert kernel_copy(office.signers, known, needed=True) == office.signers
    topology = office.desk().topology
    copy.write_bytes(EMPTY)
    (fault,) = probe_registry(dataclasses.replace(known, env="dev"), topology, "prover").faults
    assert "kernel.json does not have old-v1" in fault.message
    copy.write_bytes(office.signers.read_bytes())
    probed = probe_registry(dataclasses.replace(known, env="dev"), topology, "prover")
    assert probed.faults == ()
    assert "compared with" in probed.evidence
