"""Kingfisher (MongoDB, Apache licence): a maintained scanner that knows the secrets of several hundred services.

Our own rules (`finance.guards.secret_rules`) stand beside it: they know keys in binary files and in DER, PKCS#12 and
JWK, which it does not, and run inside the product. Neither alone is enough.
Guarantees: it reads the files that are named and asks nobody whether a secret is live; what it finds has the scanner's
rule and fingerprint, and never the secret; comments in a file do not silence it. Without the scanner nothing is taken
for sound: Refused.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from ledger_core.errors import Refused

TOOL: Final = Path(sys.executable).with_name("kingfisher")
OPTIONS: Final = (
    "--no-validate", "--no-update-check", "--no-ignore", "--no-dedup", "--redact", "--quiet", "--git-history=none",
    "--format=json",
)  # fmt: skip
EXIT_SOUND, EXIT_FOUND = 0, 200
FILES_AT_ONCE: Final = 400
SECONDS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Found:
    """One secret: where, by which rule, and what names it without repeating it."""

    path: str  # relative to the repository
    line: int  # from 1
    kind: str  # rule of the scanner, or one of secret_rules.KINDS
    digest: str  # the scanner's fingerprint, or the SHA-256 of what was matched


class _Rule(msgspec.Struct, frozen=True):
    id: str


class _Place(msgspec.Struct, frozen=True):
    path: str
    line: int
    fingerprint: str


class _Finding(msgspec.Struct, frozen=True):
    rule: _Rule
    finding: _Place


class _Answer(msgspec.Struct, frozen=True):
    findings: tuple[_Finding, ...]


def scan_by_tool(root: Path, names: Sequence[str]) -> Iterator[Found]:
    """What it finds in these files. Raises Refused when it cannot be run."""
    for first in range(0, len(names), FILES_AT_ONCE):
        part = [f"./{name}" for name in names[first : first + FILES_AT_ONCE]]  # a name may begin with a dash
        yield from _scan(root, part)


def _scan(root: Path, paths: Sequence[str]) -> Iterator[Found]:
    try:
        done = subprocess.run(  # noqa: S603
            [str(TOOL), "scan", *OPTIONS, *paths], cwd=root, capture_output=True, timeout=SECONDS_MAX, check=False
        )
        if done.returncode not in (EXIT_SOUND, EXIT_FOUND):
            raise ValueError(f"exit {done.returncode}: {done.stderr.decode(errors='replace').strip()[-300:]}")
        answer = msgspec.json.decode(done.stdout, type=_Answer)
        if bool(answer.findings) != (done.returncode == EXIT_FOUND):
            raise ValueError(f"exit {done.returncode} with {len(answer.findings)} findings")
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise Refused(f"kingfisher cannot be run ({error})", remedy="install what requirements.lock pins") from error
    for it in answer.findings:
        yield Found(it.finding.path.removeprefix("./"), it.finding.line, it.rule.id, it.finding.fingerprint)
