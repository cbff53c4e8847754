"""What goes through the door: requests, answers, and the one shape of a refusal.

Guarantees: `{"ok":false,"code":…,"message":…,"remedy"?:…}` for every refusal, with codes that are published text; no
message names a caller, key or file to somebody who is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import orjson

from finance.door.caller import Caller
from ledger_core.errors import FinanceError

JSON: Final = "application/json"


class Problem(FinanceError):
    """A request that is not done. `extra` stands beside the four fields; `status` is the HTTP status."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        remedy: str = "",
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.remedy = remedy
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def answer(self) -> Answer:
        """The refusal as it goes out."""
        told: dict[str, object] = {**self.extra, "ok": False, "code": self.code, "message": self.message}
        if self.remedy:
            told["remedy"] = self.remedy
        return Answer(self.status, orjson.dumps(told) + b"\n", headers=self.headers)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `body` is whole: nothing here streams."""

    status: int  # of HTTP
    body: bytes
    content_type: str = JSON  # a media type
    headers: Mapping[str, str] = field(default_factory=dict)  # besides those that every answer has

    @classmethod
    def of(cls, told: object, status: int = 200) -> Answer:
        """A JSON answer."""
        return cls(status, orjson.dumps(told) + b"\n")


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a caller that may make it. `query` holds the last of repeated names."""

    method: str  # of HTTP, upper case
    path: str  # without the query
    query: Mapping[str, str]
    body: bytes  # whole; empty when there is none
    caller: Caller  # who asks, once the door knows it


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a path. `scope` None: any known caller. `changes`: a token opens it once."""

    handler: Callable[[Request], Answer]  # answers it; may raise Problem
    scope: str | None
    changes: bool = False


class DoorMetrics(Protocol):
    """What a door counts. No method raises or waits."""

    def door_answered(self, status: int) -> None:
        """One answer went out."""
        ...

    def door_turned_away(self, code: str) -> None:
        """A connection or request was refused by the door itself."""
        ...

    def certificate_expires(self, certificate: str, at: float) -> None:
        """`certificate` (a name, no path) is good until Unix time `at`."""
        ...

    def reload_failed(self, what: str) -> None:
        """A changed file could not be taken up; the last good one stands."""
        ...
