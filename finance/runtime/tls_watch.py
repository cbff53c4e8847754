"""Certificates that change while a process runs: when to take them up, and how long the ones in use are still valid.

Guarantees: `renewed` answers true when there is a new, whole, valid set of files; a half-written pair, or one that has
expired, is logged and waited for, because what is in memory still works. The expiry of each certificate is a metric,
and a warning is logged while less than a fifth of its life is left.
Does not: load anything into a connection. The service is closed between two steps and built anew (run_service): every
client, of Kafka, Postgres, S3 and KMS alike, then reads the files itself.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from finance.settings import clock
from finance.settings.tls_files import TlsFiles, is_pair, lifetime
from ledger_core.errors import Refused

LOOK_SECONDS: Final = 5.0
WARN_EVERY_SECONDS: Final = 6 * 3600.0

log = structlog.get_logger("certificates")


class TlsWatch:
    """Watches the sets of files a process uses. `tell(which, unix time)` is called with when each certificate ends."""

    def __init__(
        self,
        tell: Callable[[str, float], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], dt.datetime] = clock.utc_now,
    ) -> None:
        self._sets: dict[str, TlsFiles] = {}
        self._seen: tuple[object, ...] = ()
        self._tell = tell
        self._monotonic = monotonic
        self._now = now
        self._look_at = self._warn_at = monotonic()

    def begin(self, sets: Mapping[str, TlsFiles]) -> None:
        """Watch these, by name, from now on: called before the clients that read them are made."""
        self._sets = dict(sets)
        self._seen = self._fingerprints()
        self._look_at, self._warn_at = self._monotonic() + LOOK_SECONDS, self._monotonic()
        self._tell_lifetimes()

    def renewed(self) -> bool:
        """Whether there are new files to take up. Reads every LOOK_SECONDS; cheap otherwise."""
        if not self._sets or self._monotonic() < self._look_at:
            return False
        self._look_at = self._monotonic() + LOOK_SECONDS
        try:
            found = self._fingerprints()
            if found == self._seen:
                self._tell_lifetimes()
                return False
            self._check_whole()
        except (OSError, Refused) as error:  # between two writes of a renewal, or a bad one
            self._complain(error)
            return False
        log.info("certificates.renewed", sets=sorted(self._sets))
        return True

    def _fingerprints(self) -> tuple[object, ...]:
        return tuple(files.fingerprint() for files in self._sets.values())

    def _check_whole(self) -> None:
        for files in self._sets.values():
            lifetime(files.ca)
            if not is_pair(files):
                raise Refused(f"{files.key} is not the key of {files.certificate}", remedy="wait for the other file")
            if lifetime(files.certificate).ends <= self._now():
                raise Refused(f"{files.certificate} has expired", remedy="renew it")

    def _complain(self, error: Exception) -> None:
        if self._monotonic() >= self._warn_at:
            self._warn_at = self._monotonic() + LOOK_SECONDS * 12
            log.warning("certificates.not_whole", detail=str(error), then="what is in use is kept")

    def _tell_lifetimes(self) -> None:
        """The metric each time; the warning now and then."""
        late = []
        for name, files in self._sets.items():
            for which, path in ((name, files.certificate), (f"{name}_ca", files.ca)):
                life = lifetime(path)
                self._tell(which, life.ends.timestamp())
                if life.is_late(self._now()):
                    late.append(f"{path} ({life.subject}) ends at {life.ends:%Y-%m-%dT%H:%M:%SZ}")
        if late and self._monotonic() >= self._warn_at:
            self._warn_at = self._monotonic() + WARN_EVERY_SECONDS
            log.warning("certificates.ending", certificates=late, remedy="renew them: RUNBOOK.md, section 3")
