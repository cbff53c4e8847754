"""No test decides by how fast something came: a busy machine is slow, not wrong.

An assert compares no time that passed; a wait has minutes, unless it is one that must fail; who sleeps has a reason
that is no wait. What is to be measured stands in tests/bench, and the one clock of the suite in tests/support/waits.py.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
WAIT_SECONDS_MIN = 300.0
CLOCKS = {"monotonic", "perf_counter", "process_time", "monotonic_ns", "perf_counter_ns", "time_ns", "time"}
WAITS = {"wait", "join", "flush", "communicate", "result"}
CLOCK_OF_THE_SUITE = "support/waits.py"
SLEEPS = {
    "chaos/__main__.py": "the pauses between two strikes, by the seed",
    "chaos/load.py": "the rate of the shops",
    "chaos/strikes.py": "how long a process is frozen, a server away",
    "fault/audit/test_notary_killed.py": "kills at a random moment",
    "fault/personal/test_keeper_killed.py": "kills at a random moment, lets a freeze last",
    "fault/posting/test_frozen_sessions.py": "is a client that thinks, or sends its rows slowly",
    "fault/posting/test_poster_faults.py": "kills at a random moment, publishes at a steady rate",
    "fault/proving/test_kill_downstream.py": "kills at a random moment",
    "fault/recovery/test_backup_killed.py": "kills at a random moment",
    "fault/recovery/test_replay_kill.py": "looks again before the next random kill",
    "fault/runtime/test_demo_kill.py": "kills at a random moment, publishes at a steady rate",
    "integration/door/test_door_limits.py": "is a slow client",
    "integration/door/test_slow_readers.py": "is a slow reader",
    "integration/kafka/test_publisher_kafka.py": "lets an outage last",
    "integration/recovery/test_restored_ledger.py": "takes two moments that differ",
    "support/backups.py": "looks again before the next random kill",
    "support/pool_tasks.py": "is a task that takes its time",
    "support/outages.py": "lets an outage last",
    "support/route.py": "publishes at a steady rate",
}
Place = tuple[str, int]


def suite() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(TESTS.rglob("*.py")):
        name = path.relative_to(TESTS).as_posix()
        if not name.startswith("bench/") and name != CLOCK_OF_THE_SUITE:
            yield name, ast.parse(path.read_text())


def is_clock(node: ast.AST) -> bool:
    """`time.monotonic()` and the like."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "time"
        and node.func.attr in CLOCKS
    )


def named(node: ast.AST) -> set[str]:
    """The names of variables and fields in an expression."""
    found = {it.id for it in ast.walk(node) if isinstance(it, ast.Name)}
    return found | {it.attr for it in ast.walk(node) if isinstance(it, ast.Attribute)}


def timed_names(tree: ast.Module) -> set[str]:
    """Variables and fields that are made from a clock, directly or from another such name."""
    made = [node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None]
    found: set[str] = set()
    while True:
        before = len(found)
        for node in made:
            assert node.value is not None
            value = [node.value] if not isinstance(node.value, ast.Call) or is_clock(node.value) else []
            if any(any(map(is_clock, ast.walk(it))) or named(it) & found for it in value):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {it.id for it in targets if isinstance(it, ast.Name)}
                found |= {it.attr for it in targets if isinstance(it, ast.Attribute)}
        if len(found) == before:
            return found


def timed_asserts(name: str, tree: ast.Module) -> Iterator[Place]:
    timed = timed_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            for part in ast.walk(node.test):
                if isinstance(part, ast.Compare) and (any(map(is_clock, ast.walk(part))) or named(part) & timed):
                    yield name, node.lineno


def short_waits(name: str, node: ast.AST, expected: bool = False) -> Iterator[Place]:
    """Waits of a number of seconds, outside of what is expected to fail."""
    if isinstance(node, ast.With):
        expected = expected or any("raises" in named(it) or "suppress" in named(it) for it in node.items)
    if isinstance(node, ast.Try):
        expected = expected or bool(node.handlers)
    if isinstance(node, ast.Call) and not expected:
        seconds = [it.value for it in node.keywords if it.arg == "timeout"]
        if isinstance(node.func, ast.Attribute) and node.func.attr in WAITS:
            seconds += node.args[:1]
        for it in seconds:
            if isinstance(it, ast.Constant) and isinstance(it.value, int | float) and it.value < WAIT_SECONDS_MIN:
                yield name, node.lineno
    for child in ast.iter_child_nodes(node):
        yield from short_waits(name, child, expected)


def test_no_assert_compares_a_time_that_passed() -> None:
    assert [place for name, tree in suite() for place in timed_asserts(name, tree)] == []


def test_every_wait_has_minutes_or_is_expected_to_fail() -> None:
    assert [place for name, tree in suite() for place in short_waits(name, tree)] == []


def test_who_sleeps_has_a_reason_that_is_no_wait() -> None:
    sleeping = {
        name
        for name, tree in suite()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sleep"
    }
    assert sleeping == set(SLEEPS)


@pytest.mark.parametrize(
    "planted",
    [
        "began = time.monotonic()\nassert time.monotonic() - began < 5",
        "began = time.monotonic()\ntook = time.monotonic() - began\nassert took < 5",
        "self.began = time.perf_counter()\nassert now - self.began <= limit",
    ],
)
def test_a_planted_measurement_is_found(planted: str) -> None:
    assert list(timed_asserts("planted", ast.parse(planted)))


@pytest.mark.parametrize("planted", ["thread.join(10)", "run(command, timeout=60)", "future.result(timeout=1.5)"])
def test_a_planted_short_wait_is_found(planted: str) -> None:
    assert list(short_waits("planted", ast.parse(planted)))
    assert not list(short_waits("planted", ast.parse(f"with pytest.raises(Unavailable):\n    {planted}")))
