"""Streaming WAL off the server as it is written: pg_receivewal on a replication slot, each segment sealed and stored.

    pg_receivewal -> spool -> compress, encrypt -> place  (steps: `finance.recovery.backup.streaming.spool`)
                                                -> lists  (steps: `finance.recovery.backup.streaming.wal_signing`)

Guarantees: the segment that is being written is stored as `.partial` every few seconds, so that what can be lost with
the server and this host together is seconds of WAL; the slot makes the server keep what was not received. A killed
receiver goes on where the slot says, and its own child that outlived it is ended first.
Does not: slow the server's commits (it is asynchronous), or keep the server's disk from filling while it is away: set
`max_slot_wal_keep_size` there.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog
from pyrage import x25519

from finance.recovery.backup import wal
from finance.recovery.backup.failures import failures
from finance.recovery.backup.place.catalogue import Catalogue, read_backups, read_catalogue
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.streaming.receiver import end_left, start_receiver
from finance.recovery.backup.streaming.spool import Spool
from finance.recovery.backup.streaming.wal_signing import SigningTerms, WalSigning
from finance.recovery.backup.tools import Tools, failed
from ledger_core.errors import FinanceError, Refused, Unavailable
from ledger_core.postgres.recovery.replication import ServerIdentity, ensure_slot, identify, received_lsn
from ledger_core.postgres.session import session
from ledger_core.signing.registry import SignerRegistry

SEGMENT_BYTES_MAX = 64 * 2**20  # a segment is sealed in memory
LOOK_SECONDS = 0.5
BACKUPS_SECONDS = 60.0
STOP_SECONDS_MAX = 10.0

log = structlog.get_logger("backup")


class StreamMetrics(Protocol):
    def wal_lag(self, lag_bytes: int, lag_seconds: float) -> None: ...

    def backup_age(self, seconds: float) -> None: ...

    def wal_stored(self, stored_bytes: int) -> None: ...

    def backup_failed(self, what: str) -> None: ...

    def backup_failures(self, noted: Mapping[str, int]) -> None: ...


@dataclass(frozen=True, slots=True)
class StreamTerms:
    """What the stream takes from outside. `clock` gives UTC times, `monotonic` seconds."""

    dsn: str  # of the server, with the right to replicate
    slot: str  # name of the replication slot
    tools: Tools
    copies: Copies
    recipients: Sequence[x25519.Recipient]  # age keys that can open the WAL
    registry: SignerRegistry
    spool: Path  # folder on this host
    partial_seconds: float  # between two storings of the unfinished segment
    clock: Callable[[], dt.datetime]
    monotonic: Callable[[], float]
    metrics: StreamMetrics  # counts what is stored and what fails
    signing: SigningTerms  # who signs for the WAL


class WalStream:
    """A `consumers.service.Service`: built anew, with back-off, whenever the server or the place is away."""

    name = "backup"

    def __init__(self, terms: StreamTerms) -> None:
        self._terms = terms
        with session(terms.dsn, application_name="finance backup") as connection:
            server = identify(connection)
            ensure_slot(connection, terms.slot)
        self._system = server.system_identifier
        self._spool = Spool(
            terms.spool,
            self._system,
            terms.copies,
            lambda: read_catalogue(terms.copies, self._system, terms.registry),
            terms.recipients,
            terms.clock,
            terms.metrics.wal_stored,
        )
        self._signing = WalSigning(terms.signing, self._system, terms.copies, self._spool.place.listed)
        self._partial_at = self._looked_at = self._backups_at = float("-inf")
        self._behind_since: float | None = None
        try:
            _check(server, self._spool.place)
            end_left(self._spool.path)
            self._spool.drain()
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the receiver
            self._receiver = start_receiver(terms.tools, terms.dsn, terms.slot, self._spool.path, self._stderr)
        except BaseException:
            self._spool.close()
            raise
        log.info("backup.streaming", slot=terms.slot, timeline=server.timeline, pid=self._receiver.pid)

    def step(self) -> bool:
        """Store what is complete, and every few seconds what is not. Raises Unavailable, Refused."""
        try:
            return self._step()
        except FinanceError:
            self._terms.metrics.backup_failed("stream")
            raise

    def _step(self) -> bool:
        code = self._receiver.poll()
        if code is not None:
            raise failed("pg_receivewal", code, self._stderr)
        worked = self._spool.store_complete()
        now = self._terms.monotonic()
        if now - self._partial_at >= self._terms.partial_seconds:
            self._partial_at = now
            worked = self._spool.store_partial(self._received()) or worked
            self._sign()  # last: a signer that is slow to say no keeps nothing waiting
        self._tell(now)
        return worked

    def close(self) -> None:
        """Stop the receiver, then store what it left: the server may be gone for ever."""
        received = 0
        with suppress(Unavailable, Refused):
            received = self._received()  # asked while it is at work: afterwards nobody knows
        self._receiver.terminate()
        try:
            self._receiver.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._receiver.kill()
            self._receiver.wait()
        self._stderr.close()
        try:
            self._spool.store_complete()
            self._spool.store_partial(received)
            self._sign()
        finally:
            self._signing.close()
            self._spool.close()

    def _sign(self) -> None:
        count = self._signing.sign(self._spool.unsigned)
        if count is not None:
            self._spool.note_listed(count)

    def _received(self) -> int:
        with session(self._terms.dsn, application_name="finance backup") as connection:
            return received_lsn(connection, self._terms.slot)

    def _tell(self, now: float) -> None:
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        with session(self._terms.dsn, application_name="finance backup") as connection:
            lag_bytes = max(0, identify(connection).flush_lsn - self._spool.safe_lsn)
        if not lag_bytes:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        self._terms.metrics.wal_lag(lag_bytes, 0.0 if self._behind_since is None else now - self._behind_since)
        self._terms.metrics.backup_failures(failures(self._terms.spool))
        if now - self._backups_at >= BACKUPS_SECONDS:
            self._backups_at = now
            backups = read_backups(self._terms.copies, self._system, self._terms.registry)
            if backups:
                self._terms.metrics.backup_age((self._terms.clock() - backups[-1].finished).total_seconds())


def _check(server: ServerIdentity, place: Catalogue) -> None:
    """Refuse what the place could not hold beside what it has, or memory could not."""
    if server.segment_bytes > SEGMENT_BYTES_MAX:
        raise Refused(
            f"WAL segments of {server.segment_bytes} bytes are sealed in memory, {SEGMENT_BYTES_MAX} at most",
            remedy="make the cluster with a smaller --wal-segsize",
        )
    lives = [wal.parse_segment(name, server.segment_bytes) for name in place.segments]
    newest = max((life.number for life in lives if life.timeline == server.timeline), default=0)
    if newest > server.flush_lsn // server.segment_bytes:
        raise Refused(
            f"the place has WAL of timeline {server.timeline} beyond this server's: "
            "another server of the same cluster wrote it",
            remedy="give this server a place of its own (BACKUP_PLACE), or restore with `finance backup restore`, "
            "which begins a new timeline",
        )
