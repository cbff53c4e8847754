"""CHECK.sh judges with bash, coreutils and openssl alone: it agrees with the oracle, and misses no tampering.

Its lines are what the demo prints for strangers, for Ed25519 and for RSA, at genesis and in the middle of a chain.
"""

from __future__ import annotations

import gzip
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from finance.workshop.demo.cheats_files import edit_entry, edit_sequence, edit_time, flip_bit
from finance.workshop.demo.check_script import script
from finance.workshop.demo.leave import Handed, Left, prepare, write
from ledger_core.archive.lines import batch_lines
from ledger_core.archive.manifest import parse_manifest
from ledger_core.archive.names import manifest_key
from ledger_core.errors import Refused
from ledger_core.ports import Algorithm
from ledger_core.verify.oracle import verify_batch, verify_proof
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of
from tests.support.audit_factory import audit_events
from tests.support.journal_factory import TinyShard


def hand_out(folder: Path, algorithm: Algorithm, range_no: int) -> Left:
    """The folder of one of two ranges, with verdicts in it, as the demo leaves it."""
    key, store = Key(algorithm), MemoryStore()
    shard = TinyShard().post(5).silence(2).post(6)
    batches = archive_of(shard, [(5, 7), (11, 13)], key, store)
    batch = store.get(batches[range_no - 1])
    proof = list(batch_lines(batch))[-1]
    manifest = store.get(manifest_key(ENV, 0, range_no))
    note = parse_manifest(manifest).checkpoint.encode()
    events = [event.to_json() for event in audit_events(key)]
    prepare(folder)
    left = write(folder, Handed(proof, manifest, note, batch, events), key.registry)
    assert verify_proof(proof, key.registry).sound
    assert verify_batch(batch, key.registry).sound
    (folder / "CHECK.sh").write_text(script(left.signer_kid, left.algorithm))
    return left


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(folder / "CHECK.sh")], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("range_no", [1, 2], ids=["genesis", "later"])
@pytest.mark.parametrize("algorithm", ["ed25519", "rsa-sha256"])
def test_what_the_oracle_finds_sound_a_stranger_finds_sound(
    tmp_path: Path, algorithm: Algorithm, range_no: int
) -> None:
    hand_out(tmp_path, algorithm, range_no)
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("everything is sound\n")
    assert not (tmp_path / "work").exists()


def _again(batch: bytes) -> bytes:
    """The same lines, packed otherwise."""
    return gzip.compress(gzip.decompress(batch), compresslevel=1, mtime=1)


def _edit(pattern: bytes, replacement: bytes) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        edited = re.sub(pattern, replacement, data, count=1)
        assert edited != data
        return edited

    return edit


TAMPERINGS: list[tuple[str, str, Callable[[bytes], bytes]]] = [
    ("proof.json", "sequence", edit_sequence),
    ("proof.json", "time", edit_time),
    ("proof.json", "hash", _edit(rb',"hash":".{8}', b',"hash":"00000000')),
    ("manifest.json", "version", _edit(rb'"version_id":"v', b'"version_id":"w')),
    ("manifest.json", "retention", _edit(rb'"retain_until":"20', b'"retain_until":"19')),
    ("manifest.json", "checkpoint", _edit(rb'"checkpoint":"example', b'"checkpoint":"another')),
    ("batch.jsonl.gz", "bit", lambda data: flip_bit(data, len(data) // 2)),
    ("batch.jsonl.gz", "entry", edit_entry),
    ("batch.jsonl.gz", "packing", _again),
    ("checkpoint.txt", "size", lambda data: data.replace(b"\n5\n", b"\n6\n")),
    ("checkpoint.txt", "origin", _edit(b"^example", b"another")),
    ("audit_events.jsonl", "payload", _edit(rb'"range_no":"1"', b'"range_no":"7"')),
    ("audit_events.jsonl", "order", lambda data: b"".join(reversed(data.splitlines(keepends=True)))),
    ("audit_events.jsonl", "gap", lambda data: b"".join(data.splitlines(keepends=True)[i] for i in (0, 2, 3))),
    ("keys/test-key-v1.pem", "key", lambda _data: Key(kid="another").public.pem.encode()),
]


@pytest.mark.parametrize(
    ("name", "edit"), [(name, edit) for name, _, edit in TAMPERINGS], ids=[f"{n}-{what}" for n, what, _ in TAMPERINGS]
)
def test_what_was_tampered_with_a_stranger_finds(tmp_path: Path, name: str, edit: Callable[[bytes], bytes]) -> None:
    hand_out(tmp_path, "ed25519", 1)
    path = tmp_path / name
    before = path.read_bytes()
    path.write_bytes(edit(before))
    assert path.read_bytes() != before
    done = run(tmp_path)
    assert done.returncode != 0
    assert "everything is sound" not in done.stdout


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    with pytest.raises(Refused, match="keys"):
        prepare(tmp_path)
    assert (tmp_path / "keys").is_dir()
