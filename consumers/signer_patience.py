"""Waiting for a signer that is away, while everything else goes on.

Guarantees: one log line and one count for each failed try, and a wait before the next that doubles up to ten seconds;
so an outage is seen and never a busy loop.
Does not: sign, or give up. A signer that refuses (a disabled key) is waited for as well: G6 stops what must be signed,
and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from consumers.metrics import Metrics
from ledger_core.errors import Refused, Unavailable

RETRY_SECONDS_MIN = 0.5
RETRY_SECONDS_MAX = 10.0

log = structlog.get_logger("signer")


class SignerPatience:
    """`ready` says whether it is time for a try; tell the outcome by `failed` or `succeeded`."""

    def __init__(self, monotonic: Callable[[], float], metrics: Metrics) -> None:
        self._monotonic = monotonic
        self._metrics = metrics
        self._failures = 0
        self._again_at = 0.0

    @property
    def ready(self) -> bool:
        return self._monotonic() >= self._again_at

    def failed(self, error: Unavailable | Refused) -> None:
        self._failures += 1
        wait_seconds = min(RETRY_SECONDS_MAX, RETRY_SECONDS_MIN * 2 ** min(self._failures - 1, 10))
        self._again_at = self._monotonic() + wait_seconds
        self._metrics.unavailable("signer")
        log.error("signer.failed", what="signer", error=str(error), failures=self._failures, retry_seconds=wait_seconds)

    def succeeded(self) -> None:
        self._failures = 0
