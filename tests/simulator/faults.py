"""Failing a chosen call, twice over: before its effect (not applied) and after it (applied, but the caller never knew).

A plan is the list of call numbers to fail; calls are counted over every wrapped object, so that one plan walks through
every step of a service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, ParamSpec, TypeVar

from ledger_core.errors import Unavailable

P = ParamSpec("P")
R = TypeVar("R")
Mode = Literal["not applied", "applied"]


@dataclass
class Faults:
    """`plan` maps the number of a call (from 0) to how it fails; `before` a function's name to what happens meanwhile,
    once, just before its next call."""

    plan: dict[int, Mode] = field(default_factory=dict)
    calls: int = 0
    fired: list[str] = field(default_factory=list)
    before: dict[str, Callable[[], None]] = field(default_factory=dict)

    def call(self, what: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if meanwhile := self.before.pop(function.__name__, None):
            meanwhile()
        mode = self.plan.get(self.calls)
        self.calls += 1
        if mode == "not applied":
            self.fired.append(f"{function.__name__}: {mode}")
            raise Unavailable(what, "as planned, before")
        result = function(*args, **kwargs)
        if mode == "applied":
            self.fired.append(f"{function.__name__}: {mode}")
            raise Unavailable(what, "as planned, after")
        return result
