"""Seals: a MAC over the log's head at bounded intervals: who can write the file cannot rewrite what they cover.

Guarantees: at most UNSEALED_RECORDS_MAX records and UNSEALED_SECONDS_MAX seconds of the log lie behind no seal, else
nothing is signed until there is one; a log begins with a seal, and a start goes on only from a newest seal that this
key made, over a record that is there, with an unbroken chain to the head. The key service is asked between requests,
never by one of them.
Does not: keep what follows the newest seal from being rewritten, or prove anything to strangers: who may check a MAC
could be let to make it. A log needs a key of its own, or the log of another proxy could be put in its place.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from finance.signing_proxy.request_log import NO_RECORD, LogHead, Record, RequestLog
from ledger_core.decimals import is_decimal
from ledger_core.errors import Refused, Unavailable
from ledger_core.hashes import is_hash
from ledger_core.ports import Mac

SEALED: Final = "sealed"
SEAL_RECORDS: Final = 1_000  # so many, or so long after the first of them
SEAL_SECONDS: Final = 60.0
UNSEALED_RECORDS_MAX: Final = 10_000
UNSEALED_SECONDS_MAX: Final = 600.0
RETRY_SECONDS: Final = 5.0
GAP_RECORDS_MAX: Final = UNSEALED_RECORDS_MAX + 5_000  # with those that come while the key service is asked
EVER: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
REMEDY: Final = "keep that log as it is, check it (finance signing-proxy log verify), and begin a new one"

log = structlog.get_logger("signing-proxy")


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal as it stands in the log: the record `seq` says that the key made `mac` over `head`."""

    seq: int
    head: LogHead
    mac: bytes

    @property
    def message(self) -> bytes:
        return seal_message(self.head)


def seal_message(head: LogHead) -> bytes:
    """What is sealed: these three lines. A log without records has the hash `-`."""
    hashed = "-" if head.hash is None else head.hash.hex()
    return f"finance signing-proxy log seal v1\n{head.seq}\n{hashed}\n".encode("ascii")


def seal_of(record: Record) -> Seal | None:
    """The seal in a record; None when it is not a seal, or one that says nothing."""
    number, hashed = record.get("sealed_seq", ""), record.get("sealed_hash")
    if record.get("event") != SEALED or not is_decimal(number):
        return None
    if (int(number) == 0) != (hashed is None) or not (hashed is None or is_hash(hashed)):
        return None
    try:
        mac = base64.b64decode(record.get("mac", ""), validate=True)
    except binascii.Error:
        return None
    return Seal(int(record["seq"]), LogHead(int(number), None if hashed is None else bytes.fromhex(hashed)), mac)


class Sealer:
    """Seals `request_log` with `mac`. Raises Refused and Unavailable("mac", "log") at construction."""

    def __init__(self, request_log: RequestLog, mac: Mac, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._log, self._mac, self._monotonic = request_log, mac, monotonic
        self._unsealed_since: float | None = None
        self._again_at = 0.0
        if request_log.head == NO_RECORD:
            self._sealed_seq = 0
            self._seal()
        else:
            self._sealed_seq = self._check_newest()

    def beat(self) -> None:
        """Seal when it is time; to be called every second or so. Raises nothing."""
        now = self._monotonic()
        unsealed = self._log.head.seq - self._sealed_seq
        if unsealed == 0:
            return
        if self._unsealed_since is None:
            self._unsealed_since = now
        age_seconds = now - self._unsealed_since
        if (unsealed >= SEAL_RECORDS or age_seconds >= SEAL_SECONDS) and now >= self._again_at:
            self._again_at = now + RETRY_SECONDS
            if self._tried():
                return
        if unsealed >= UNSEALED_RECORDS_MAX or age_seconds >= UNSEALED_SECONDS_MAX:
            self._log.held = f"{unsealed} records could not be sealed: {self._mac.key_id} must answer first"

    def close(self) -> None:
        """Seal what is left, if the key service answers, and let it go."""
        if self._log.head.seq > self._sealed_seq:
            self._tried()
        self._mac.close()

    def _tried(self) -> bool:
        try:
            self._seal()
        except (Unavailable, Refused) as error:
            log.error("signing_proxy.not_sealed", mac_key=self._mac.key_id, detail=str(error))
            return False
        return True

    def _seal(self) -> None:
        head = self._log.head
        mac = self._mac.make(seal_message(head))
        record = {
            "event": SEALED,
            "mac": base64.b64encode(mac).decode("ascii"),
            "mac_alg": "HMAC_SHA_256",
            "mac_key": self._mac.key_id,
            "sealed_seq": str(head.seq),
        }
        if head.hash is not None:
            record["sealed_hash"] = head.hash.hex()
        self._sealed_seq = self._log.append(record).seq
        self._unsealed_since, self._log.held = None, None

    def _check_newest(self) -> int:
        """Where the newest seal stands, once it is right and leads to the head. Raises Refused, Unavailable."""
        sealed = next(map(seal_of, self._log.recent(EVER, b'"event":"sealed"')), None)
        if sealed is None:
            raise Refused("the log has records and no seal", remedy=REMEDY)
        if not self._leads_to(sealed.head):
            raise Refused(f"the log does not lead from its newest seal ({sealed.head.seq}) to its head", remedy=REMEDY)
        if not self._mac.verify(sealed.message, sealed.mac):
            raise Refused(f"the newest seal of the log was not made by {self._mac.key_id}", remedy=REMEDY)
        return sealed.seq

    def _leads_to(self, sealed: LogHead) -> bool:
        """Whether the chain goes back from the head to that record, and not too far."""
        wanted = self._log.head
        for record in self._log.recent(EVER, b""):
            found = LogHead(int(record["seq"]), bytes.fromhex(record["hash"]))
            if found != wanted or self._log.head.seq - wanted.seq > GAP_RECORDS_MAX:
                return False
            if wanted == sealed:
                return True
            previous = record.get("prev_hash")
            wanted = LogHead(found.seq - 1, None if previous is None else bytes.fromhex(previous))
        return wanted == sealed == NO_RECORD
