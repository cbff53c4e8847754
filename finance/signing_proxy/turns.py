"""One thing that is used by one request at a time, and whose turn it is.

Guarantees: callers come in turn: whoever asks once waits for one request of each other caller at the most, however many
another has waiting; a caller's own requests come in order. Does not: bound how many wait (the door does: each waits on
a connection of its caller).
"""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """A lock that is handed on by caller."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[threading.Event]] = {}  # caller -> its requests; the caller whose turn is first
        self._held = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def take(self, caller: str, seconds_max: float) -> bool:
        """Wait for a turn; False when none came in time."""
        turn = threading.Event()
        with self._lock:
            if not self._held:
                self._held = True
                return True
            self._waiting.setdefault(caller, deque()).append(turn)
        if turn.wait(seconds_max):
            return True
        with self._lock:
            if turn.is_set():  # it came in this moment
                return True
            self._waiting[caller].remove(turn)
            if not self._waiting[caller]:
                del self._waiting[caller]
            return False

    def give_back(self) -> None:
        """Hand it to the next caller, whose further requests wait behind the others."""
        with self._lock:
            if not self._waiting:
                self._held = False
                return
            caller = next(iter(self._waiting))
            waiting = self._waiting.pop(caller)
            waiting.popleft().set()
            if waiting:
                self._waiting[caller] = waiting
