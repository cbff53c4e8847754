"""The branch for review, whenever it is cut off, by whomever it is made: with the real git."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finance.signing import registry_branch
from finance.signing.registry_branch import prepare_commit
from ledger_core.errors import Refused

FILE = "tools/signers.json"
Git = Callable[..., str]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    (folder / "tools").mkdir(parents=True)
    (folder / FILE).write_bytes(b"old")
    git_in(folder, "init", "-q", "-b", "main")
    git_in(folder, "config", "user.name", "t")
    git_in(folder, "config", "user.email", "t@example.com")
    git_in(folder, "add", ".")
    git_in(folder, "commit", "-q", "-m", "start")
    return folder


def git_in(repo: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(repo), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def prepare(repo: Path, content: bytes = b"new") -> str | None:
    return prepare_commit(repo, FILE, lambda _: content, branch="review", message="m").commit


def test_killed_before_its_commit_point_it_leaves_no_branch_and_is_done_again(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = registry_branch.run_git

    def killed(repo: Path, *arguments: str, **more: Any) -> str:
        if arguments[0] == "update-ref":
            raise KeyboardInterrupt
        return real(repo, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(registry_branch, "run_git", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(repo)
    assert git_in(repo, "branch", "--format=%(refname:short)") == "main"
    assert git_in(repo, "status", "--porcelain") == ""
    made = prepare(repo)
    assert made == git_in(repo, "rev-parse", "review")
    assert prepare(repo) == made, "and once more"
    assert git_in(repo, "show", f"review:{FILE}") == "new"
    assert git_in(repo, "status", "--porcelain") == ""


def test_two_operators_at_once_make_one_branch_and_the_second_is_told(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = registry_branch.run_git

    def overtaken(repo: Path, *arguments: str, **more: Any) -> str:
        if arguments[0] == "update-ref":
            git_in(repo, "branch", "review", "HEAD")
        return real(repo, *arguments, **more)

    monkeypatch.setattr(registry_branch, "run_git", overtaken)
    with pytest.raises(Refused, match="update-ref"):
        prepare(repo)
    monkeypatch.setattr(registry_branch, "run_git", real)
    with pytest.raises(Refused, match="review is there with another"):
        prepare(repo)


def test_variables_of_a_hook_do_not_lead_to_another_repository(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git_in(tmp_path, "init", "-q", "--bare", "other.git")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other.git"))
    made = prepare(repo)
    monkeypatch.delenv("GIT_DIR")
    assert made == git_in(repo, "rev-parse", "review")
