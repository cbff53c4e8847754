"""`run all` says what ends, starts again what may, stops when it must, and leaves nobody behind."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumers.service import Backoff
from finance.runtime.supervisor import Child, Supervisor, children
from tests.support.waits import PATIENCE_SECONDS

Make = Callable[..., Child]
QUICK = Backoff(delay_ms_min=10, delay_ms_max=20)
READY = "import os, pathlib; pathlib.Path(os.environ['READY']).touch()\n"  # the handler stands: signals may come
WAIT_FOR_TERM = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); {READY}signal.pause()"
WAIT_FOR_EOF = "import sys; sys.stdin.buffer.read()"
IGNORE_TERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}while True: signal.pause()"


@pytest.fixture
def child(tmp_path: Path) -> Make:
    """Makes a child that runs `code`; the file READY of its environment is at `ready_file(child)`."""

    def make(code: str, name: str = "poster") -> Child:
        ready = str(tmp_path / f"{name}-ready")
        return Child(name, (sys.executable, "-c", code), {**os.environ, "READY": ready})

    return make


def ready(*children: Child) -> bool:
    return all(Path(child.environ["READY"]).exists() for child in children)


def supervise(
    *all_children: Child, stop_when: Callable[[], bool] = lambda: False, settled_seconds: float = 900, **options: float
) -> int:
    """Run until it ends by itself, or is told to stop when `stop_when()` is so."""
    stop = threading.Event()

    def told() -> bool:
        if stop_when():
            stop.set()
        return False

    made = Supervisor(all_children, stop=stop, finished=told, backoff=QUICK, settled_seconds=settled_seconds, **options)
    return made.run()


@pytest.mark.parametrize("code", [1, 3])
def test_a_contradiction_or_an_early_refusal_stops_everything_with_its_code(child: Make, code: int) -> None:
    other = child(WAIT_FOR_TERM, "prover")
    with capture_logs() as logs:
        assert supervise(child(f"raise SystemExit({code})"), other) == code
    assert other.process is not None
    assert other.process.poll() in (0, -15)  # it may be told before it listens
    ended = [line for line in logs if line["event"] == "supervisor.child_ended"]
    assert [(line["child"], line["exit_code"]) for line in ended] == [("poster", code)]


def test_what_ends_unasked_is_named_and_started_again(child: Make, tmp_path: Path) -> None:
    marks = tmp_path / "starts"
    code = f"open({str(marks)!r}, 'a').write('x'); import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with capture_logs() as logs:
        assert supervise(child(code), stop_when=lambda: marks.exists() and len(marks.read_text()) >= 3) == 0
    ended = [line for line in logs if line["event"] == "supervisor.child_ended"]
    assert len(ended) >= 2
    assert {line["exit_code"] for line in ended} == {-9}
    assert [line["failures"] for line in ended] == list(range(1, len(ended) + 1))


def test_a_refusal_of_a_child_that_had_been_up_does_not_stop_the_others(child: Make, tmp_path: Path) -> None:
    """Its key was retired, say: started again it is refused at once, and again; posting goes on (G6)."""
    mark = tmp_path / "was_up"
    code = (
        f"import pathlib, time; mark = pathlib.Path({str(mark)!r})\n"
        "if not mark.exists(): mark.touch(); time.sleep(1.5)\n"
        "raise SystemExit(3)"
    )
    other = child(WAIT_FOR_TERM, "poster")
    with capture_logs() as logs:

        def starts(name: str) -> int:
            return sum(line["event"] == "supervisor.child_started" and line["child"] == name for line in logs)

        assert supervise(child(code, "prover"), other, stop_when=lambda: starts("prover") >= 3, settled_seconds=1) == 0
        assert starts("poster") == 1


def test_told_to_stop_it_stops_every_child_and_is_sound(child: Make) -> None:
    both = child(WAIT_FOR_TERM, "poster"), child(WAIT_FOR_TERM, "prover")
    assert supervise(*both, stop_when=lambda: ready(*both)) == 0
    assert [one.process.poll() for one in both if one.process is not None] == [0, 0]


def test_a_child_that_does_not_stop_is_killed_and_named(child: Make) -> None:
    stubborn = child(IGNORE_TERM)
    with capture_logs() as logs:
        supervise(stubborn, stop_when=lambda: ready(stubborn), stop_timeout_seconds=0.5)
    assert stubborn.process is not None
    assert stubborn.process.poll() == -9
    assert "supervisor.child_killed" in {line["event"] for line in logs}


def test_it_ends_soundly_when_everything_is_finished(child: Make) -> None:
    answers = iter([False, True])
    assert Supervisor([child(WAIT_FOR_TERM)], stop=threading.Event(), finished=lambda: next(answers)).run() == 0
    assert list(answers) == []


def test_a_failing_look_still_stops_the_children(child: Make) -> None:
    def finished() -> bool:
        raise RuntimeError("no status")

    one = child(WAIT_FOR_TERM)
    with pytest.raises(RuntimeError):
        Supervisor([one], stop=threading.Event(), finished=finished).run()
    assert one.process is not None
    assert one.process.poll() in (0, -15)


def test_children_learn_that_their_parent_is_gone(child: Make) -> None:
    """stdin is a pipe whose other end only the parent holds: the kernel closes it, however the parent went."""
    one = child(WAIT_FOR_EOF)
    codes: list[int | None] = []

    def parent_goes() -> bool:
        assert one.process is not None
        assert one.process.stdin is not None
        codes.append(one.process.poll())
        one.process.stdin.close()
        codes.append(one.process.wait(PATIENCE_SECONDS))
        return True

    Supervisor([one], stop=threading.Event(), finished=parent_goes).run()
    assert codes == [None, 0]


def test_only_the_first_poster_takes_the_port() -> None:
    made = children({"poster": 9101, "prover": 9102}, posters=3, environ={})
    assert [(one.name, dict(one.environ)) for one in made] == [
        ("poster", {"POSTER_METRICS_PORT": "9101"}),
        ("poster-2", {"POSTER_METRICS_PORT": "0"}),
        ("poster-3", {"POSTER_METRICS_PORT": "0"}),
        ("prover", {"PROVER_METRICS_PORT": "9102"}),
    ]
    assert made[1].command[-3:] == ("run", "poster", "--stop-on-eof")
