"""verify.sh checks a bundle with sh, openssl, zcat, sha256sum and sed: it passes what is sound, and finds forgeries."""

from __future__ import annotations

import gzip
import subprocess
import zipfile
from pathlib import Path

import pytest

from ledger_core.archive import bundle_names
from tests.support.archive_factory import Key
from tests.support.bundle_factory import bundle_of, contents_of, forged, two_shards

SHELLS = ("dash", "bash --posix")
KEYS = {"ed25519": Key("ed25519"), "rsa-sha256": Key("rsa-sha256", "rsa-v1")}


def run(path: Path, folder: Path, key: Key, shell: str = "dash") -> tuple[int, str]:
    """Unzip the bundle and run its script, with the keys that the auditor trusts."""
    trusted = folder.with_name(folder.name + ".signers.json")
    trusted.write_bytes(key.registry.to_json())
    with zipfile.ZipFile(path) as file:
        file.extractall(folder)
    return run_in(folder, trusted, shell)


def run_in(folder: Path, trusted: Path, shell: str = "dash") -> tuple[int, str]:
    words = [*shell.split(), str(folder / bundle_names.VERIFY_SH), str(trusted)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module", params=KEYS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Key]:
    key = KEYS[request.param]
    path = tmp_path_factory.mktemp("bundle") / "hours.zip"
    bundle_of(two_shards(key), key, path)
    return path, key


@pytest.mark.parametrize("shell", SHELLS)
def test_a_sound_bundle_passes_under_each_shell(made: tuple[Path, Key], tmp_path: Path, shell: str) -> None:
    code, text = run(made[0], tmp_path / "out", made[1], shell)
    assert (code, "sound: no findings" in text) == (0, True), text
    assert "17 signatures, 8 batches, 32 entries" in text, text
    assert "not checked here: the Merkle trees" in text


def test_every_member_that_is_changed_or_dropped_or_added_is_found(made: tuple[Path, Key], tmp_path: Path) -> None:
    path, key = made
    names = [name for name in contents_of(path) if name not in (bundle_names.VERIFY_SH,)]
    few = {name.rpartition("/")[0]: name for name in names}.values()  # one of each folder
    for number, name in enumerate([*few, bundle_names.STATEMENT, bundle_names.SUMS, bundle_names.SIGNERS]):
        data = contents_of(path)[name]
        for change in (data[:-2] + bytes([data[-2] ^ 1]) + data[-1:], None):
            out = forged(path, {name: change}, tmp_path / "forged.zip")
            code, text = run(out, tmp_path / f"out-{number}-{change is None}", key)
            assert code == 1, (name, text)
            assert f"FINDING  {name}" in text, (name, text)


def test_a_file_that_is_not_named_is_found(made: tuple[Path, Key], tmp_path: Path) -> None:
    run(made[0], tmp_path / "out", made[1])
    (tmp_path / "out" / "shards" / "more.json").write_text("{}")
    code, text = run_in(tmp_path / "out", tmp_path / "out.signers.json")
    assert (code, "FINDING  shards/more.json" in text) == (1, True), text


def test_an_edited_entry_breaks_the_chain_whatever_the_sums_say(made: tuple[Path, Key], tmp_path: Path) -> None:
    """A forger without the key writes the digests anew; the statement's signature, its batch and its proof say no."""
    path, key = made
    name, data = next((it, data) for it, data in contents_of(path).items() if "/batches/" in it)
    plain = gzip.decompress(data).replace(b'"currency":"USD"', b'"currency":"EUR"', 1)
    code, text = run(
        forged(path, {name: gzip.compress(plain, mtime=0)}, tmp_path / "forged.zip"), tmp_path / "out", key
    )
    assert code == 1
    assert f"FINDING  {name}: SHA-256 of its lines" in text
    assert "head_hash is" in text


def test_another_key_finds_every_signature(made: tuple[Path, Key], tmp_path: Path) -> None:
    stranger = Key("ed25519", made[1].kid) if made[1].algorithm == "rsa-sha256" else Key("rsa-sha256", made[1].kid)
    code, text = run(made[0], tmp_path / "out", stranger)
    assert code == 1
    assert text.count("the signature is not that of") == 9, text


def test_an_empty_folder_is_no_bundle(made: tuple[Path, Key], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / bundle_names.VERIFY_SH).write_bytes(contents_of(made[0])[bundle_names.VERIFY_SH])
    (tmp_path / "out.signers.json").write_bytes(made[1].registry.to_json())
    code, text = run_in(tmp_path / "out", tmp_path / "out.signers.json")
    assert (code, "not a bundle" in text) == (1, True), text
