"""A signer registry that changes while a process runs: a key that was retired or revoked must not sign on.

Guarantees: `changed` answers true when signers.json holds something else that can be read; a damaged file is logged and
waited for, because what is in memory still is what was published.
Does not: judge keys. The service is built anew (run_service), and refuses a key that may not be used any more.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from finance.wiring.registry_file import read_registry
from ledger_core.errors import Refused
from schemas.read_file import STATEMENT_BYTES_MAX, read_file

LOOK_SECONDS: Final = 5.0

log = structlog.get_logger("registry")


class RegistryWatch:
    """Watches one signers.json. `begin` is called before the registry is read."""

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._look_at = monotonic()
        self._seen = self._told = b""

    def begin(self) -> None:
        """What stands there now is what is in use."""
        self._seen = self._told = self._digest()
        self._look_at = self._monotonic() + LOOK_SECONDS

    def changed(self) -> bool:
        """Whether there is another registry to take up. Reads every LOOK_SECONDS; cheap otherwise."""
        if self._monotonic() < self._look_at:
            return False
        self._look_at = self._monotonic() + LOOK_SECONDS
        found = self._digest()
        if found == self._seen:
            return False
        try:
            read_registry(self._path)
        except Refused as error:
            if found != self._told:
                self._told = found
                log.warning("registry.not_sound", detail=error.message, then="what is in use is kept")
            return False
        log.info("registry.changed", path=str(self._path))
        return True

    def _digest(self) -> bytes:
        try:
            return hashlib.sha256(read_file(self._path, STATEMENT_BYTES_MAX)).digest()
        except (OSError, Refused):
            return b"not there"
