"""What guards are given and what they say.

Guarantees: a fault names what is wrong and what to do; all faults of a start are reported at once, one line each.
Nothing here shows a value of a secret variable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from finance.settings.deployment import Settings
from finance.settings.secret_files import secrets_from_files
from finance.settings.steering_files import steering_files
from finance.settings.variables import VARIABLES
from ledger_core.errors import Refused

TRUE: Final = ("true", "1", "yes", "y")
FALSE: Final = ("false", "0", "no", "n", "")
PRODUCTION: Final = "production"
LIKE_PRODUCTION: Final = re.compile(r"prod.*|prd|live", re.DOTALL)  # however a platform spells it
SDK_ENDPOINTS: Final = "AWS_ENDPOINT_URL"  # and AWS_ENDPOINT_URL_S3, _KMS, _STS, ...
EVERYBODY: Final = "doctor"  # stands for all processes at once


@dataclass(frozen=True, slots=True)
class GuardFault:
    """One thing that must not be so, and the remedy."""

    message: str  # what is wrong, one line
    remedy: str  # what to do about it

    def __str__(self) -> str:
        return f"{self.message.rstrip(chr(46))}. Remedy: {self.remedy}"


@dataclass(frozen=True, slots=True)
class Given:
    """What a start was given: who starts, and every variable that is set (dev stack and secret files included).

    `settings` is None when they could not be read: `unreadable` says why.
    """

    process: str  # one of PROCESSES, or signing-proxy
    values: Mapping[str, str] = field(repr=False)  # by name of the variable
    topology_path: Path  # FINANCE_TOPOLOGY
    settings: Settings | None = field(repr=False)
    unreadable: tuple[Refused, ...] = ()
    sdk_endpoints: tuple[str, ...] = ()  # names of the variables by which the AWS SDK would go somewhere else
    files: tuple[Path, ...] = ()  # that steer the process, and exist

    @staticmethod
    def of(process: str, environ: Mapping[str, str], cwd: Path) -> Given:
        """Read `environ`; what is wrong there becomes faults, nothing is raised."""
        elsewhere = tuple(sorted(name for name in environ if name.startswith(SDK_ENDPOINTS) and environ[name]))
        files = steering_files(environ, cwd)
        try:
            settings = Settings.from_env(environ, cwd)
        except Refused as error:
            values, wrong = _as_far_as_readable(environ, cwd)
            path = cwd / values.get("FINANCE_TOPOLOGY", "topology.yaml")
            return Given(process, values, path, None, wrong or (error,), elsewhere, files)
        return Given(process, settings.values, settings.topology_path, settings, (), elsewhere, files)

    def text(self, name: str) -> str:
        """The value without blanks around it; empty when it is not set."""
        return self.values.get(name, "").strip()

    def is_true(self, name: str) -> bool:
        """true, 1, yes or y, in any case."""
        return self.text(name).lower() in TRUE

    @property
    def env(self) -> str:
        return self.text("FINANCE_ENV") or "dev"

    @property
    def production(self) -> bool:
        """Either name says so: a guard that reads one of them alone could be switched off by forgetting it."""
        return self.env == PRODUCTION or is_production(self.text("NODE_ENV"))

    @property
    def guarded(self) -> bool:
        """Outside dev: staging and production."""
        return self.production or self.env != "dev"

    @property
    def suspected(self) -> bool:
        """Whether anything at all says that this is not a development machine."""
        return (
            self.guarded
            or bool(self.text("NODE_ENV"))
            or self.settings is None
            or any(self.is_true(name) for name in ("REQUIRE_KMS", "REQUIRE_SIGNING_PROXY", "REQUIRE_MTLS"))
        )

    def does(self, *processes: str) -> bool:
        """Whether one of these starts (or all of them are checked)."""
        return self.process == EVERYBODY or self.process in processes


def is_production(name: str) -> bool:
    """Whether a platform means production by this name of an environment: in any case, in any of its spellings."""
    return LIKE_PRODUCTION.fullmatch(re.sub(r"[^a-z]", "", name.lower())) is not None


def _as_far_as_readable(environ: Mapping[str, str], cwd: Path) -> tuple[dict[str, str], tuple[Refused, ...]]:
    """The variables, and what is wrong with each secret's file: settings themselves stop at the first."""
    values = {v.name: environ[v.name] for v in VARIABLES if environ.get(v.name, "") != ""}
    guarded = values.get("FINANCE_ENV", "dev") != "dev"
    wrong = []
    for name in (variable.name for variable in VARIABLES if variable.secret):
        try:
            values |= secrets_from_files(environ, [name], cwd, guarded=guarded)
        except Refused as error:
            wrong.append(error)
    return values, tuple(wrong)


Guard = Callable[[Given], Iterable[GuardFault]]


def missing(given: Given, names: Iterable[str], why: str) -> Iterator[GuardFault]:
    """One fault for each variable that is not set."""
    for name in names:
        if not given.text(name):
            yield GuardFault(
                f"{name} is not set, and {why}", f"set {name} from the secret manager, see docs/CONFIGURATION.md"
            )


class StartRefused(Refused):
    """A start with faults: a header line, then ` - message` for each of them."""

    def __init__(self, process: str, faults: Iterable[GuardFault]) -> None:
        self.faults = tuple(faults)
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        lines = [f"{process} does not start, {count}", *(f" - {one_line(str(fault))}" for fault in self.faults)]
        super().__init__("\n".join(lines), remedy="mend all of them; `finance doctor` runs the same checks at any time")


def one_line(text: str) -> str:
    """Without line breaks, and without the password of an address."""
    return re.sub(r"(://[^:/@\s]*):[^\s]*@", r"\1:***@", " ".join(text.split()))
