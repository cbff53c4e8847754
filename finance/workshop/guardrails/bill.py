"""The software bill of materials (CycloneDX 1.6, JSON) and the licence list that is read from it.

Guarantees: the same environment gives the same bytes (no time, no random serial number); every licence that a
component declares is one that .ci/licences.toml accepts, or an exception there with a reason; an exception that is
not needed any more is a fault. The bill is made by `cyclonedx-py`, the tool of the CycloneDX project itself.
Does not: read licence texts: what a package declares about itself is taken as said.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from finance.workshop.guardrails.outcome import RepositoryFault, ScanOutcome
from ledger_core.errors import Refused

FOLDER: Final = "dist"
BILL: Final = "sbom.cdx.json"
LIST: Final = "licences.tsv"
POLICY: Final = ".ci/licences.toml"
SECONDS_MAX: Final = 120


class _Licence(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    license: _Licence | None = None
    expression: str | None = None

    @property
    def text(self) -> str:
        return self.expression or (self.license and (self.license.id or self.license.name)) or ""


class Component(msgspec.Struct, frozen=True):
    """One package of the bill."""

    name: str
    version: str
    licenses: tuple[_Choice, ...] = ()

    @property
    def declared(self) -> tuple[str, ...]:
        """What it says of its licence: SPDX ids or expressions, or trove classifiers."""
        return tuple(choice.text for choice in self.licenses if choice.text)


class _Bill(msgspec.Struct, frozen=True):
    components: tuple[Component, ...]


class Exemption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A licence that is accepted for one package only, and why."""

    package: str
    licence: str
    reason: str


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Licences accepted for every package (SPDX ids; `aliases`: classifiers that mean one), and the exemptions."""

    accepted: tuple[str, ...]
    aliases: dict[str, str] = {}
    exemptions: tuple[Exemption, ...] = ()


def check_bill(root: Path) -> ScanOutcome:
    """Write dist/sbom.cdx.json; the outcome says how many components it has. Raises Refused when the tool fails."""
    path = root / FOLDER / BILL
    path.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable, "--pyproject", "pyproject.toml"]
    command += ["--output-reproducible", "--no-validate", "--of", "JSON", "-o", str(path)]
    made = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)  # noqa: S603
    if made.returncode != 0:
        raise Refused(
            f"cyclonedx-py failed ({made.stderr.strip()[-300:]})", remedy="install what requirements.lock pins"
        )
    return ScanOutcome("bill", f"{len(read_bill(path))} components, written to {FOLDER}/{BILL}")


def read_bill(path: Path) -> tuple[Component, ...]:
    """The components of a bill, by name."""
    return tuple(sorted(msgspec.json.decode(path.read_bytes(), type=_Bill).components, key=lambda c: c.name.lower()))


def check_licences(root: Path) -> ScanOutcome:
    """Judge the bill's components and write dist/licences.tsv. Raises Refused without a bill or a policy."""
    try:
        policy = msgspec.convert(tomllib.loads((root / POLICY).read_text("utf-8")), Policy)
        components = read_bill(root / FOLDER / BILL)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise Refused(f"no bill or no policy ({error})", remedy=f"see {POLICY}, and make the bill first") from error
    rows = [f"{c.name}\t{c.version}\t{' | '.join(c.declared)}\n" for c in components]
    (root / FOLDER / LIST).write_text("".join(rows), "utf-8")
    return ScanOutcome("licences", f"{len(rows)} packages, listed in {FOLDER}/{LIST}", tuple(judge(components, policy)))


def judge(components: Sequence[Component], policy: Policy) -> list[RepositoryFault]:
    """The packages whose licence is not accepted, and the exemptions that nobody needs. (`undeclared`: of none.)"""
    faults = []
    exempt = {(exemption.package, exemption.licence) for exemption in policy.exemptions}
    used = set()
    for component in components:
        unaccepted = [text for text in component.declared or ("undeclared",) if not accepts(policy, text)]
        used |= {(component.name, text) for text in unaccepted} & exempt
        unaccepted = [text for text in unaccepted if (component.name, text) not in exempt]
        if not unaccepted:
            continue
        said = " | ".join(unaccepted) if component.declared else "no licence at all"
        remedy = f"replace the package, or decide and write it into {POLICY} with the reason"
        faults.append(RepositoryFault(f"{component.name} {component.version}", f"declares {said}", remedy))
    for package, licence in sorted(exempt - used):
        faults.append(RepositoryFault(POLICY, f"the exemption of {package} ({licence}) is not needed", "remove it"))
    return faults


def accepts(policy: Policy, text: str) -> bool:
    """Whether a declared licence is acceptable: an id, an alias, or an SPDX expression of those (AND: all; OR: one)."""
    text = policy.aliases.get(text, text)
    if text in policy.accepted:
        return True
    tokens = re.findall(r"\(|\)|[^\s()]+", text)
    return len(tokens) > 1 and _Expression(tokens, policy.accepted).value()


class _Expression:
    """SPDX annex D with AND, OR and parentheses; anything else (WITH, +) is accepted by nobody unseen."""

    def __init__(self, tokens: list[str], accepted: Sequence[str]) -> None:
        self._tokens = tokens
        self._accepted = accepted

    def value(self) -> bool:
        """Raises nothing: what cannot be read is not accepted."""
        result = self._any()
        return result and not self._tokens

    def _any(self) -> bool:
        result = self._all()
        while self._tokens[:1] == ["OR"]:
            self._tokens.pop(0)
            other = self._all()
            result = result or other
        return result

    def _all(self) -> bool:
        result = self._one()
        while self._tokens[:1] == ["AND"]:
            self._tokens.pop(0)
            other = self._one()
            result = result and other
        return result

    def _one(self) -> bool:
        if not self._tokens:
            return False
        word = self._tokens.pop(0)
        if word == "(":
            result = self._any()
            return result and self._tokens[:1] == [")"] and self._tokens.pop(0) == ")"
        return word in self._accepted
