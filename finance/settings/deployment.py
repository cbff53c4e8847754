"""What the environment says of this deployment.

Guarantees: a value that cannot be right (an unknown environment, a port out of range) is Refused with the remedy
when it is read; what is missing is Refused when it is needed, by name. No secret appears in a repr.
Does not: read `os.environ` (it is an argument) or connect to anything. The table is `finance.settings.variables`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

from finance.settings import clock
from finance.settings.dev_stack import values_lent
from finance.settings.key_file import API_KEY, keys_given
from finance.settings.secret_files import secrets_from_files
from finance.settings.tls_database import database_tls_files, unsafe_address
from finance.settings.tls_files import TlsFiles, checked, in_folder
from finance.settings.variables import COSIGNER, KEY_VARIABLES, NAMES_A_KEY, OUTGOING, VARIABLES
from finance.settings.web_addresses import check_web_addresses
from ledger_core.errors import Refused

Environment = Literal["dev", "staging", "production"]
LogFormat = Literal["auto", "console", "json"]
STATE_FOLDER: Final = ".finance"
DOMAIN_FORM: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
PATHS: Final = (
    "FINANCE_SIGNERS", "FINANCE_TLS_DIR", "FINANCE_CA_FILE", "KAFKA_TLS_CA_FILE", "KAFKA_TLS_CERT_FILE",
    "KAFKA_TLS_KEY_FILE", "S3_AUDIT_CA_FILE", "KMS_CA_FILE", "BACKUP_S3_CA_FILE",
    "DOOR_TLS_DIR", "DOOR_CONFIG",
    "SIGNING_PROXY_CA_FILE", "TRANSIT_CA_FILE",
    "AUDIT_SIGNING_KEY_FILE", "SIGNING_KEYS_FILE",
    "BACKUP_PLACE", "BACKUP_SPOOL", "BACKUP_IDENTITY_FILE", "PG_BIN",
    "SIGNING_PROXY_LOG", "SIGNING_PROXY_WITNESS_STATE", "SIGNING_PROXY_USED",
)  # fmt: skip
PREFIX_FORM: Final = re.compile(r"[A-Za-z0-9._-]{0,60}")


_LENT: Final = ("AUDIT_SIGNING_KMS_KEY_ID",)  # what has a default, and yet comes from a dev stack
_BY_NAME: Final = {variable.name: variable for variable in VARIABLES}
# The keys that a keys file alone names: the same defaults.
_BY_NAME.update({slot + name: _BY_NAME[name] for slot in (OUTGOING, COSIGNER) for name in (*NAMES_A_KEY, API_KEY)})


@dataclass(frozen=True, slots=True)
class EndpointTls:
    """How an https endpoint is met: the bundle its certificate is checked with (None: the system's), and ours."""

    ca_file: str | None  # PEM
    client_pair: tuple[str, str] | None  # certificate and key files of ours; None: none is shown


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """The S3 bucket of the audit archive; `endpoint` None means AWS itself."""

    bucket: str  # with Object Lock
    region: str  # of AWS
    endpoint: str | None
    access_key: str = field(repr=False)  # of the process's own role
    secret: str = field(repr=False)  # see access_key
    tls: EndpointTls


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings. Methods that need a value raise Refused, naming the variable, when it is not set."""

    env: Environment  # FINANCE_ENV
    domain: str  # FINANCE_DOMAIN: the origin of checkpoints begins with it
    stack: str  # name of the dev stack that is read, outside production
    topic_prefix: str  # stands before every topic and group
    topology_path: Path  # FINANCE_TOPOLOGY
    metrics_host: str  # address that /metrics listens on
    health_stall_seconds: float  # without progress for so long, /healthz answers 503
    hang_seconds: float  # without a beat for so long, the process ends itself
    log_format: LogFormat  # JSON or text
    log_level: str  # of structlog
    values: Mapping[str, str] = field(repr=False)  # every variable that is set, dev stack included

    @staticmethod
    def from_env(environ: Mapping[str, str], cwd: Path) -> Settings:
        """Read VARIABLES from `environ`; in dev, what is not set there comes from the running dev stack below `cwd`.

        Paths are relative to `cwd`. Raises Refused.
        """
        given = {v.name: environ[v.name] for v in VARIABLES if environ.get(v.name, "") != ""}
        env = _one_of(given, "FINANCE_ENV", ("dev", "staging", "production"))
        stack = _matching(given, "FINANCE_STACK", re.compile(r"[A-Za-z0-9_-]{1,60}"))
        secret_names = [variable.name for variable in VARIABLES if variable.secret]
        given |= secrets_from_files(environ, secret_names, cwd, guarded=env != "dev")
        given |= keys_given(environ, cwd, given.get(API_KEY, ""), guarded=env != "dev")
        check_web_addresses(given)
        if env == "dev":
            lent = values_lent(cwd / STATE_FOLDER / stack / "env.json")
            if any(name in given for name in KEY_VARIABLES.values()):  # a signer of one's own, instead of the stack's
                lent = {name: value for name, value in lent.items() if not name.startswith("AUDIT_SIGNING_")}
            given = {**lent, **given}
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
            hang_seconds=_number(given, "HANG_SECONDS", 60, 86_400),
            log_format=cast(LogFormat, _one_of(given, "FINANCE_LOG_FORMAT", ("auto", "console", "json"))),
            log_level=_one_of(given, "FINANCE_LOG_LEVEL", ("debug", "info", "warning", "error")),
            values={**given, **{name: str(cwd / given[name]) for name in PATHS if "://" not in given.get(name, "://")}},
        )

    @property
    def kafka_brokers(self) -> str:
        return self.needed("KAFKA_BROKERS")

    def tls(self, name: str) -> TlsFiles | None:
        """The certificate files of a process or principal, checked; None when no FINANCE_TLS_DIR is given.

        Raises Refused when they are not there, or no handshake can work with them.
        """
        folder = _text(self.values, "FINANCE_TLS_DIR")
        if not folder:
            return None
        ca = _text(self.values, "FINANCE_CA_FILE")
        return self._checked(in_folder(Path(folder), name, Path(ca) if ca else None))

    def kafka_options(self, name: str) -> dict[str, str]:
        """The options of every Kafka client that acts as `name`: TLS with its certificate, or none. Raises Refused."""
        files, own_ca = self._kafka_tls(name), _text(self.values, "KAFKA_TLS_CA_FILE")
        if files is not None:
            return files.kafka_options()
        return {"security.protocol": "ssl", "ssl.ca.location": own_ca} if own_ca else {}

    def tls_sets(self, process: str) -> dict[str, TlsFiles]:
        """Every set of certificate files a process uses, each once: what is watched for renewal. Raises Refused."""
        found = {
            "client": self.tls(process),
            "kafka": self._kafka_tls(process),
            "postgres": database_tls_files(self.database_url(process)),
        }
        once: dict[str, TlsFiles] = {}
        for name, files in found.items():
            if files is not None and files not in once.values():
                once[name] = self._checked(files)
        return once

    def _kafka_tls(self, name: str) -> TlsFiles | None:
        ca, certificate, key = (_text(self.values, f"KAFKA_TLS_{part}_FILE") for part in ("CA", "CERT", "KEY"))
        if bool(certificate) != bool(key):
            raise Refused(
                "KAFKA_TLS_CERT_FILE and KAFKA_TLS_KEY_FILE go together", remedy="set both, or neither of them"
            )
        files = None if certificate and ca else self.tls(name)
        if files is None and certificate:
            ca = ca or _text(self.values, "FINANCE_CA_FILE")
            if not ca:
                raise Refused(
                    "KAFKA_TLS_CA_FILE is not set", remedy="set it: a certificate is given, and nothing to trust"
                )
            return self._checked(TlsFiles(Path(ca), Path(certificate), Path(key)))
        if files is None:
            return None
        return self._checked(
            TlsFiles(Path(ca) if ca else files.ca, Path(certificate or files.certificate), Path(key or files.key))
        )

    def endpoint_tls(self, endpoint: str, own_ca: str, name: str) -> EndpointTls:
        """For AWS itself the system's authorities and no certificate of ours; plain http is for dev alone."""
        scheme = (address := _text(self.values, endpoint)).partition(":")[0].strip().lower()  # HTTP:// is as plain
        if scheme == "http" and self.env != "dev":
            raise Refused(f"{endpoint} is plain http", remedy="use an https endpoint, or none for AWS itself")
        files = self.tls(name) if scheme == "https" else None
        ca = _text(self.values, own_ca) or (_text(self.values, "FINANCE_CA_FILE") if address else "")
        return EndpointTls(ca or (str(files.ca) if files else None), files.client_pair if files else None)

    def _checked(self, files: TlsFiles) -> TlsFiles:
        return checked(files, clock.utc_now(), strict=self.env != "dev")

    def kafka_group_options(self, process: str) -> dict[str, str]:
        """The consumer options that say how this process is a member of its group. Raises Refused."""
        options = {"group.protocol": _one_of(self.values, "KAFKA_GROUP_PROTOCOL", ("consumer", "classic"))}
        instance = _text(self.values, "KAFKA_GROUP_INSTANCE_ID")
        return {**options, "group.instance.id": f"{instance}-{process}"} if instance else options

    @property
    def door_tls_dir(self) -> Path | None:
        return self._path("DOOR_TLS_DIR")

    @property
    def door_config(self) -> Path | None:
        return self._path("DOOR_CONFIG")

    def signing_proxy(self) -> tuple[str, int, Path]:
        """Host and port on which it listens, and the path of its log. Raises Refused."""
        port = int(_number(self.values, "SIGNING_PROXY_PORT", 0, 65_535))
        return _text(self.values, "SIGNING_PROXY_HOST"), port, Path(self.needed("SIGNING_PROXY_LOG"))

    @property
    def signers_path(self) -> Path:
        return Path(self.needed("FINANCE_SIGNERS"))

    def owner_database_url(self) -> str:
        """The address migrations use. Raises Refused."""
        return self._database_url("DATABASE_URL")

    def database_url(self, role: str) -> str:
        """The address of one of ROLES. Outside dev there is no falling back to the owner's (G9). Raises Refused."""
        name = f"DATABASE_URL_{role.upper()}"
        return self._database_url("DATABASE_URL" if self.env == "dev" and name not in self.values else name)

    def has_database_url(self, role: str) -> bool:
        """Whether an address is given for one of ROLES, or the owner's serves for it."""
        return f"DATABASE_URL_{role.upper()}" in self.values or (self.env == "dev" and "DATABASE_URL" in self.values)

    def _database_url(self, name: str) -> str:
        """In production nothing speaks to a database, for whatever command, but by TLS that checks its name."""
        found = self.needed(name)
        unsafe = unsafe_address(name, found, mutual=False) if self.env == "production" else None
        if unsafe is not None:
            raise unsafe
        return found

    def metrics_port(self, process: str) -> int:
        return int(_number(self.values, f"{process.upper()}_METRICS_PORT", 0, 65_535))

    def archive(self, name: str = "archiver") -> ArchiveSettings:
        """The archive's bucket and keys, for the archiver, or for a reader of that name. Raises Refused."""
        reads = name != "archiver" and _text(self.values, "S3_AUDIT_READ_ACCESS_KEY") != ""
        return ArchiveSettings(
            bucket=self.needed("S3_AUDIT_BUCKET"),
            region=_text(self.values, "S3_AUDIT_REGION"),
            endpoint=_text(self.values, "S3_AUDIT_ENDPOINT") or None,
            access_key=self.needed("S3_AUDIT_READ_ACCESS_KEY" if reads else "S3_AUDIT_ACCESS_KEY"),
            secret=self.needed("S3_AUDIT_READ_SECRET" if reads else "S3_AUDIT_SECRET"),
            tls=self.endpoint_tls("S3_AUDIT_ENDPOINT", "S3_AUDIT_CA_FILE", name),
        )

    def text(self, name: str) -> str:
        """The value, or the default; empty when there is none."""
        return _text(self.values, name)

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        """One of the allowed values. Raises Refused."""
        return _one_of(self.values, name, allowed)

    def number(self, name: str, smallest: int, largest: int) -> float:
        """A whole number in bounds. Raises Refused."""
        return _number(self.values, name, smallest, largest)

    def _path(self, name: str) -> Path | None:
        return Path(self.values[name]) if name in self.values else None

    def needed(self, name: str, or_else: str = "") -> str:
        """The value. Raises Refused when there is none; `or_else` says what else would do."""
        value = self.text(name)
        if value:
            return value
        remedy = f"set {name}{or_else} ({_BY_NAME[name].meaning})"
        if self.env == "dev" and (_BY_NAME[name].default is None or name in _LENT):
            remedy += ", or start the dev stack with `finance dev up`"
        raise Refused(f"{name} is not set", remedy=remedy)


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
