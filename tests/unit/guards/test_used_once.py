"""What was used once is never used again: after restarts, by two processes, with wrong clocks, by who uses much."""

from __future__ import annotations

import datetime as dt
import os
import threading
from pathlib import Path

import pytest

from finance.door.caller import Caller, Token
from finance.door.gate import Gate
from finance.door.problem import Problem
from finance.door.used_once import UsedOnce
from ledger_core.errors import Refused
from tests.support.doors import CountedMetrics, Issuer, door_yaml

START = 1_800_000_000.0
DAY, QUARTER = 86_400.0, 900.0


def use(used: UsedOnce, name: str, now: float, caller: str = "one") -> bool:
    return used.use(caller, "nonce", name, now=now, kept_seconds=DAY, kept_seconds_min=QUARTER)


def test_a_name_is_used_once_by_its_caller_and_kind_also_after_a_restart(tmp_path: Path) -> None:
    used = UsedOnce(tmp_path / "used", now=START)
    assert use(used, "a", START)
    assert not use(used, "a", START + 1)
    again = UsedOnce(tmp_path / "used", now=START + 2)
    assert not use(again, "a", START + 3)
    assert use(again, "a", START + 3, caller="two")
    assert again.use("one", "token", "a", now=START, kept_seconds=DAY, kept_seconds_min=DAY)
    assert use(again, "../../a\0b" * 100, START), "whatever a caller sends is a name"
    assert not list(tmp_path.glob("a*"))


def test_two_processes_that_share_the_folder_let_a_name_in_once(tmp_path: Path) -> None:
    both = [UsedOnce(tmp_path / "used", now=START) for _ in range(2)]
    gate, first = threading.Barrier(2), []

    def race(used: UsedOnce) -> None:
        for number in range(200):
            gate.wait()
            first.append((number, use(used, str(number), START)))

    threads = [threading.Thread(target=race, args=[used]) for used in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for number, won in first if won) == list(range(200))


def test_a_caller_that_fills_its_share_harms_only_itself_and_gets_on_as_names_age(tmp_path: Path) -> None:
    used = UsedOnce(tmp_path / "used", now=START, names_max=20)
    assert all(use(used, f"early {number}", START + number) for number in range(20))
    for late in (20.0, 21.0, QUARTER - 1):
        with pytest.raises(OverflowError):
            use(used, "one too many", START + late)
    assert use(used, "one too many", START, caller="two")
    assert use(used, "one too many", START + QUARTER + 5), "a quarter of an hour is enough, a day is not wanted"
    assert not use(used, "early 19", START + QUARTER + 6), "no more is forgotten than must be"
    again = UsedOnce(tmp_path / "used", now=START, names_max=20)
    assert not use(again, "early 19", START + QUARTER + 7)
    assert all(use(again, f"next day {number}", START + 2 * DAY) for number in range(20)), "all of them are old"


@pytest.mark.parametrize("jump", [DAY * 400, -DAY * 400])
def test_a_clock_that_jumps_lets_no_name_in_twice(tmp_path: Path, jump: float) -> None:
    used = UsedOnce(tmp_path / "used", now=START, names_max=10)
    for number in range(10):
        assert use(used, f"before {number}", START + 100)
    for number in range(5):  # a wrong clock; where it is ahead, all is old and forgotten
        if jump > 0:
            assert use(used, f"meanwhile {number}", START + jump)
        else:
            with pytest.raises(OverflowError):
                use(used, f"meanwhile {number}", START + jump)
    if jump > 0:
        assert used.since(START + 200) == START + 100, "what was used until then is not known any more"
    else:
        assert used.since(START + 200) == START
        assert not use(used, "before 1", START + 200)


def test_a_folder_that_was_removed_is_known_to_be_new(tmp_path: Path) -> None:
    used = UsedOnce(tmp_path / "used", now=START)
    assert used.since(START + 50) == START
    os.rename(tmp_path / "used", tmp_path / "gone")
    assert used.since(START + 50) == START + 50
    with pytest.raises(Refused, match="cannot be written"):
        UsedOnce(tmp_path / "gone" / ".since" / "x", now=START)


def checked(gate: Gate, issued: float, jti: str, skew: float = 30, life: float = 300) -> str:
    """The code of the refusal, or `in`."""
    issued_at = dt.datetime.fromtimestamp(issued, dt.UTC)
    token = Token(jti, issued_at, issued_at + dt.timedelta(seconds=life + skew))
    caller = Caller("prover", "token", "token of x", frozenset({"change"}), token=token)
    try:
        gate.check(caller, "change", changes=True)
    except Problem as problem:
        return problem.code
    return "in"


def test_a_token_is_taken_once_whatever_the_clocks_say(tmp_path: Path) -> None:
    """Of the memory's first second, or of an issuer that is ahead by the skew, nobody knows whether it was used."""
    (tmp_path / "door.yaml").write_text(door_yaml())
    Issuer().write(tmp_path / "keys.json")
    now = [START]

    def gate() -> Gate:
        used = UsedOnce(tmp_path / "used", now=now[0])
        clock = lambda: dt.datetime.fromtimestamp(now[0], dt.UTC)  # noqa: E731
        return Gate(tmp_path / "door.yaml", metrics=CountedMetrics(), clock=clock, used=used)

    first = gate()
    for issued in (START - 1, START, START + 0.9, START + 30):
        assert checked(first, issued, "of-before") == "TOKEN_BEFORE_START"
    now[0] = START + 60
    assert checked(first, START + 31, "jti-1") == "in"
    assert checked(first, START + 31, "jti-1") == "TOKEN_REPLAYED"
    assert checked(first, now[0] + 29, "ahead") == "in"
    for again in (gate(), gate()):  # restarts, within the same second
        assert checked(again, now[0] + 29, "ahead") == "TOKEN_REPLAYED"
        assert checked(again, START + 31, "jti-1") == "TOKEN_REPLAYED"
        assert checked(again, now[0], f"new-{id(again)}") == "in"
    nothing = Gate(tmp_path / "door.yaml", metrics=CountedMetrics(), clock=lambda: dt.datetime.now(dt.UTC))
    assert checked(nothing, now[0], "jti-2") == "TOKENS_NOT_TAKEN"
