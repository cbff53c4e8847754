"""Processor time of whole process trees, so that changes can be compared on a machine that others use too.

Guarantees: user and system time of a process, its living descendants and those it has reaped; so Postgres counts with
every backend, its WAL writer and checkpointer, and a poster with librdkafka's threads. Does not: know who caused the
work: what a server does on the side is in it, and so is what it still owes when a phase ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import psutil


def tree_seconds(pid: int) -> float:
    """User and system seconds of a process tree so far."""
    process = psutil.Process(pid)
    seconds = 0.0
    for member in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now: its parent has its time
            times = member.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


@contextlib.contextmanager
def measured(pids: Mapping[str, list[int]], figures: dict[str, float], events: int) -> Iterator[None]:
    """Put `cpu_us_per_event_NAME` for each name into `figures`, microseconds used within the block, and their sum."""
    before = {name: sum(map(tree_seconds, group)) for name, group in pids.items()}
    yield
    used = {name: sum(map(tree_seconds, group)) - before[name] for name, group in pids.items()}
    for name, seconds in used.items():
        figures[f"cpu_us_per_event_{name}"] = seconds / events * 1e6
    figures["cpu_us_per_event_all"] = sum(used.values()) / events * 1e6
