"""The one wait of the suite: it ends when something is so, and fails only after minutes in which nothing moved.

A busy machine is slow, not wrong: no test decides by how fast a thing came. What is measured stands in tests/bench, and
tests/unit/house/test_untimed.py refuses asserts on a time that passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MINUTES_MAX: Final = 5.0
PATIENCE_SECONDS: Final = 60 * MINUTES_MAX  # for a call that takes its own time-out


def until(
    what: str,
    done: Callable[[], bool],
    *,
    between: Callable[[], object] | None = None,
    progress: Callable[[], object] | None = None,
    told: Callable[[], str] = str,
    minutes: float = MINUTES_MAX,
) -> None:
    """Wait until `done()`; `between` runs before each new look, in place of a short sleep.

    `progress` answers with something that moves while the work goes on; each move starts the minutes anew. `told` says
    more for the failure.
    """
    seen = None if progress is None else progress()
    moved_at = time.monotonic()
    while not done():
        if progress is not None and (now := progress()) != seen:
            seen, moved_at = now, time.monotonic()
        assert time.monotonic() - moved_at < 60 * minutes, f"nothing moved in {minutes} minutes: {what}\n{told()}"
        if between is None:
            time.sleep(0.05)
        else:
            between()
