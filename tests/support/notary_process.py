"""A notary in its own process, to be killed: python -m tests.support.notary_process, settings in the environment.

NOTARY_STANDS_STILL_BEFORE: a call of its publisher that it never makes.
"""

from __future__ import annotations

import os
import threading

from consumers.metrics import NullMetrics
from consumers.service import Backoff, run_service
from tests.simulator.faults import Faults
from tests.support import kafka
from tests.support.audit import build_notary
from tests.support.signing import kms_signer


def _stand_still() -> None:
    threading.Event().wait()


if __name__ == "__main__":
    kafka.know(os.environ)
    signer, registry = kms_signer(os.environ, "ed25519")
    faults = Faults(meanwhile={os.environ.get("NOTARY_STANDS_STILL_BEFORE", ""): _stand_still})
    raise SystemExit(
        run_service(
            lambda: build_notary(
                os.environ,
                signer,
                registry,
                batch_events_max=20,
                publisher=lambda real: faults.around(real, "kafka"),
            ),
            stop=threading.Event(),
            metrics=NullMetrics(),
            backoff=Backoff(delay_ms_min=50, delay_ms_max=200),
        )
    )
