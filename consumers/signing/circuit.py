"""Trying a signer: each failure logged once, waits that grow, and a circuit that opens and fails closed.

    closed ──3 failures in a row──► open ──its wait is over──► half-open: one probe ──► closed, or open again
       └─ after each failure a wait: 0.5 s, doubling up to 10 s, in which nobody asks the key service

Guarantees: the first thing a key ever does here is to be pinned (its service holds the registered key); every failure
gives one log line and one count by reason, and what was to be signed waits; nothing is signed around an open circuit.
A failure of one signature of a statement fails the statement, so that half a success never closes the circuit.
Does not: sign, give up, or hide: a key that refuses (disabled) is waited for like one that is away, since G6 stops what
must be signed and nothing else. Only the wrong key behind the right name is Refused for good: the process ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

import structlog

from consumers.metrics import Metrics
from ledger_core.errors import Refused, SignerFailure, SignerRefused, Unavailable
from ledger_core.signing.pinned_signer import PinnedSigner

FAILURES_TO_OPEN: Final = 3
RETRY_SECONDS_MIN: Final = 0.5
RETRY_SECONDS_MAX: Final = 10.0

CircuitState = Literal["closed", "half_open", "open"]

log = structlog.get_logger("signer")


class SignerAway(Unavailable):
    """No signature now; the failure behind it has been logged and counted. Come back when the circuit is `ready`."""

    def __init__(self, detail: str) -> None:
        super().__init__("signer", detail)


class SignerCircuit:
    """One key's circuit; `signer` is the key, or why there is none. `monotonic` gives seconds."""

    def __init__(
        self, kid: str, signer: PinnedSigner | SignerRefused, monotonic: Callable[[], float], metrics: Metrics
    ) -> None:
        self.kid: Final = kid
        self._signer = signer
        self._monotonic = monotonic
        self._metrics = metrics
        self._pinned = False
        self._failures = 0
        self._again_at = 0.0
        metrics.signer_circuit(kid, "closed")

    @property
    def ready(self) -> bool:
        """Whether it is time for a try."""
        return self._monotonic() >= self._again_at

    def pin(self) -> None:
        """Ask for the key now, if it answers. Raises Refused when it is the wrong one, or may not be used."""
        try:
            with self.attempt():
                pass
        except SignerAway:
            pass  # logged; the first attempt that succeeds pins it

    @contextmanager
    def attempt(self) -> Iterator[PinnedSigner]:
        """One try at one statement: all its signatures belong in the block, and nothing else that can fail.

        Raises SignerAway when the circuit is open, or the signer fails (in the block or before); Refused when what
        answers for the first time is not the registered key, or does not sign as it must; SignerRefused (WITNESS) when
        the key refuses this one statement.
        """
        if not self.ready:
            raise SignerAway(f"{self.kid} is not asked again before its wait is over")
        if self._failures >= FAILURES_TO_OPEN:
            self._metrics.signer_circuit(self.kid, "half_open")
        try:
            yield self._pin()
        except Unavailable as error:
            if error.what != "signer":
                raise
            raise self._failed(SignerFailure.UNAVAILABLE, error) from error
        except Refused as error:
            failure = error.failure if isinstance(error, SignerRefused) else SignerFailure.REFUSED
            if failure is SignerFailure.WITNESS:
                self._metrics.signer_failed(failure.value)
                raise  # of one log: the key is well, and others need not wait
            away = self._failed(failure, error)
            if not self._pinned and failure is not SignerFailure.NOT_CONFIGURED:
                raise  # as at any start: it is not a signer of ours until it is pinned
            raise away from error
        if self._failures:
            log.info("signer.recovered", signer_kid=self.kid, failures=self._failures)
            self._failures = 0
            self._metrics.signer_circuit(self.kid, "closed")

    def close(self) -> None:
        if isinstance(self._signer, PinnedSigner):
            self._signer.close()

    def _pin(self) -> PinnedSigner:
        if isinstance(self._signer, SignerRefused):
            raise self._signer
        if not self._pinned:
            self._signer.pin()
            self._pinned = True
            log.info("signer.pinned", signer_kid=self.kid, alg=self._signer.algorithm)
        return self._signer

    def _failed(self, failure: SignerFailure, error: Unavailable | Refused) -> SignerAway:
        self._failures += 1
        wait_seconds = min(RETRY_SECONDS_MAX, RETRY_SECONDS_MIN * 2 ** min(self._failures - 1, 10))
        self._again_at = self._monotonic() + wait_seconds
        state: CircuitState = "open" if self._failures >= FAILURES_TO_OPEN else "closed"
        self._metrics.unavailable("signer")
        self._metrics.signer_failed(failure.value)
        self._metrics.signer_circuit(self.kid, state)
        log.error(
            "signer.failed",
            what="signer",
            reason=failure.value,
            error=str(error),
            signer_kid=self.kid,
            failures=self._failures,
            circuit=state,
            retry_seconds=wait_seconds,
        )
        return SignerAway(str(error))
