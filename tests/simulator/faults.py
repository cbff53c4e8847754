"""The one injector of failures: a call fails before its effect (not applied) or after it (applied, and nobody knows).

Calls are counted over every object that shares the injector, so that one plan walks through every step of a service;
or a step is armed by its name, and fails once. `around` puts the injector before the calls of any port, a real one too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, ParamSpec, TypeVar

from ledger_core.errors import Unavailable

P = ParamSpec("P")
R = TypeVar("R")
Mode = Literal["not applied", "applied"]


@dataclass
class Faults:
    """`plan` maps the number of a call (from 0) to how it fails, `meanwhile` a step to what happens once just before
    it; `fired` tells what failed. Each call of what is `away` fails before its effect."""

    plan: dict[int, Mode] = field(default_factory=dict)
    meanwhile: dict[str, Callable[[], None]] = field(default_factory=dict)
    calls: int = 0
    fired: list[str] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    _armed: dict[str, tuple[Mode, int]] = field(default_factory=dict)

    def arm(self, step: str, mode: Mode, nth: int = 1) -> None:
        """The nth call of that step from now on fails, once."""
        self._armed[step] = (mode, nth)

    def calm(self) -> None:
        """Nothing fails from now on."""
        self._armed.clear()
        self.plan.clear()

    def call(self, what: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it as a step of its name; `what` is unavailable when it fails."""
        with self.step(what, function.__name__.lstrip("_")):
            return function(*args, **kwargs)

    @contextmanager
    def step(self, what: str, name: str) -> Iterator[None]:
        """The block is the effect."""
        number = self.calls
        self.calls += 1
        if happens := self.meanwhile.pop(name, None):
            happens()
        if what in self.away and name != "close":
            raise Unavailable(what, f"{name}: away, as planned")
        self._fail(what, name, number, "not applied")
        yield
        self._fail(what, name, number, "applied")

    def hits(self, name: str, mode: Mode) -> bool:
        """Whether the step was armed so, and it is its turn: for effects that fail in a way of their own."""
        armed, nth = self._armed.get(name, (None, 0))
        if armed != mode:
            return False
        if nth > 1:
            self._armed[name] = (mode, nth - 1)
            return False
        del self._armed[name]
        return True

    def around(self, target: object, what: str) -> Any:
        """`target`, each call of which is a step."""
        return _Around(self, target, what)

    def _fail(self, what: str, name: str, number: int, mode: Mode) -> None:
        if self.plan.get(number) == mode or self.hits(name, mode):
            self.fired.append(f"{name}: {mode}")
            raise Unavailable(what, f"{name}, {mode}, as planned")


class _Around:
    def __init__(self, faults: Faults, target: object, what: str) -> None:
        self._faults, self._target, self._what = faults, target, what

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._target, name)
        if not callable(real):
            return real

        def call(*arguments: Any, **named: Any) -> Any:
            with self._faults.step(self._what, name):
                return real(*arguments, **named)

        return call
