"""Known vulnerabilities of what is pinned, asked of OSV by pip-audit (the tool of the Python packaging authority).

Guarantees: "could not be asked" is reported as such and never as "none found", also for a single package that the
service does not know (pip-audit itself ends with success then). The whole lock file is asked, with its versions and
nothing resolved anew.
Does not: hold a database of its own: without a way to the service nothing can be said, and this says so.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from finance.workshop.guardrails.lock_file import LOCK
from finance.workshop.guardrails.outcome import RepositoryFault, ScanOutcome

SECONDS_MAX: Final = 180
ANSWER_SECONDS_MAX: Final = 5


class _Vulnerability(msgspec.Struct, frozen=True):
    id: str
    fix_versions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


class _Dependency(msgspec.Struct, frozen=True):
    name: str
    version: str = ""
    vulns: tuple[_Vulnerability, ...] = ()
    skip_reason: str | None = None


class _Audit(msgspec.Struct, frozen=True):
    dependencies: tuple[_Dependency, ...]


def check_vulnerabilities(root: Path, *, url: str | None = None) -> ScanOutcome:
    """Ask about every pinned package. `url`: another address of an OSV service (tests)."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--requirement", LOCK]
    command += ["--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
    command += ["--timeout", str(ANSWER_SECONDS_MAX), *(["--osv-url", url] if url else [])]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, timeout=SECONDS_MAX, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return _unchecked(f"no answer within {SECONDS_MAX} s")
    try:
        audit = msgspec.json.decode(done.stdout, type=_Audit)
    except msgspec.DecodeError:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no word"]
        return _unchecked(f"pip-audit could not ask ({said[-1][:240]})")
    return judge(audit.dependencies)


def judge(dependencies: tuple[_Dependency, ...]) -> ScanOutcome:
    """The outcome of what pip-audit answered."""
    faults = tuple(
        RepositoryFault(
            f"{found.name} {found.version}",
            f"has {', '.join((hole.id, *hole.aliases))}",
            f"move to {' or '.join(hole.fix_versions)}" if hole.fix_versions else "no version mends it: replace it",
        )
        for found in dependencies
        for hole in found.vulns
    )
    skipped = [found.name for found in dependencies if found.skip_reason is not None]
    reason = f"the service knows nothing of {', '.join(skipped[:5])} ({len(skipped)} packages)" if skipped else None
    return ScanOutcome("vulnerabilities", f"{len(dependencies)} pinned packages", faults, reason)


def _unchecked(reason: str) -> ScanOutcome:
    return ScanOutcome("vulnerabilities", "nothing", unchecked=reason)
