"""Any port with one call that fails: before it was done, or after it was done (failed, but applied)."""

from __future__ import annotations

from typing import Any, Literal

When = Literal["before", "after"]


class FailsAt:
    """Stands before `target` and raises `error` at the n-th call of `method`, counted from 1; later calls pass."""

    def __init__(self, target: object, method: str, when: When, error: Exception, nth: int = 1) -> None:
        self.target, self.method, self.when, self.error, self.nth = target, method, when, error, nth
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.target, name)
        if name != self.method:
            return real

        def failing(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == self.nth and self.when == "before":
                raise self.error
            result = real(*arguments, **named)
            if self.calls == self.nth:
                raise self.error
            return result

        return failing
