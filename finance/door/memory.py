"""What a door remembers: how fast each caller asks, which tokens were used. Bounded, thread-safe, lost at a restart.

Guarantees: a bucket never lets more through than its rate and burst; what was seen stays seen until it expires, and
when there is no room left the answer is no: nothing is forgotten to make room. The time is an argument, in seconds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

BUCKETS_MAX: Final = 10_000
SEEN_MAX: Final = 100_000


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


class SeenOnce:
    """Names that may be used once until they expire. Each caller has its own room, so that none can fill another's;
    callers are those of a file, so they are few."""

    def __init__(self, seen_max: int = SEEN_MAX) -> None:
        self._callers: dict[str, OrderedDict[str, float]] = {}  # each in order of use, and so nearly of expiry
        self._seen_max = seen_max
        self._lock = threading.Lock()

    def use(self, caller: str, name: str, *, expires: float, now: float) -> bool:
        """Whether this is its first use. Raises OverflowError when there is no room to remember it."""
        with self._lock:
            expiry = self._callers.setdefault(caller, OrderedDict())
            if expiry.get(name, now) > now:
                return False
            while expiry and next(iter(expiry.values())) <= now:
                expiry.popitem(last=False)
            if len(expiry) >= self._seen_max:
                raise OverflowError("too many to remember")
            expiry[name] = expires
            expiry.move_to_end(name)
            return True
