"""Whoever can write to a file that steers a process steers it: every such file, for every process and command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from finance.guards.commands import ASKING
from finance.guards.file_guards import configuration_is_ours, others_that_write
from finance.guards.model import Given
from finance.guards.proxy_guards import PROXY_GUARDS
from finance.guards.settings_guards import SETTINGS_GUARDS
from finance.settings.secret_files import SUFFIX
from finance.settings.steering_files import STEERING_FILES, STEERING_FOLDERS
from finance.settings.variables import VARIABLES
from tests.support.guard_environments import RANDOM, sound

# Variables that name a file or folder: each steers us and is judged, or it stands here with the reason why not.
NOT_JUDGED = {
    "FINANCE_TLS_DIR": "its files have a stricter rule (settings.tls_files)",
    "SIGNING_PROXY_LOG": "written by the proxy, with a rule of its own (proxy_guards.log_is_ours)",
    "SIGNING_PROXY_WITNESS_STATE": "as the log",
    "SIGNING_PROXY_USED": "as the log",
    "BACKUP_PLACE": "what lies there is signed",
    "BACKUP_SPOOL": "written by us",
    "TRANSIT_MOUNT": "a path of the engine, not of this machine",
    "AUDIT_SIGNING_KEY_FILE": "refused outside dev as a whole",
}
PATHS = (*STEERING_FILES, *(variable.name + SUFFIX for variable in VARIABLES if variable.secret))


def words(meaning: str) -> set[str]:
    return set(meaning.replace(",", " ").split())


def faults(folder: Path, environ: dict[str, str]) -> list[str]:
    return [str(fault) for fault in configuration_is_ours(Given.of("poster", environ, folder))]


@pytest.mark.parametrize("name", PATHS)
def test_a_file_that_everybody_may_write_to_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "held" / "file"
    path.parent.mkdir()
    path.write_text(RANDOM)
    path.chmod(0o600)
    environ = {**sound(tmp_path), name: str(path)}
    assert faults(tmp_path, environ) == []
    path.chmod(0o602)
    assert faults(tmp_path, environ) == [
        f"{path} can be written to by everybody. Remedy: let whoever deploys the process alone write there"
    ]
    path.chmod(0o600)
    path.parent.chmod(0o703)
    assert len(faults(tmp_path, environ)) == 1, "another file could be put in its place"
    path.parent.chmod(0o1703)
    assert faults(tmp_path, environ) == [], "a sticky folder, as /tmp: nobody replaces the files of another"


@pytest.mark.parametrize("name", STEERING_FOLDERS)
def test_each_file_of_a_folder_is_judged(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    (folder / "ca.crt").write_text("")
    (folder / "ca.crt").chmod(0o666)
    assert len(faults(tmp_path, {**sound(tmp_path), name: str(folder)})) == 1


def test_a_link_is_followed_to_where_the_file_lies(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "signers.json"
    target.parent.mkdir()
    target.write_text("{}")
    link = tmp_path / "link.json"
    link.symlink_to(target)
    target.parent.chmod(0o777)
    assert any(
        str(target.parent) in fault for fault in faults(tmp_path, {**sound(tmp_path), "FINANCE_SIGNERS": str(link)})
    )


@pytest.mark.parametrize(
    ("mode", "user", "group", "who"),
    [
        (0o100664, 0, 0, ""),
        (0o100664, 0, 12_345, "group 12345"),
        (0o100644, 0, 12_345, ""),
        (0o100600, 12_345, 0, "user 12345, whose it is"),
        (0o100666, 12_345, 12_345, "user 12345, whose it is and everybody and group 12345"),
        (0o041777, 12_345, 0, "user 12345, whose it is"),
    ],
)
def test_owner_group_and_everybody_are_judged(
    monkeypatch: pytest.MonkeyPatch, mode: int, user: int, group: int, who: str
) -> None:
    found = os.stat_result((mode, 0, 0, 1, user, group, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda _path: found)
    assert others_that_write(Path("/somewhere")) == who


def test_dev_is_left_alone(tmp_path: Path) -> None:
    environ = {**sound(tmp_path), "FINANCE_ENV": "dev", "NODE_ENV": ""}
    (tmp_path / "signers.json").chmod(0o666)
    assert faults(tmp_path, environ) == []


def test_every_start_and_command_is_guarded() -> None:
    assert all(configuration_is_ours in guards for guards in (SETTINGS_GUARDS, PROXY_GUARDS, ASKING))


def test_every_variable_that_names_a_file_is_judged_or_has_a_reason() -> None:
    known = {*STEERING_FILES, *STEERING_FOLDERS, *NOT_JUDGED}
    named = {
        variable.name
        for variable in VARIABLES
        if variable.name.endswith(("_FILE", "_DIR")) or {"file", "folder", "path", "library"} & words(variable.meaning)
    }
    assert named - known == set()
