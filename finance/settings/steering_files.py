"""The files that steer a process, as its environment names them: registry, topology, keys, callers, secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from finance.settings.secret_files import SUFFIX
from finance.settings.variables import VARIABLES

# Variables that name a file whose content steers us; beside them each secret variable's file (`<NAME>_FILE`).
STEERING_FILES: Final = (
    "FINANCE_SIGNERS", "FINANCE_TOPOLOGY", "SIGNING_KEYS_FILE", "DOOR_CONFIG", "PKCS11_MODULE", "BACKUP_IDENTITY_FILE",
    "FINANCE_CA_FILE", "KAFKA_TLS_CA_FILE", "KAFKA_TLS_CERT_FILE", "KAFKA_TLS_KEY_FILE", "S3_AUDIT_CA_FILE",
    "KMS_CA_FILE", "TRANSIT_CA_FILE", "SIGNING_PROXY_CA_FILE", "BACKUP_S3_CA_FILE", "KERNEL_SIGNERS_FILE",
)  # fmt: skip
STEERING_FOLDERS: Final = ("DOOR_TLS_DIR", "PG_BIN")


def steering_files(environ: Mapping[str, str], cwd: Path) -> tuple[Path, ...]:
    """Those that are named and exist; paths are relative to `cwd`."""
    return tuple(path for path in _named(environ, cwd) if path.is_file())


def _named(environ: Mapping[str, str], cwd: Path) -> Iterator[Path]:
    for name in (*STEERING_FILES, *(variable.name + SUFFIX for variable in VARIABLES if variable.secret)):
        if environ.get(name):
            yield cwd / environ[name]
    for name in STEERING_FOLDERS:
        if environ.get(name) and (folder := cwd / environ[name]).is_dir():
            yield from sorted(folder.iterdir())
