"""A client of Postgres that freezes in the middle of a statement, in this process: its server waits for it, with every
lock it holds, and knows no more than of a process that was stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

PATIENCE_SECONDS = 300


@dataclass
class Frozen:
    """What a frozen thread waits for; once it was let go on, how its work ended."""

    reached: threading.Event = field(default_factory=threading.Event)
    thawed: threading.Event = field(default_factory=threading.Event)
    ended: list[BaseException | None] = field(default_factory=list)

    def freeze(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            assert self.thawed.wait(PATIENCE_SECONDS)


@contextmanager
def frozen(work: Callable[[], object], *, table: str, rows: int = 0) -> Iterator[Frozen]:
    """Run `work` in a thread, frozen once while it sends rows to `table`: inside COPY after half of them, or in front
    of row `rows` of a statement for many. It goes on when it is thawed, at the latest at the end of the block."""
    state = Frozen()

    def run() -> None:
        try:
            work()
            state.ended.append(None)
        except BaseException as error:
            state.ended.append(error)
        finally:
            state.reached.set()

    thread = threading.Thread(target=run, daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        _patch(patch, thread, state, table, rows)
        thread.start()
        assert state.reached.wait(PATIENCE_SECONDS)
        assert not state.ended, f"it ended before it could freeze: {state.ended}"
        try:
            yield state
        finally:
            state.thawed.set()
            thread.join(PATIENCE_SECONDS)


def _patch(patch: pytest.MonkeyPatch, thread: threading.Thread, state: Frozen, table: str, rows: int) -> None:
    copy, write, many = psycopg.Cursor.copy, psycopg.Copy.write, psycopg.Cursor.executemany
    into: list[bool] = [False]

    def frozen_copy(self: Any, statement: Any, *arguments: Any, **options: Any) -> Any:
        if threading.current_thread() is thread:
            into[0] = not rows and str(statement).startswith(f"COPY {table} ")
        return copy(self, statement, *arguments, **options)

    def frozen_write(self: Any, data: Any) -> None:
        if threading.current_thread() is thread and into[0]:
            half = len(data) // 2
            write(self, data[:half])
            state.freeze()
            data = data[half:]
        write(self, data)

    def frozen_many(self: Any, query: Any, parameters: Iterable[Any], **options: Any) -> None:
        if threading.current_thread() is thread and rows and f"INTO {table} " in str(query):
            parameters = _frozen_at(parameters, rows, state)
        many(self, query, parameters, **options)

    patch.setattr(psycopg.Cursor, "copy", frozen_copy)
    patch.setattr(psycopg.Copy, "write", frozen_write)
    patch.setattr(psycopg.Cursor, "executemany", frozen_many)


def _frozen_at(parameters: Iterable[Any], row: int, state: Frozen) -> Iterator[Any]:
    for number, item in enumerate(parameters):
        if number == row:
            state.freeze()
        yield item
