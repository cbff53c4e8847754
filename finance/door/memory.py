"""How fast each caller asks. Bounded, thread-safe, lost at a restart; what was used once is in `used_once.py`.

Guarantees: a bucket never lets more through than its rate and burst. The time is an argument, in seconds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

BUCKETS_MAX: Final = 10_000


class TokenBuckets:
    """A token bucket a key: `rate` a second on average, bursts of up to `burst`."""

    def __init__(self, buckets_max: int = BUCKETS_MAX) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> left, at
        self._buckets_max = buckets_max
        self._lock = threading.Lock()

    def wait_seconds(self, key: str, *, rate: float, burst: float, now: float) -> float:
        """Take one and return 0, or say how long to wait for one."""
        with self._lock:
            left, at = self._buckets.pop(key, (burst, now))
            left = min(burst, left + max(0.0, now - at) * rate)
            waiting = 0.0 if left >= 1 else (1 - left) / rate
            self._buckets[key] = (left - 1 if waiting == 0 else left, now)
            if len(self._buckets) > self._buckets_max:
                self._buckets.popitem(last=False)  # the one that asked longest ago: its bucket is full again, or nearly
            return waiting
