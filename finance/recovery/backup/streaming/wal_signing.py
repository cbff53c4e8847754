"""Signing for the WAL that was stored: the stream's side of `finance.recovery.backup.place.wal_list`.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. SIGN the newest list + what this host stored since     a crash forgets it
  2. PUT it: newest, or full under its number               the commit point: it is never replaced once it is full
  3. DROP what it holds from `.unsigned`                    a crash finds it signed for at the next start, and drops it

Guarantees: no failure of a signer stops anything: it is logged, counted, and tried again a minute later; what waits is
signed for then. Lists that do not form one chain are never continued.
Does not: sign for the unfinished segment, or for a file that this host did not store.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.place.keys import newest_list_key, wal_list_key
from finance.recovery.backup.place.statement import check_counts
from finance.recovery.backup.place.wal_list import FILES_MAX, Listed, WalList, WalListPayload, join, parse_wal_list
from finance.recovery.backup.streaming.unsigned import Unsigned
from ledger_core.errors import FinanceError, Refused
from ledger_core.signing.counting import BackupPlace
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import assemble
from ledger_core.times import format_time

RETRY_SECONDS = 60.0

log = structlog.get_logger("backup")


@dataclass(frozen=True, slots=True)
class SigningTerms:
    """What it takes from outside. `open_signer` is called when there is something to sign; `on_failure` is called for
    each try that failed.
    """

    env: str  # environment, such as prod
    open_signer: Callable[[], PinnedSigner]
    clock: Callable[[], dt.datetime]  # UTC
    monotonic: Callable[[], float]  # seconds
    on_failure: Callable[[], None]


class WalSigning:
    """Goes on from `listed`; `count` files are signed for."""

    def __init__(self, terms: SigningTerms, system_identifier: str, copies: Copies, listed: Listed) -> None:
        self._terms = terms
        self._system = system_identifier
        self._copies = copies
        self._listed = listed
        self._signer: PinnedSigner | None = None
        self._not_before = float("-inf")

    def sign(self, unsigned: Unsigned) -> int | None:
        """Sign for what waits, one list at most; how many files are signed for then, None when nothing was signed.

        Raises Unavailable when the place does not take it.
        """
        if not unsigned.keys or self._terms.monotonic() < self._not_before:
            return None
        # 1. SIGN. In memory alone: a signer that is away, or a crash, leaves the files in `.unsigned`.
        try:
            self._signer = self._signer or self._terms.open_signer()
            payload, taken = self._next(unsigned, self._signer)
            data = assemble(payload, WalList, self._signer.sign_digest(payload.digest()))
            made = check_counts(data, parse_wal_list, SignerRegistry([self._signer.registered]), self._place)
        except FinanceError as error:
            self._not_before = self._terms.monotonic() + RETRY_SECONDS
            self._terms.on_failure()
            log.warning("backup.wal_not_signed", waiting=len(unsigned.keys), error=str(error))
            return None
        # 2. PUT. A crash before: the files are signed for at the next try; after: they are, and nobody exchanges them.
        if len(payload.files) == FILES_MAX:
            self._copies.put(wal_list_key(self._system, int(payload.list_no)), data)
        else:
            self._copies.put(newest_list_key(self._system), data)
        # 3. DROP. A crash before it: the next start compares `.unsigned` with the lists, and drops them there.
        unsigned.drop(taken)
        self._listed = join([made], ())
        return self._listed.count

    def close(self) -> None:
        if self._signer is not None:
            self._signer.close()

    def _place(self, made: WalList) -> BackupPlace:
        """Behind the lists that are known here."""
        return BackupPlace(self._listed.latest(int(made.files_before)), is_held=True)

    def _next(self, unsigned: Unsigned, signer: PinnedSigner) -> tuple[WalListPayload, int]:
        """The list that stands next, and how many of the waiting files it takes. Raises Refused."""
        if self._listed.faults:
            raise Refused(
                f"the lists of WAL do not form one chain: {'; '.join(self._listed.faults)}",
                remedy="`finance backup verify --also` a place that has them; else move wal-list/ aside, so that new "
                "lists begin, and take a backup",
            )
        last = self._listed.last
        goes_on = last is not None and len(last.files) < FILES_MAX
        before = last.files if last is not None and goes_on else ()
        files = (*before, *unsigned.keys[: FILES_MAX - len(before)])
        return WalListPayload(
            version=1,
            service="finance",
            statement="backup-wal",
            env=self._terms.env,
            system_identifier=self._system,
            list_no=str(int(last.list_no) + (not goes_on)) if last is not None else "1",
            files_before=last.files_before if last is not None and goes_on else str(self._listed.count),
            link_before=last.link_before if last is not None and goes_on else self._listed.link,
            files=files,
            signed_at=format_time(self._terms.clock()),
            signer_kid=signer.kid,
            alg=signer.algorithm,
        ), len(files) - len(before)
