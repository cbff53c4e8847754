"""What the development stack decides without servers: names, ports, state, the registry, and refusals."""

from __future__ import annotations

import datetime as dt
import json
import random
import socket
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from finance.workshop.devstack import ports, signers
from finance.workshop.devstack.environment import variables
from finance.workshop.devstack.state import KeyRecord, StackPlace, State
from ledger_core.errors import Refused
from tests.support import containers
from tests.support.databases import role_url

NOW = dt.datetime(2025, 11, 1, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize("name", ["", "Dev", "a/b", "..", "-x", "x" * 42])
def test_a_name_that_is_no_plain_directory_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="lower-case letters"):
        StackPlace(tmp_path, name)


def test_state_comes_back_as_it_was_saved_and_is_private(tmp_path: Path) -> None:
    place = StackPlace(tmp_path, "dev")
    state = State(services=["kms"], ports={"kms": 20000}, keys=[KeyRecord("k-v1", "id", "ed25519")])
    place.save(state)
    assert place.load() == state
    assert stat.S_IMODE(place.state_file.stat().st_mode) == 0o600


def test_a_broken_state_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    place = StackPlace(tmp_path, "dev")
    place.path.mkdir()
    place.state_file.write_text("{")
    with pytest.raises(Refused, match="finance dev reset --name dev"):
        place.load()


def test_a_port_in_use_is_never_picked() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not ports.is_free(listener.getsockname()[1])
    seed = 7
    first = ports.pick(set(), random.Random(seed))
    assert ports.pick({first}, random.Random(seed)) != first


def test_a_replaced_key_stays_in_the_registry_as_retired(tmp_path: Path) -> None:
    registry = tmp_path / "signers.json"
    for kid, replaces in (("k-v1", None), ("k-v2", "k-v1")):
        der = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )  # fmt: skip
        signers.register(registry, kid, "ed25519", der, NOW, replaces)
    old, new = json.loads(registry.read_text())["signers"]
    assert (old["signer_kid"], old["retiredAt"]) == ("k-v1", "2025-11-01T12:00:00Z")
    assert (new["signer_kid"], new.get("retiredAt")) == ("k-v2", None)


def test_a_part_of_a_stack_sets_only_its_own_variables(tmp_path: Path) -> None:
    state = State(services=["postgres"], ports={"postgres": 20000})
    env = variables(StackPlace(tmp_path, "dev"), state)
    assert env["DATABASE_URL_POSTER"] == "postgresql://finance_poster@127.0.0.1:20000/finance"
    assert not any(name.startswith(("KAFKA", "S3", "KMS", "AUDIT")) for name in env)


def test_a_role_url_changes_the_user_only() -> None:
    url = "postgresql://postgres@127.0.0.1:5432/finance"
    assert role_url(url, "finance_api") == "postgresql://finance_api@127.0.0.1:5432/finance"


def test_containers_without_docker_are_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(Refused, match="start the Docker engine"):
        containers.ContainerStack.up("test-none", tmp_path)
    assert not (tmp_path / "test-none").exists()
