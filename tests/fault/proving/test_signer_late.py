"""A key service that is away when the processes start: ranges close all the same, and are signed once it comes up.

KMS stands behind a relay that is not there at first. Every proof is cosigned, RSA beside Ed25519: two keys are late.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace

from finance.settings.key_file import read_keys, to_toml
from finance.workshop.devstack import Stack
from tests.support.key_tables import in_a_file
from tests.support.route import Ledger
from tests.support.signing import kms_admin
from tests.support.waits import until

pytestmark = pytest.mark.services
LIMITS = {"range_entries_max": 50, "range_idle_seconds": 1, "retry_delay_ms_max": 2000}
EVENTS = 300


class LateRelay:
    """A port of 127.0.0.1 that is known from the start, and leads to a server once it is opened."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target, self.scheme = (parts.hostname, parts.port), parts.scheme
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    @contextmanager
    def open(self) -> Iterator[None]:
        server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        try:
            yield
        finally:
            server.close()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            upstream = socket.create_connection(self._target)
            for one, other in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def relay(stack: Stack) -> LateRelay:
    return LateRelay(stack.env["KMS_ENDPOINT"])


@pytest.fixture
def ledger(environ: dict[str, str], relay: LateRelay, tmp_path: Path) -> Iterator[Ledger]:
    late = {
        "KMS_ENDPOINT": f"{relay.scheme}://127.0.0.1:{relay.port}",
        "COSIGNER_AUDIT_SIGNING_KMS_KEY_ID": environ["KMS_KEY_RSA"],
        "COSIGNER_AUDIT_SIGNING_ALG": "rsa-sha256",
    }
    made = Ledger(in_a_file({**environ, **late}, tmp_path / "keys"), tmp_path, LIMITS)
    try:
        yield made
    finally:
        made.end()


def test_processes_start_and_close_ranges_without_the_signer_and_sign_everything_when_it_comes(
    ledger: Ledger, relay: LateRelay, tmp_path: Path
) -> None:
    processes = ledger.start_all()
    ledger.publish(EVENTS)
    until("everything is in closed ranges", lambda: closed_entries(ledger) == EVENTS)
    assert ledger.ask("SELECT count(*) FROM proofs") == (0,)
    assert ledger.ask("SELECT count(*) FROM audit_events") == (0,)
    notary = processes["notary"]  # nothing is announced, so the prover has nothing to sign yet
    notary.wait_said("signer.failed", reason="unavailable", circuit="open")
    assert processes["prover"].healthy()
    assert notary.metric('finance_signer_circuit_state{signer_kid="finance-dev-ed25519-v1"}') >= 1
    with relay.open():
        ledger.wait_finished()
        for name in ("prover", "archiver", "notary"):
            assert processes[name].said("signer.pinned"), name
        assert notary.metric('finance_signer_circuit_state{signer_kid="finance-dev-ed25519-v1"}') == 0
        ledger.check()
        proof = tmp_path / "proof.json"
        selection = ("--shard", "0", "--first-seq", "1", "--last-seq", "10")
        made = ledger.command("prove", *selection, "--cosign", "--out", str(proof))
        assert made.returncode == 0, made.stderr
        judged = ledger.command("verify", "proof", str(proof), "--signers", ledger.environ["FINANCE_SIGNERS"])
        assert judged.returncode == 0, judged.stdout
        kids = [it["signer_kid"] for it in json.loads(proof.read_text())["cosignatures"]]
        assert kids == ["finance-dev-rsa-v1"]
    stored = ledger.ask(
        "SELECT count(*) FILTER (WHERE convert_from(proof, 'UTF8') LIKE '%cosignatures%'), count(*) FROM proofs"
    )
    assert stored[0] == stored[1] > 2


@pytest.mark.parametrize("name", ["prover", "archiver", "notary"])
def test_the_wrong_key_coming_up_ends_the_process_and_nothing_is_signed(
    stack: Stack, ledger: Ledger, relay: LateRelay, name: str
) -> None:
    wrong = kms_admin(stack.env).create_key(KeySpec="ECC_NIST_EDWARDS25519", KeyUsage="SIGN_VERIFY")
    right = Ledger(dict(ledger.environ), ledger.folder / "right", ledger.limits)
    right.folder.mkdir()
    keys = read_keys(Path(ledger.environ["SIGNING_KEYS_FILE"]))
    named = replace(keys.signing, key=wrong["KeyMetadata"]["KeyId"], kid="finance-dev-ed25519-v1")
    path = ledger.folder / "wrong-keys.toml"
    path.write_text(to_toml(replace(keys, signing=named)))
    ledger.environ["SIGNING_KEYS_FILE"] = str(path)
    process = ledger.start(name)
    process.wait_said("service.started")
    process.wait_said("signer.failed", reason="unavailable")
    if name != "prover":  # these ask for a signature only when something waits; a new start asks at once
        process.stop()
    with relay.open():
        if name == "prover":
            # It asks for a signature once a range is announced, and that takes a notary with the right key.
            others = [ledger.start("poster"), right.start("notary")]
            ledger.publish(20)
            assert process.wait() == 3
            for other in others:
                other.stop()
        else:
            process = ledger.start(name)
            assert process.wait() == 3
    assert process.said("signer.failed", reason="wrong_key")
    (refused,) = process.said("service.refused")
    assert "is not the registered key finance-dev-ed25519-v1" in str(refused["message"])
    unsigned = ("proofs",) if name == "prover" else ("proofs", "manifests", "audit_events")
    assert [ledger.ask(f"SELECT count(*) FROM {table}") for table in unsigned] == [(0,)] * len(unsigned)


def closed_entries(ledger: Ledger) -> int:
    return int(ledger.ask("SELECT coalesce(sum(last_seq - first_seq + 1), 0) FROM ranges")[0])
