"""A hang is told once, with where it is; anything that ends in time keeps the watchdog quiet."""

from __future__ import annotations

import subprocess
import sys
import threading

from finance.runtime.watchdog import TICK_SECONDS, Watchdog, stacks

HUNG = """
import threading
from finance.runtime.process import _end_hung
from finance.runtime.watchdog import Watchdog
from finance.telemetry.log_lines import configure_logging

configure_logging(process="poster", log_format="json", level="info")
Watchdog(2, _end_hung).start()
threading.Event().wait(300)
"""


class Ticks:
    """As many ticks as asked for; `at` does something at one of them."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.waited: list[float] = []

    def __call__(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self.left -= 1
        return self.left < 0


def watched(seconds_max: float, ticks: int, beat_every: int = 0) -> list[dict[str, list[str]]]:
    told: list[dict[str, list[str]]] = []
    wait = Ticks(ticks)

    def tick(seconds: float) -> bool:
        if beat_every and len(wait.waited) % beat_every == 0:
            dog.beat()
        return wait(seconds)

    dog = Watchdog(seconds_max, told.append, tick)
    dog.watch()
    assert set(wait.waited) == {TICK_SECONDS}
    return told


def test_silence_is_told_once_and_no_sooner_than_its_bound() -> None:
    assert watched(5, ticks=4) == []
    assert len(watched(5, ticks=50)) == 1


def test_beats_in_time_keep_it_quiet_however_long() -> None:
    assert watched(5, ticks=500, beat_every=4) == []


def test_beats_too_late_do_not() -> None:
    assert len(watched(5, ticks=500, beat_every=7)) == 1


def test_the_stacks_name_this_function() -> None:
    here = next(frames for name, frames in stacks().items() if name.startswith(threading.current_thread().name))
    assert any("test_the_stacks_name_this_function" in frame for frame in here)


def test_a_process_that_hangs_ends_with_code_4_and_one_line_that_says_where() -> None:
    ended = subprocess.run([sys.executable, "-c", HUNG], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 4
    lines = (ended.stdout + ended.stderr).strip().splitlines()
    assert len(lines) == 1, lines
    assert '"process.hung"' in lines[0]
    assert "MainThread" in lines[0]
    assert "threading.py" in lines[0]
