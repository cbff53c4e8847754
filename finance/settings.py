"""What this deployment is told by its environment.

Guarantees: a value that cannot be right (an unknown environment, a port that is no port) is Refused with the remedy
when it is read; what is missing is Refused when it is needed, by name. No secret appears in a repr.
Does not: read `os.environ` (it is an argument) or connect to anything. The table is `finance.variables`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

from finance.variables import VARIABLES
from ledger_core.errors import Refused
from ledger_core.ports import Algorithm

Environment = Literal["dev", "staging", "production"]
LogFormat = Literal["auto", "console", "json"]
STATE_FOLDER: Final = ".finance"
DOMAIN_FORM: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
PREFIX_FORM: Final = re.compile(r"[A-Za-z0-9._-]{0,60}")


_BY_NAME: Final = {variable.name: variable for variable in VARIABLES}


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """The S3 bucket of the audit archive; `endpoint` None means AWS itself."""

    bucket: str
    region: str
    endpoint: str | None
    access_key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningSettings:
    """The KMS key that signs; `endpoint` None means AWS itself, credentials None the AWS SDK's own search."""

    key_id: str
    algorithm: Algorithm
    region: str
    endpoint: str | None
    access_key: str | None = field(repr=False)
    secret: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings. Methods that need a value raise Refused, naming the variable, when it is not set."""

    env: Environment
    domain: str
    stack: str
    topic_prefix: str
    topology_path: Path
    metrics_host: str
    health_stall_seconds: float
    log_format: LogFormat
    log_level: str
    values: Mapping[str, str] = field(repr=False)  # every variable that is set, dev stack included

    @staticmethod
    def from_env(environ: Mapping[str, str], cwd: Path) -> Settings:
        """Read VARIABLES from `environ`; in dev, what is not set there comes from the running dev stack below `cwd`.

        Paths are relative to `cwd`. Raises Refused.
        """
        given = {v.name: environ[v.name] for v in VARIABLES if environ.get(v.name, "") != ""}
        env = _one_of(given, "FINANCE_ENV", ("dev", "staging", "production"))
        stack = _matching(given, "FINANCE_STACK", re.compile(r"[A-Za-z0-9_-]{1,60}"))
        if env == "dev":
            given = {**_stack_values(cwd / STATE_FOLDER / stack / "env.json"), **given}
        elif "FINANCE_DOMAIN" not in given:
            raise Refused(
                f"FINANCE_DOMAIN is not set, and FINANCE_ENV is {env}",
                remedy="set it to a domain of yours: checkpoints carry it for ever",
            )
        return Settings(
            env=cast(Environment, env),
            domain=_matching(given, "FINANCE_DOMAIN", DOMAIN_FORM),
            stack=stack,
            topic_prefix=_matching(given, "FINANCE_TOPIC_PREFIX", PREFIX_FORM),
            topology_path=cwd / _text(given, "FINANCE_TOPOLOGY"),
            metrics_host=_text(given, "METRICS_HOST"),
            health_stall_seconds=_number(given, "HEALTH_STALL_SECONDS", 1, 86_400),
            log_format=cast(LogFormat, _one_of(given, "FINANCE_LOG_FORMAT", ("auto", "console", "json"))),
            log_level=_one_of(given, "FINANCE_LOG_LEVEL", ("debug", "info", "warning", "error")),
            values={**given, **{name: str(cwd / given[name]) for name in ("FINANCE_SIGNERS",) if name in given}},
        )

    @property
    def kafka_brokers(self) -> str:
        return self._needed("KAFKA_BROKERS")

    def kafka_group_options(self, process: str) -> dict[str, str]:
        """The consumer options that say how this process is a member of its group. Raises Refused."""
        options = {"group.protocol": _one_of(self.values, "KAFKA_GROUP_PROTOCOL", ("consumer", "classic"))}
        instance = _text(self.values, "KAFKA_GROUP_INSTANCE_ID")
        return {**options, "group.instance.id": f"{instance}-{process}"} if instance else options

    @property
    def signers_path(self) -> Path:
        return Path(self._needed("FINANCE_SIGNERS"))

    def owner_database_url(self) -> str:
        """The address migrations use. Raises Refused."""
        return self._needed("DATABASE_URL")

    def database_url(self, role: str) -> str:
        """The address of one of ROLES. Outside dev there is no falling back to the owner's (G9). Raises Refused."""
        name = f"DATABASE_URL_{role.upper()}"
        if self.env == "dev" and name not in self.values:
            return self._needed("DATABASE_URL")
        return self._needed(name)

    def metrics_port(self, process: str) -> int:
        return int(_number(self.values, f"{process.upper()}_METRICS_PORT", 0, 65_535))

    def archive(self) -> ArchiveSettings:
        """The archive's bucket and keys. Raises Refused."""
        return ArchiveSettings(
            bucket=self._needed("S3_AUDIT_BUCKET"),
            region=_text(self.values, "S3_AUDIT_REGION"),
            endpoint=_text(self.values, "S3_AUDIT_ENDPOINT") or None,
            access_key=self._needed("S3_AUDIT_ACCESS_KEY"),
            secret=self._needed("S3_AUDIT_SECRET"),
        )

    def signing(self) -> SigningSettings:
        """The signing key. Raises Refused, also for an algorithm we do not sign with."""
        return SigningSettings(
            key_id=self._needed("AUDIT_SIGNING_KMS_KEY_ID"),
            algorithm=cast(Algorithm, _one_of(self.values, "AUDIT_SIGNING_ALG", ("rsa-sha256", "ed25519"))),
            region=_text(self.values, "KMS_REGION"),
            endpoint=_text(self.values, "KMS_ENDPOINT") or None,
            access_key=_text(self.values, "AWS_ACCESS_KEY_ID") or None,
            secret=_text(self.values, "AWS_SECRET_ACCESS_KEY") or None,
        )

    def _needed(self, name: str) -> str:
        value = self.values.get(name, "")
        if value:
            return value
        remedy = f"set {name} ({_BY_NAME[name].meaning})"
        if self.env == "dev":
            remedy += ", or start the dev stack with `finance dev up`"
        raise Refused(f"{name} is not set", remedy=remedy)


def _stack_values(path: Path) -> dict[str, str]:
    """What the running dev stack tells; nothing when there is none. Only names of VARIABLES are taken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Refused(
            f"{path} cannot be read ({error})", remedy="run `finance dev down` and `finance dev up`"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Refused(f"{path} is no object of texts", remedy="run `finance dev down` and `finance dev up`")
    return {name: value for name, value in found.items() if name in _BY_NAME and value != ""}


def _text(given: Mapping[str, str], name: str) -> str:
    return given.get(name) or _BY_NAME[name].default or ""


def _one_of(given: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = _text(given, name)
    if value not in allowed:
        raise Refused(f"{name} is {value!r}", remedy=f"use one of {', '.join(allowed)}")
    return value


def _matching(given: Mapping[str, str], name: str, form: re.Pattern[str]) -> str:
    value = _text(given, name)
    if form.fullmatch(value) is None:
        raise Refused(f"{name} is {value!r}", remedy=f"use a text of the form {form.pattern}")
    return value


def _number(given: Mapping[str, str], name: str, smallest: int, largest: int) -> float:
    value = _text(given, name)
    if not (value.isascii() and value.isdigit() and len(value) < 10 and smallest <= int(value) <= largest):
        raise Refused(f"{name} is {value!r}", remedy=f"use a whole number from {smallest} to {largest}")
    return int(value)
