"""requirements.lock in step with pyproject.toml and with what is installed.

Guarantees, without any network: every dependency that pyproject.toml names (all extras, and what those need in turn, on
this platform) is pinned with a version that satisfies it and at least one SHA-256; nothing else is pinned; what is
installed has the pinned version. The hashes themselves are compared by pip at installation (`--require-hashes`).
Does not: know what other platforms need.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from finance.workshop.guardrails.outcome import RepositoryFault, ScanOutcome
from ledger_core.errors import Refused

LOCK: Final = "requirements.lock"
REFRESH: Final = "refresh the lock file with the command in CONTRIBUTING.md"
_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)((?:\s*\\\n\s*--hash=\S+|\s+--hash=\S+)*)", re.MULTILINE)
_HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}(?=\s|\\|$)")


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of the lock file."""

    version: str
    hashes: int


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed distribution: its version, and what it needs in turn."""

    version: str
    requires: tuple[str, ...]


Look = Callable[[str], Installed | None]


def check_lock(root: Path) -> ScanOutcome:
    """The lock file of the project at `root`, against this environment. Raises Refused when it cannot be read."""
    try:
        pins = pins_of((root / LOCK).read_text("utf-8"))
        project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    except (OSError, ValueError, KeyError) as error:
        raise Refused(f"{LOCK} or pyproject.toml cannot be read ({error})", remedy="restore it from git") from error
    own = canonicalize_name(project["name"])
    listed = (text for extra in project["optional-dependencies"].values() for text in extra)
    others = {text for text in listed if canonicalize_name(Requirement(text).name) != own}  # extras that name extras
    wanted = sorted({*project["dependencies"], *others})
    faults = compare(wanted, pins, installed)
    return ScanOutcome("lock", f"{len(wanted)} dependencies, {len(pins)} pins", tuple(faults))


def pins_of(text: str) -> dict[str, Pin]:
    """Name (canonical) -> pin."""
    return {
        canonicalize_name(name): Pin(version, len(_HASH.findall(hashes)))
        for name, version, hashes in _PIN.findall(text)
    }


def installed(name: str) -> Installed | None:
    """What this environment holds under that name."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return Installed(found.version, tuple(found.requires or ()))


def compare(wanted: Iterable[str], pins: dict[str, Pin], look: Look) -> list[RepositoryFault]:
    """What of `wanted`, and of what that needs in turn, is not pinned right; and what is pinned for nobody."""
    faults: dict[str, RepositoryFault] = {}
    reached: set[tuple[str, frozenset[str]]] = set()
    waiting = [(Requirement(text), "pyproject.toml", frozenset({""})) for text in wanted]
    while waiting:
        requirement, asker, extras = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        fault = _fault_of(requirement, asker, pins.get(name), look(name))
        if fault:
            faults.setdefault(f"{name} {fault}", RepositoryFault(LOCK, fault, REFRESH))
        key = (name, frozenset(requirement.extras))
        found = look(name)
        if key not in reached and found is not None:
            reached.add(key)
            own = frozenset({"", *requirement.extras})
            waiting += [(Requirement(text), name, own) for text in found.requires]
    known = {name for name, _ in reached}
    for pinned, pin in sorted(pins.items()):
        if pinned not in known:
            faults[pinned] = RepositoryFault(LOCK, f"{pinned} is pinned, and nothing needs it", REFRESH)
        if pin.hashes == 0:
            faults[f"{pinned} hash"] = RepositoryFault(LOCK, f"{pinned} is pinned without a SHA-256", REFRESH)
    return list(faults.values())


def _fault_of(requirement: Requirement, asker: str, pin: Pin | None, found: Installed | None) -> str | None:
    name = requirement.name
    if pin is None:
        return f"{asker} needs {name}, which is not pinned"
    if not requirement.specifier.contains(Version(pin.version), prereleases=True):
        return f"{asker} needs {name}{requirement.specifier}, pinned is {pin.version}"
    if found is None:
        return f"{name} {pin.version} is pinned and not installed (run `make check` to install the lock file)"
    if Version(found.version) != Version(pin.version):
        return f"{name} {pin.version} is pinned, installed is {found.version}"
    return None
