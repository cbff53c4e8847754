"""`run all` says what ends, starts again what may, stops when it must, and leaves nobody behind."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumers.service import Backoff
from finance.runtime.supervisor import Child, Supervisor, children

QUICK = Backoff(delay_ms_min=10, delay_ms_max=20)
WAIT_FOR_TERM = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); signal.pause()"
WAIT_FOR_EOF = "import sys; sys.stdin.buffer.read()"
IGNORE_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"


def child(code: str, name: str = "poster") -> Child:
    return Child(name, (sys.executable, "-c", code), dict(os.environ))


def supervise(*all_children: Child, seconds: float = 30, settled_seconds: float = 15, **options: float) -> int:
    """Run until it ends by itself, or until `seconds` have passed."""
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    try:
        return Supervisor(
            all_children,
            stop=stop,
            backoff=QUICK,
            settled_seconds=settled_seconds,
            **options,  # type: ignore[arg-type]
        ).run()
    finally:
        timer.cancel()


@pytest.mark.parametrize("code", [1, 3])
def test_a_contradiction_or_an_early_refusal_stops_everything_with_its_code(code: int) -> None:
    other = child(WAIT_FOR_TERM, "prover")
    with capture_logs() as logs:
        assert supervise(child(f"raise SystemExit({code})"), other) == code
    assert other.process is not None
    assert other.process.poll() in (0, -15)  # it may be told before it listens
    ended = [line for line in logs if line["event"] == "supervisor.child_ended"]
    assert [(line["child"], line["exit_code"]) for line in ended] == [("poster", code)]


def test_what_ends_unasked_is_named_and_started_again(tmp_path: Path) -> None:
    marks = tmp_path / "starts"
    code = f"open({str(marks)!r}, 'a').write('x'); import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with capture_logs() as logs:
        assert supervise(child(code), seconds=2) == 0
    assert len(marks.read_text()) >= 3
    ended = [line for line in logs if line["event"] == "supervisor.child_ended"]
    assert len(ended) >= 2
    assert {line["exit_code"] for line in ended} == {-9}
    assert [line["failures"] for line in ended] == list(range(1, len(ended) + 1))


def test_a_refusal_of_a_child_that_had_been_up_does_not_stop_the_others(tmp_path: Path) -> None:
    """Its key was retired, say: started again it is refused at once, and again; posting goes on (G6)."""
    mark = tmp_path / "was_up"
    code = (
        f"import pathlib, time; mark = pathlib.Path({str(mark)!r})\n"
        "if not mark.exists(): mark.touch(); time.sleep(1.5)\n"
        "raise SystemExit(3)"
    )
    other = child(WAIT_FOR_TERM, "poster")
    with capture_logs() as logs:
        assert supervise(child(code, "prover"), other, seconds=6, settled_seconds=1) == 0
    started = [line["child"] for line in logs if line["event"] == "supervisor.child_started"]
    assert started.count("prover") >= 3
    assert started.count("poster") == 1


def test_told_to_stop_it_stops_every_child_and_is_sound() -> None:
    both = child(WAIT_FOR_TERM, "poster"), child(WAIT_FOR_TERM, "prover")
    assert supervise(*both, seconds=1) == 0
    assert [one.process.poll() for one in both if one.process is not None] == [0, 0]


def test_a_child_that_does_not_stop_is_killed_and_named() -> None:
    stubborn = child(IGNORE_TERM)
    with capture_logs() as logs:
        supervise(stubborn, seconds=1, stop_timeout_seconds=0.5)
    assert stubborn.process is not None
    assert stubborn.process.poll() == -9
    assert "supervisor.child_killed" in {line["event"] for line in logs}


def test_it_ends_soundly_when_everything_is_finished() -> None:
    looks: list[float] = []

    def finished() -> bool:
        looks.append(time.monotonic())
        return len(looks) >= 2

    assert Supervisor([child(WAIT_FOR_TERM)], stop=threading.Event(), finished=finished).run() == 0
    assert len(looks) == 2


def test_a_failing_look_still_stops_the_children() -> None:
    def finished() -> bool:
        raise RuntimeError("no status")

    one = child(WAIT_FOR_TERM)
    with pytest.raises(RuntimeError):
        Supervisor([one], stop=threading.Event(), finished=finished).run()
    assert one.process is not None
    assert one.process.poll() in (0, -15)


def test_children_learn_that_their_parent_is_gone() -> None:
    """stdin is a pipe whose other end only the parent holds: the kernel closes it, however the parent went."""
    one = child(WAIT_FOR_EOF)
    supervisor = Supervisor([one], stop=threading.Event())
    supervisor._start(one)
    assert one.process is not None
    assert one.process.stdin is not None
    assert one.process.poll() is None
    one.process.stdin.close()
    assert one.process.wait(10) == 0


def test_only_the_first_poster_takes_the_port() -> None:
    made = children({"poster": 9101, "prover": 9102}, posters=3, environ={})
    assert [(one.name, dict(one.environ)) for one in made] == [
        ("poster", {"POSTER_METRICS_PORT": "9101"}),
        ("poster-2", {"POSTER_METRICS_PORT": "0"}),
        ("poster-3", {"POSTER_METRICS_PORT": "0"}),
        ("prover", {"PROVER_METRICS_PORT": "9102"}),
    ]
    assert made[1].command[-3:] == ("run", "poster", "--stop-on-eof")
