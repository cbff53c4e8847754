"""The signing proxy as witness, over the wire and over its own death."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger_core.proving.checkpoint import note_text
from ledger_core.signing.signatures import decode_signature, verify_text
from ledger_core.tree import consistency_proof, leaf_hash, root_of
from tests.support.doors import Reply
from tests.support.proxies import DIGEST, KIDS, FaultyKey, TestProxy, b64, proxy_yaml, running_proxy

ROOT = Path(__file__).parents[3]
ED = KIDS[1]
LEAVES = [leaf_hash(str(number).encode()) for number in range(32)]
FORKED = [*LEAVES[:3], leaf_hash(b"another entry"), *LEAVES[4:]]
ORIGIN = "example.com/finance/dev/ledger/0"


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[TestProxy]:
    with running_proxy(tmp_path, witness=True, kids=[ED]) as running:
        yield running
        assert running.report().findings == []


def ask(
    proxy: TestProxy, size: int, old: int | None = None, leaves: list[bytes] = LEAVES, origin: str = ORIGIN
) -> Reply:
    text = note_text(origin, size, root_of(leaves[:size]))
    proof = consistency_proof(leaves, old, size) if old is not None and old <= size else ()
    more = {} if old is None else {"old_size": str(old), "consistency": [b64(found) for found in proof]}
    reply = proxy.post(body={"payload_b64": b64(text), "kind": "note", **more})
    if reply.status == 200:
        ((_, registered),) = proxy.registered.items()
        verify_text(registered.public_key, text, decode_signature(reply.json["signature"]))
    return reply


def test_a_growing_log_is_signed_and_nothing_else(witness: TestProxy) -> None:
    assert ask(witness, 5).status == 200
    assert ask(witness, 5).status == 200, "the same again: an answer was lost"
    assert ask(witness, 9, old=5).status == 200
    grown = ask(witness, 12)
    assert (grown.status, grown.code, grown.json["known_size"]) == (409, "OLD_SIZE", "9")
    assert ask(witness, 12, old=5).code == "OLD_SIZE"
    shrunk = ask(witness, 8, old=9)
    assert (shrunk.status, shrunk.code) == (409, "LOG_SHRANK")
    assert ask(witness, 9, old=9, leaves=FORKED).code == "LOG_FORKED"
    forked = ask(witness, 12, old=9, leaves=FORKED)
    assert (forked.status, forked.code) == (422, "LOG_INCONSISTENT")
    assert ask(witness, 12, old=9).status == 200
    assert ask(witness, 4, origin="example.com/finance/dev/ledger/1").status == 200, "another log is another story"
    refused = [event for event in witness.events() if event.startswith("refused")]
    assert refused == [
        f"refused:{code}" for code in ("OLD_SIZE", "OLD_SIZE", "LOG_SHRANK", "LOG_FORKED", "LOG_INCONSISTENT")
    ]
    signed = [record for record in witness.records() if record["event"] == "signed"]
    assert [record["size"] for record in signed] == ["5", "5", "9", "12", "4"]


def test_a_witness_signs_digests_and_no_other_notes(witness: TestProxy) -> None:
    assert witness.sign().status == 200
    reply = witness.post(body={"note_b64": b64(b"I owe you all that I have, and more: " * 2)})
    assert (reply.status, reply.code) == (422, "NO_CHECKPOINT")


def test_a_rotation_begins_no_second_history(tmp_path: Path) -> None:
    """Whoever changes the key of its log may not fork it on that day."""
    with running_proxy(tmp_path, witness=True, kids=[ED]) as first:
        assert ask(first, 9).status == 200
    text = proxy_yaml().replace(", ".join(KIDS), "rotated-v2")
    with running_proxy(tmp_path, witness=True, services={"rotated-v2": FaultyKey("ed25519")}, text=text) as rotated:
        assert ask(rotated, 12, leaves=FORKED).code == "OLD_SIZE"
        assert ask(rotated, 12, old=9, leaves=FORKED).code == "LOG_INCONSISTENT"
        assert ask(rotated, 5).code == "LOG_SHRANK"
        assert ask(rotated, 12, old=9).status == 200


def test_a_witness_remembers_over_a_restart(tmp_path: Path) -> None:
    with running_proxy(tmp_path, witness=True, kids=[ED]) as first:
        assert ask(first, 9).status == 200
    with running_proxy(tmp_path, witness=True, kids=[ED]) as again:
        assert ask(again, 5).code == "LOG_SHRANK"
        assert ask(again, 12, old=9).status == 200


def test_a_state_that_cannot_be_written_signs_nothing(witness: TestProxy, tmp_path: Path) -> None:
    (tmp_path / "witness.json.new").mkdir()
    before = witness.keys[ED].asked
    assert ask(witness, 5).status == 503
    assert witness.keys[ED].asked == before
    (tmp_path / "witness.json.new").rmdir()
    assert ask(witness, 5).status == 200
    assert witness.events() == ["asked", "failed:KEY_UNAVAILABLE", "asked", "signed"]


# A proxy in a process of its own, which dies at the named moment of its first signature.
DYING = """
import os, sys
from pathlib import Path
from tests.integration.signing_proxy.test_signing_witness import ED, ask
from tests.support.proxies import running_proxy

moment, folder = sys.argv[1], Path(sys.argv[2])
with running_proxy(folder, witness=True, kids=[ED]) as proxy:
    append = proxy.log.append
    if moment == "before the key":
        proxy.keys[ED].before = lambda: os._exit(9)
    elif moment == "after the key":
        proxy.keys[ED].after = lambda: os._exit(9)
    else:
        proxy.log.append = lambda record: (append(record), record["event"] == "signed" and os._exit(9))[0]
    ask(proxy, 9)
"""


@pytest.mark.parametrize("moment", ["before the key", "after the key", "before the answer"])
def test_a_crash_leaves_a_sound_log_and_a_witness_that_is_not_fooled(tmp_path: Path, moment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DYING, moment, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 9, done.stderr
    with running_proxy(tmp_path, witness=True, kids=[ED]) as again:
        report = again.report()
        assert report.findings == []
        assert len(report.unfinished) == (0 if moment == "before the answer" else 1)
        assert ask(again, 5).code == "LOG_SHRANK", "what may have been signed is remembered"
        assert ask(again, 9, leaves=FORKED).code == "LOG_FORKED"
        assert ask(again, 9).status == 200
        assert again.sign().json["digest_hex"] == DIGEST.hex()


def test_the_request_log_and_the_folder_are_for_their_owner_only(witness: TestProxy) -> None:
    ask(witness, 5)
    for path in (witness.log_path, witness.log_path.with_name("witness.json")):
        assert os.stat(path).st_mode & 0o077 == 0
