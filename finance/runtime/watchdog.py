"""A process that hangs says where, and ends: its supervisor starts it again, and Postgres knows where it was.

Guarantees: when no beat came for `seconds_max` seconds in which this process really ran, `on_hang` is called once with
the stacks of all threads. Every call to a server has a time-out of its own, far below: what still hangs sits inside a
client library, and no exception will come out of it. Seconds in which the whole process was stopped do not count.
Does not: end the process itself (`on_hang` does), or judge progress: that is /healthz.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final

TICK_SECONDS: Final = 1.0
FRAMES_MAX: Final = 12  # of each thread, the innermost


class Watchdog:
    """Call `beat` between any two steps. `wait` sleeps for so many seconds, or returns True when it is to end."""

    def __init__(
        self,
        seconds_max: float,
        on_hang: Callable[[dict[str, list[str]]], None],
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._seconds_max = seconds_max
        self._on_hang = on_hang
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._beats = 0

    def beat(self) -> None:
        """Something ended, well or not."""
        self._beats += 1

    def start(self) -> None:
        threading.Thread(target=self.watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def watch(self) -> None:
        """Check once a tick. Ticks are counted, not clock time: a process that was stopped is not one that hangs."""
        seen, silent_seconds = self._beats, 0.0
        while not self._wait(TICK_SECONDS):
            if self._beats != seen:
                seen, silent_seconds = self._beats, 0.0
                continue
            silent_seconds += TICK_SECONDS
            if silent_seconds >= self._seconds_max:
                self._on_hang(stacks())
                return


def stacks() -> dict[str, list[str]]:
    """Where each thread is: `file:line function`, outermost first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        f"{names.get(ident, 'thread')} {ident}": [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_stack(top)[-FRAMES_MAX:]
        ]
        for ident, top in sys._current_frames().items()
    }
