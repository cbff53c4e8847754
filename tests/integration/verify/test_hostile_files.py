"""Whatever file is handed to a command that reads it offline: it ends, in bounded memory, with words and an exit code.

The table is of commands by kinds of file; a new option that names a file to read must be entered.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from finance.cli.main import EXIT_FINDINGS, EXIT_REFUSED, EXIT_USAGE, cli
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.manifest import digest_of
from ledger_core.archive.names import manifest_key
from ledger_core.findings import FINDINGS_MAX
from ledger_core.proving.range_proof import assemble_proof
from producers.storage.archive_file import NOTE_SUFFIX, FileArchiveStore
from producers.storage.backup_folder import BackupFolder
from tests.support.archive_factory import Key, closed_of, cut_of
from tests.support.hostile_files import MAKERS, PLACE, make_all, outcomes
from tests.support.journal_factory import TinyShard
from tests.support.receipt_factory import Office
from tests.support.waits import PATIENCE_SECONDS

KEY = Key("ed25519")


def a_proof() -> bytes:
    shard = TinyShard().post(5).silence(1)
    closed = closed_of(cut_of(shard, None, 5, 6), shard, KEY, 1, None)
    return assemble_proof(closed.payload, KEY.sign_digest(closed.hash))


COMMANDS: Mapping[str, list[str]] = {
    "verify proof file": ["verify", "proof", PLACE, "--signers", "SIGNERS"],
    "verify proof --signers": ["verify", "proof", "PROOF", "--signers", PLACE],
    "verify proof --public-key": ["verify", "proof", "PROOF", "--public-key", PLACE],
    "verify drill file": ["verify", "drill", PLACE, "--signers", "SIGNERS"],
    "verify receipt files": ["verify", "receipt", PLACE, "--signers", "SIGNERS"],
    "verify receipt --entry": ["verify", "receipt", "RECEIPT", "--signers", "SIGNERS", "--entry", PLACE],
    "verify batch file": ["verify", "batch", PLACE, "--signers", "SIGNERS"],
    "verify bundle file": ["verify", "bundle", PLACE, "--signers", "SIGNERS"],
    "verify audit --file": ["verify", "audit", "--file", PLACE, "--signers", "SIGNERS"],
    "audit verify --file": ["audit", "verify", "--from", "file", "--file", PLACE, "--signers", "SIGNERS"],
    "movement publish --file": ["movement", "publish", "--dry-run", "--file", PLACE],
    "signing-proxy log verify path": ["signing-proxy", "log", "verify", PLACE],
}
EMPTY_IS_SOUND = ("signing-proxy log verify path", "movement publish --file")  # a log that just began; nothing to book
ELSEWHERE: Mapping[str, str] = {
    "verify proof --audit": "read as verify audit --file, where a key was revoked",
    "verify drill --audit": "as verify proof --audit",
    "verify batch --audit": "as verify proof --audit",
    "verify bundle --audit": "as verify proof --audit",
    "verify bundle --signers": "read as of verify proof",
    "verify drill --signers": "read as of verify proof",
    "verify receipt --signers": "read as of verify proof",
    "verify consistency old": "read as of verify receipt, before the database is asked",
    "verify consistency --signers": "read as of verify proof",
    "verify batch --signers": "read as of verify proof",
    "verify archive --signers": "read as of verify proof",
    "verify ledger --signers": "read as of verify proof",
    "verify source --signers": "read as of verify proof",
    "verify audit --signers": "read as of verify proof",
    "audit export --signers": "read as of verify proof",
    "audit verify --signers": "read as of verify proof",
    "audit replay --signers": "read as of verify proof",
    "audit restore --signers": "read as of verify proof",
    "audit replay --file": "read as of audit verify",
    "audit restore --file": "read as of audit verify",
    "publish --file": "a shop's own events, line by line (tests/unit/house/test_files_read.py)",
    "rotate create --policy": "an operator's own file, by read_text",
    "rotate prove --kernel": "a registry, read as --signers",
    "rotate deploy --kernel": "a registry, read as --signers",
    "signers check --kernel": "a registry, read as --signers",
    "export tiles --signers": "read as of verify proof",
    "replay --signers": "read as of verify proof",
    "rebuild --signers": "read as of verify proof",
    "drill --signers": "read as of verify proof",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Hostile files, and a proof with its registry. Files of 4 GiB have holes, and are removed all the same."""
    made = tmp_path_factory.mktemp("hostile")
    (made / "PROOF").write_bytes(a_proof())
    (made / "RECEIPT").write_bytes(Office(TinyShard().post(5), (KEY,)).receipt("entries", 2).to_bytes())
    (made / "SIGNERS").write_bytes(KEY.registry.to_json())
    files = make_all(made)
    yield made
    for path in files.values():
        if not path.is_dir():
            path.unlink()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_with_words_whatever_file_it_is_given(folder: Path, command: str) -> None:
    files = {kind: folder / f"hostile-{number}" for number, kind in enumerate(MAKERS)}
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "FINANCE_ENV": "dev"}
    words = [str(folder / word) if word in ("PROOF", "RECEIPT", "SIGNERS") else word for word in COMMANDS[command]]
    told = outcomes(words, files, environ, PATIENCE_SECONDS)
    assert set(told) == set(MAKERS)
    wrong = {
        kind: (code, text[:300])
        for kind, (code, text) in told.items()
        if code not in (EXIT_FINDINGS, EXIT_USAGE, EXIT_REFUSED) or not text
    }
    wrong.pop("empty" if command in EMPTY_IS_SOUND else "", None)
    assert wrong == {}, "the documented codes: 1 findings, 2 usage, 3 refused"
    assert {told["FIFO"][0], told["device"][0]} == {EXIT_REFUSED}
    assert "not a regular file" in told["FIFO"][1] + told["device"][1]


