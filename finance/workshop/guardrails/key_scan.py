"""No secret among the files git tracks, but for those an allow-list names with a reason.

Guarantees: each tracked file is read whole, text and binary; an allow-list entry that matches nothing any more is a
fault too, so the list can only shrink by itself. Lines name kind and digest, never the secret. Two scanners read: our
own rules, and a maintained one (`scanner`).
Does not: read history or at files git does not track. What was ever pushed must be rotated, not only removed.
"""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from finance.guards.secret_rules import KINDS, find_secrets
from finance.workshop.guardrails.outcome import RepositoryFault, ScanOutcome
from finance.workshop.guardrails.scanner import Found, scan_by_tool
from ledger_core.errors import Refused

ALLOWED: Final = ".ci/allowed-secrets.toml"
FILE_BYTES_MAX: Final = 50_000_000
REMEDY: Final = f"remove it and rotate it; if it is not a secret, add kind, path, digest and the reason to {ALLOWED}"


class Allowed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finding that is not a secret: kind and digest as the scan printed them, and why it may stay."""

    path: str
    kind: str
    digest: str
    reason: str


class _AllowList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    allowed: tuple[Allowed, ...] = ()


def scan_keys(root: Path) -> ScanOutcome:
    """Every file that git tracks below `root`. Raises Refused when the allow-list cannot be read."""
    files = tracked(root)
    faults = scan_files(root, files, read_allowed(root / ALLOWED))
    looked_at = f"{len(files)} tracked files, {len(set(KINDS))} kinds of secret and those of kingfisher"
    return ScanOutcome("keys", looked_at, tuple(faults))


def tracked(root: Path) -> list[str]:
    """The paths git tracks, in its order."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout  # noqa: S607
    return [name for name in listed.decode().split("\0") if name]


def read_allowed(path: Path) -> tuple[Allowed, ...]:
    """The allow-list; without a file it is empty. Raises Refused."""
    try:
        read = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _AllowList)
    except FileNotFoundError:
        return ()
    except (ValueError, msgspec.ValidationError) as error:
        raise Refused(f"{path} is not an allow-list ({error})", remedy="give path, kind, digest, reason") from error
    for entry in read.allowed:
        if (entry.kind not in KINDS and "." not in entry.kind) or len(entry.reason) < 10:
            raise Refused(f"{path}: {entry.path} has an unknown kind or no reason", remedy="say why it may stay")
    return read.allowed


def scan_files(root: Path, names: Iterable[str], allowed: tuple[Allowed, ...]) -> list[RepositoryFault]:
    """The secrets in those files that are not allowed, and the allow-list's entries that allow nothing."""
    faults, used, files = [], set(), []
    permitted = {(entry.path, entry.kind, entry.digest) for entry in allowed}
    for name in names:
        path = root / name
        if path.is_symlink() or not path.is_file():  # a link is read where it leads, if git tracks that
            continue
        if path.stat().st_size > FILE_BYTES_MAX:
            faults.append(RepositoryFault(name, "is too large to be scanned", "keep such files out of the repository"))
            continue
        files.append(name)
    for found in (*_by_our_rules(root, files), *scan_by_tool(root, files)):
        key = (found.path, found.kind, found.digest)
        used.add(key)
        if key not in permitted:
            what = f"{found.kind}, digest {found.digest}"
            faults.append(RepositoryFault(f"{found.path}:{found.line}", what, REMEDY))
    faults += [
        RepositoryFault(ALLOWED, f"the entry for {kind} in {path} matches nothing any more", "remove the entry")
        for path, kind, digest in sorted(permitted - used)
    ]
    return faults


def _by_our_rules(root: Path, names: Iterable[str]) -> Iterator[Found]:
    for name in names:
        for secret in find_secrets((root / name).read_bytes()):
            yield Found(name, secret.line, secret.kind, secret.sha256)
