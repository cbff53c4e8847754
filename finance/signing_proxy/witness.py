"""Signer as witness: no checkpoint is signed that does not continue the last one signed for that log.

Guarantees: all that is signed of a log is one history. `judge` (pure) lets through its first checkpoint, the same one
again, a larger one with a proof that it only appended, and a smaller one with a proof that the last one continues it
(RFC 9162, 2.1.4.2; C2SP tlog-witness manners, but for the smaller one: so a ledger that was put back gets its lost
signatures again). A smaller one without proof, another root at the same size, a proof that is wrong are refused.
`WitnessState` remembers the largest, on disk, before the key is asked: after a crash it knows at least as much as was
signed; of each caller it remembers LOGS_MAX logs, so that none fills it for the others.
A log is remembered for each key apart: who may use one key cannot disturb the logs of another. The first checkpoint
under a new key continues what its caller had signed under other keys (a rotation starts no second history).
Does not: know the log's own key, or what is in it. Who deletes the file makes it forget; the request log shows that.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from finance.door.problem import Problem
from ledger_core.errors import Refused
from ledger_core.hashes import is_hash
from ledger_core.proving.checkpoint import parse_text
from ledger_core.tree import verify_consistency
from producers.storage.whole_file import replace_file
from schemas.read_file import STATEMENT_BYTES_MAX, read_file

VERSION: Final = 1
LOGS_MAX: Final = 1000  # of one caller
ORIGIN_CHARS_MAX: Final = 512
SIZE_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Head:
    """A tree head: size and 32-byte root."""

    size: int  # leaves
    root: bytes  # RFC 9162


@dataclass(frozen=True, slots=True)
class LogName:
    """A log as a witness knows it."""

    kid: str  # of the key that signs its checkpoints
    origin: str  # as its checkpoints name it
    caller: str  # who asked for the newest; empty: not known, as in states of before this was kept

    @property
    def text(self) -> str:
        """As state and request log have it: a kid holds no space."""
        return f"{self.kid} {self.origin}"


class _Saved(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    size: int
    root: str
    caller: str = ""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    logs: dict[str, _Saved]


def read_checkpoint(text: bytes) -> tuple[str, Head]:
    """Origin and head of a note's text. Raises Problem (422) when it has none that a witness could keep in mind."""
    try:
        origin, size, root, _ = parse_text(text)
    except ValueError as error:
        raise Problem(422, "NO_CHECKPOINT", f"only checkpoint notes are signed, and this is not one: {error}") from None
    if size > SIZE_MAX or len(origin) > ORIGIN_CHARS_MAX or not (origin.isascii() and origin.isprintable()):
        raise Problem(
            422, "NO_CHECKPOINT", f"an origin is up to {ORIGIN_CHARS_MAX} ASCII characters, a size below 2^63"
        )
    return origin, Head(size, root)


def judge(last: Head | None, new: Head, old_size: int | None, consistency: tuple[bytes, ...]) -> Head:
    """The head to remember, when `new` and `last` are of one history.

    Else raises Problem: 409 with the size we know, 422 for a proof that is wrong.
    """
    if last is None:
        if old_size not in (None, 0) or consistency:
            raise _conflict("this log was never seen here, so old_size is 0 and there is nothing to prove", 0)
        return new
    if new == last:
        return last  # asked again after an answer that was lost
    if new.size < last.size and not (consistency and old_size == last.size):
        raise _conflict(f"the log shrank: it has {new.size} entries, and had {last.size}", last.size, "LOG_SHRANK")
    if new.size == last.size:
        raise _conflict(f"the log forked: another root at size {new.size}", last.size, "LOG_FORKED")
    if old_size != last.size:
        raise _conflict(
            f"old_size is {'missing' if old_size is None else old_size}, the last one signed had {last.size}", last.size
        )
    smaller, larger = (last, new) if last.size < new.size else (new, last)
    try:
        verify_consistency(smaller.size, larger.size, smaller.root, larger.root, consistency)
    except ValueError as error:
        raise Problem(
            422,
            "LOG_INCONSISTENT",
            str(error),
            remedy="if the proof is right, the log's history was rewritten: halt, RUNBOOK section 13 A",
        ) from None
    return larger


class WitnessState:
    """The last head for each log, in one file that is replaced whole. Raises Refused when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._heads, self._callers = _read(path)

    def last(self, log: LogName, kids: Collection[str]) -> Head | None:
        """What was signed of it: under its key, or else under another that is its caller's, by `kids` or by what it had
        signed. None: it was never seen. Raises Problem (409) when it is one too many of its caller to remember."""
        last = self._heads.get(log.text)
        if last is not None:
            return last
        if sum(caller == log.caller for caller in self._callers.values()) >= LOGS_MAX:
            raise Problem(
                409,
                "TOO_MANY_LOGS",
                f"this witness remembers {LOGS_MAX} logs of a caller, and this would be one more",
                remedy="see in the request log who asked for them; a witness forgets none",
            )
        before = [
            head
            for text, head in self._heads.items()
            if text.partition(" ")[2] == log.origin
            and (text.partition(" ")[0] in kids or self._callers[text] in (log.caller, ""))
        ]
        return max(before, key=lambda head: head.size, default=None)

    def save(self, log: LogName, head: Head) -> None:
        """Remember, durably. Raises OSError: then it is not remembered here, either."""
        with self._lock:
            if self._heads.get(log.text) == head and self._callers.get(log.text) == log.caller:
                return
            heads, callers = {**self._heads, log.text: head}, {**self._callers, log.text: log.caller}
            _write(self._path, heads, callers)
            self._heads, self._callers = heads, callers

    def check_not_behind(self, logged: Iterable[tuple[str, Head]]) -> None:
        """Raise Refused when the request log knows of a head that this file does not: it was put back, or deleted."""
        for log, head in logged:
            last = self._heads.get(log)
            if last is None or last.size < head.size:
                raise Refused(
                    f"the witness state {self._path} is behind the request log: {log} was signed at size {head.size}",
                    remedy="put the newest state back; a witness that forgets would sign a fork",
                )


def _read(path: Path) -> tuple[Mapping[str, Head], Mapping[str, str]]:
    try:
        data = read_file(path, STATEMENT_BYTES_MAX)
    except FileNotFoundError:
        return {}, {}
    except OSError as error:
        raise _unreadable(path, str(error)) from error
    try:
        file = msgspec.json.decode(data, type=_File)
    except msgspec.DecodeError as error:
        raise _unreadable(path, str(error)) from error
    if file.version != VERSION or not all(saved.size >= 0 and is_hash(saved.root) for saved in file.logs.values()):
        raise _unreadable(path, "a version, size or root is not valid")
    heads = {log: Head(saved.size, bytes.fromhex(saved.root)) for log, saved in file.logs.items()}
    return heads, {log: saved.caller for log, saved in file.logs.items()}


def _write(path: Path, heads: Mapping[str, Head], callers: Mapping[str, str]) -> None:
    logs = {log: _Saved(head.size, head.root.hex(), callers[log]) for log, head in heads.items()}
    data = msgspec.json.encode(_File(VERSION, logs))
    replace_file(path, data, mode=0o600)


def _conflict(message: str, known_size: int, code: str = "OLD_SIZE") -> Problem:
    return Problem(
        409,
        code,
        message,
        remedy=f"send old_size {known_size}, and the consistency proof from there (known_size)",
        extra={"known_size": str(known_size)},
    )


def _unreadable(path: Path, detail: str) -> Refused:
    return Refused(
        f"the witness state {path} cannot be read ({detail})",
        remedy="put the newest copy back; a witness that forgets would sign a fork",
    )
