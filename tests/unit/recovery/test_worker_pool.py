"""One order of failures for every command that runs shards in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finance.recovery.worker_pool import run_pool
from ledger_core.errors import Corrupt, FinanceError, Refused, Unavailable
from tests.support.pool_tasks import Task, do
from tests.support.waits import until

ROOT = Path(__file__).parents[3]


def run(*tasks: Task, workers_max: int = 2, on_progress: Callable[[int], None] = lambda _number: None) -> list[int]:
    return run_pool("replay", tasks, do, on_progress, workers_max=workers_max)


def test_results_stand_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    first_waits = Task("wait-for", tmp_path / "second")
    assert run(first_waits, Task("touch", tmp_path / "second", result=2)) == [1, 2]


def test_no_more_tasks_run_at_once_than_asked_for(tmp_path: Path) -> None:
    """The second would wait for ever for the first one's file if it began before it."""
    assert run(Task("touch", tmp_path / "first"), Task("needs", tmp_path / "first"), workers_max=1) == [1, 1]


def test_progress_arrives_in_order(tmp_path: Path) -> None:
    told: list[int] = []
    run(Task("count", tmp_path, result=5), on_progress=told.append)
    assert told == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("task", "kind", "text"),
    [
        ("refused", Refused, "no. Remedy: ask again"),
        ("unavailable", Unavailable, "postgres is unavailable: it sleeps"),
        ("corrupt", Corrupt, "two heads"),
        ("other", Corrupt, "a kind that no task lets through"),
    ],
)
def test_a_failure_comes_back_as_it_was(tmp_path: Path, task: str, kind: type[FinanceError], text: str) -> None:
    with pytest.raises(kind) as raised:
        run(Task(task, tmp_path))
    assert str(raised.value) == text


def test_the_first_failure_ends_the_others_and_no_other_task_starts(tmp_path: Path) -> None:
    """The one that works on for ever ends at its next message; the third never begins."""
    with pytest.raises(Refused):
        run(
            Task("for-ever", tmp_path / "pid"),
            Task("refuse-after", tmp_path / "pid"),
            Task("touch", tmp_path / "third"),
        )
    wait_gone(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "third").exists()


def test_of_two_failures_that_are_there_at_once_the_first_task_is_raised(tmp_path: Path) -> None:
    """Neither refuses before both have reported; the parent hears of both only when both have ended."""
    told: list[int] = []

    def wait_for_both(pid: int) -> None:
        told.append(pid)
        if len(told) == 2:
            (tmp_path / "go").touch()
            wait_gone(*told)

    with pytest.raises(Refused, match="task 1"):
        run(*(Task("say-and-refuse", tmp_path / "go", result=number) for number in (1, 2)), on_progress=wait_for_both)


def test_a_killed_worker_is_unavailable_and_ends_the_others(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="a worker ended with code -9: run it again, it goes on from there"):
        run(Task("for-ever", tmp_path / "pid"), Task("killed-after", tmp_path / "pid"))
    wait_gone(int((tmp_path / "pid").read_text()))


def test_a_bug_in_a_worker_is_unavailable_and_never_a_success(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Unavailable, match="a worker ended with code 1"):
        run(Task("bug", tmp_path))
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_what_a_worker_logs_is_not_the_commands_result(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(Task("log", tmp_path))
    out, err = capfd.readouterr()
    assert out == ""
    assert "worker.noticed" in err


def test_an_interrupt_ends_the_workers_and_is_raised(tmp_path: Path) -> None:
    def interrupt(_number: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Task("for-ever", tmp_path / "one"), Task("for-ever", tmp_path / "two"), on_progress=interrupt)
    wait_gone(*(int(path.read_text()) for path in tmp_path.iterdir()))


def test_a_worker_does_not_hear_an_interrupt_of_its_group(tmp_path: Path) -> None:
    """As a terminal's ^C does: parent and worker get it, and only the parent ends by it."""
    command = f"from tests.support.pool_tasks import *; parent_of({str(tmp_path / 'pid')!r})"
    parent = subprocess.Popen(
        [sys.executable, "-c", command], cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    worker = pid_in(tmp_path / "pid", parent)
    os.killpg(parent.pid, signal.SIGINT)
    errors = parent.communicate(timeout=300)[1]
    assert errors.count("KeyboardInterrupt") == 1  # one traceback: the parent's
    wait_gone(worker)


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    command = f"from tests.support.pool_tasks import *; parent_of({str(tmp_path / 'pid')!r})"
    parent = subprocess.Popen([sys.executable, "-c", command], cwd=ROOT)
    worker = pid_in(tmp_path / "pid", parent)
    parent.kill()
    parent.wait(300)
    wait_gone(worker)


def pid_in(path: Path, parent: subprocess.Popen[str] | subprocess.Popen[bytes]) -> int:
    def look() -> bool:
        assert parent.poll() is None
        return path.exists() and bool(path.read_text())

    until("the worker writes down its id", look)
    return int(path.read_text())


def wait_gone(*pids: int) -> None:
    until("the workers end", lambda: all(gone(pid) for pid in pids))


def gone(pid: int) -> bool:
    """The process has ended; it is not always our child, so it is asked for by its id."""
    try:
        os.kill(pid, 0)
        # Z: dead, and its new parent has not asked for its code.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True
