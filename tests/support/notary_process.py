"""A notary in its own process, to be killed: python -m tests.support.notary_process, settings in the environment."""

from __future__ import annotations

import os
import threading

from consumers.metrics import NullMetrics
from consumers.service import Backoff, run_service
from tests.support.audit import build_notary
from tests.support.signing import kms_signer

if __name__ == "__main__":
    signer, registry = kms_signer(os.environ, "ed25519")
    raise SystemExit(
        run_service(
            lambda: build_notary(os.environ, signer, registry, batch_events_max=20),
            stop=threading.Event(),
            metrics=NullMetrics(),
            backoff=Backoff(delay_ms_min=50, delay_ms_max=200),
        )
    )
