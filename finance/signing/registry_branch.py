"""A branch with one commit for review, in a repository that holds a copy of signers.json (Kernel's, an auditor's).

Guarantees: neither the checked-out branch nor the working tree nor the index is touched; only public keys are written;
nothing is pushed. A branch that is there already with the same content is success, with another one is refused, and so
is a file that somebody is changing.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from finance.settings.child_environment import inherited
from ledger_core.errors import Refused
from ledger_core.signing.registry_edit import EMPTY

GIT_SECONDS_MAX: Final = 60.0
_NOBODY: Final = "0" * 40  # update-ref: the branch must not be there yet

_ELSEWHERE: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the file was and is; `commit` None when there was nothing to change, or it was only tried."""

    before: bytes  # signers.json of the current branch
    after: bytes  # signers.json of the new branch
    branch: str  # name of the new branch
    commit: str | None


def prepare_commit(
    repo: Path, file: str, edit: Callable[[bytes], bytes], *, branch: str, message: str, dry_run: bool = False
) -> Prepared:
    """Commit what `edit` makes of `file` at HEAD to a new branch. Raises Refused, with what git said."""
    place = PurePosixPath(file)
    if place.is_absolute() or ".." in place.parts:
        raise Refused(f"{file} is not a path inside the repository", remedy="name it from the repository's root")
    head = run_git(repo, "rev-parse", "--verify", "HEAD^{commit}")
    if run_git(repo, "status", "--porcelain", "--", file):
        raise Refused(f"{file} has changes in {repo} that are not committed", remedy="commit or undo them first")
    before = _show(repo, head, file)
    try:
        after = edit(EMPTY if before is None else before)
    except ValueError as error:
        raise Refused(f"{file} of {repo}: {error}", remedy="settle with its owner which key has that name") from error
    if after == before:
        return Prepared(before, after, branch, None)
    there = run_git(repo, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
    if there:
        if _show(repo, there, file) != after:
            raise Refused(f"branch {branch} is there with another {file}", remedy="name a new one with --branch")
        return Prepared(before or b"", after, branch, there)
    if dry_run:
        return Prepared(before or b"", after, branch, None)
    run_git(repo, "check-ref-format", f"refs/heads/{branch}")
    blob = run_git(repo, "hash-object", "-w", "--stdin", data=after)
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        run_git(repo, "read-tree", head, environ=index)
        run_git(repo, "update-index", "--add", "--cacheinfo", f"100644,{blob},{file}", environ=index)
        tree = run_git(repo, "write-tree", environ=index)
    commit = run_git(repo, "commit-tree", tree, "-p", head, "-m", message)
    run_git(repo, "update-ref", f"refs/heads/{branch}", commit, _NOBODY)  # the commit point
    return Prepared(before or b"", after, branch, commit)


def _show(repo: Path, commit: str, file: str) -> bytes | None:
    if not run_git(repo, "ls-tree", commit, "--", file):
        return None
    return _run(repo, ("cat-file", "blob", f"{commit}:{file}"))


def _surroundings() -> dict[str, str]:
    """Our environment, without what would lead git to another repository (as inside of a hook)."""
    return inherited(_ELSEWHERE.__contains__)


def run_git(repo: Path, *arguments: str, data: bytes | None = None, environ: dict[str, str] | None = None) -> str:
    return _run(repo, arguments, data, environ).decode(errors="replace").strip()


def _run(
    repo: Path, arguments: tuple[str, ...], data: bytes | None = None, environ: dict[str, str] | None = None
) -> bytes:
    try:
        done = subprocess.run(  # noqa: S603  no shell, and nothing of the arguments is an option of git's own
            ["git", "-C", str(repo), *arguments],  # noqa: S607  the operator's own git
            input=data,
            env={**_surroundings(), **(environ or {})},
            capture_output=True,
            timeout=GIT_SECONDS_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(
            f"git cannot be run ({error})", remedy="install git, and name a repository with --repo"
        ) from error
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[:300]
        raise Refused(
            f"git {arguments[0]} in {repo}: {said}", remedy="mend the repository, or name another with --repo"
        )
    return done.stdout