@pytest.mark.parametrize("kind", MAKERS)
def test_a_bundle_may_hold_anything(folder: Path, tmp_path: Path, kind: str) -> None:
    """As the note of an object, and as an object whose note is sound."""
    hostile = folder / f"hostile-{list(MAKERS).index(kind)}"
    key = manifest_key("dev", 0, 1)
    notes, objects = tmp_path / "notes" / key, tmp_path / "objects" / key
    FileArchiveStore(tmp_path / "objects").put(key, b"{}", retain_until=dt.datetime.now(dt.UTC), metadata={})
    objects.unlink()
    objects.symlink_to(hostile)
    notes.parent.mkdir(parents=True)
    notes.write_bytes(b"{}")
    notes.with_name(notes.name + NOTE_SUFFIX).symlink_to(hostile)
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "FINANCE_ENV": "dev"}
    words = ["verify", "archive", "--env", "dev", "--dir", PLACE, "--signers", str(folder / "SIGNERS")]
    bundles = {"notes": tmp_path / "notes", "objects": tmp_path / "objects"}
    told = outcomes(words, bundles, environ, PATIENCE_SECONDS)
    assert {code for code, _ in told.values()} <= {EXIT_FINDINGS, EXIT_REFUSED}, told


def test_a_million_bad_lines_are_so_many_findings_and_a_count(folder: Path) -> None:
    files = {"bad": folder / f"hostile-{list(MAKERS).index('a million bad lines')}"}
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "FINANCE_ENV": "dev"}
    words = ["verify", "audit", "--file", PLACE, "--signers", str(folder / "SIGNERS")]
    code, text = outcomes(words, files, environ, PATIENCE_SECONDS)["bad"]
    assert code == EXIT_FINDINGS
    assert len(text) <= 4000
    assert FINDINGS_MAX <= 10_000


def named(command: click.Command, words: str = "") -> Iterator[str]:
    """Every option or argument of a command that names a file which must be there."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden and name not in ("dev", "demo"):
                yield from named(found, f"{words}{name} ")
        return
    for option in command.params:
        if isinstance(option.type, click.Path) and option.type.exists and option.type.file_okay:
            yield words + (option.opts[0] if isinstance(option, click.Option) else str(option.name))


def test_every_file_that_a_command_reads_is_in_the_table_or_elsewhere() -> None:
    assert set(named(cli)) - {*COMMANDS, *ELSEWHERE} == set()
    assert set(ELSEWHERE) - set(named(cli)) == set()


@pytest.mark.parametrize("kind", ["FIFO", "folder", "device", "line of 4 GiB"])
def test_a_hostile_copy_of_a_backup_file_is_an_altered_one_and_another_place_heals_it(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    places = [BackupFolder(tmp_path / name, clock=lambda: dt.datetime.now(dt.UTC)) for name in ("one", "two")]
    copies = Copies(places)
    copies.put("7/base/part", b"sealed")
    (tmp_path / "one/7/base/part").unlink()
    (tmp_path / "one/7/base/part").symlink_to(folder / f"hostile-{list(MAKERS).index(kind)}")
    assert copies.read("7/base/part", digest_of(b"sealed")) == b"sealed"
    assert copies.healed == [f"7/base/part in {tmp_path / 'one'}"]
    assert list(places[0].forms("7/base/part")) == [b"sealed"]
