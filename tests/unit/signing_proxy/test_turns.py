"""Whose turn it is at a key: many requests of one caller do not keep it from another."""

from __future__ import annotations

import threading

from finance.signing_proxy.turns import Turns
from tests.support.waits import PATIENCE_SECONDS, until


def queue(turns: Turns, callers: list[str]) -> list[str]:
    """Who came when, of requests that came one after the other while the key was held."""
    order: list[str] = []

    def ask(caller: str) -> None:
        assert turns.take(caller, PATIENCE_SECONDS)
        order.append(caller)
        turns.give_back()

    assert turns.take("holder", 0)
    threads = []
    for number, caller in enumerate(callers, 1):
        threads.append(threading.Thread(target=ask, args=(caller,)))
        threads[-1].start()
        until("it waits", lambda: turns.waiting == number)  # noqa: B023  (asked at once)
    turns.give_back()
    for thread in threads:
        thread.join()
    return order


def test_callers_come_in_turn_however_many_requests_one_has() -> None:
    assert queue(Turns(), ["many"] * 10 + ["one"]) == ["many", "one", *["many"] * 9]
    assert queue(Turns(), ["a", "a", "b", "b", "c"]) == ["a", "b", "c", "a", "b"]


def test_who_waits_in_vain_holds_up_nobody_behind() -> None:
    turns = Turns()
    assert turns.take("holder", 0)
    assert not turns.take("late", 0)
    assert turns.waiting == 0
    turns.give_back()
    assert turns.take("other", 0)
    turns.give_back()
    assert queue(turns, ["a", "b"]) == ["a", "b"]
