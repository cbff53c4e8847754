"""Which entries an auditor asked for beside a window: those of accounts, and those of settlements. Pure.

Guarantees: an entry is asked for when one of its lines is of one of the accounts, or its settlement is one of the
settlements; with neither, every entry is. `MatchedLines` holds the member with the entries that match against the
batches, entry by entry: one that is left out, added, changed or out of order is found.
Does not: say that the batches are whole: chain and tree do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

LF: Final = b"\n"


class AskedFilter(Protocol):
    """What was asked for beside the window."""

    @property
    def accounts(self) -> Sequence[str]:
        """Accounts, in order."""

    @property
    def settlements(self) -> Sequence[str]:
        """Ids of settlements, in order."""


class AskedLine(msgspec.Struct, frozen=True):
    """What is asked of a line."""

    account: str  # whole name of the account
    side: str  # debit or credit
    amount_minor: str  # decimal text
    currency: str  # ISO 4217


class AskedEntry(msgspec.Struct, frozen=True):
    """What the question asks of an entry; other fields are passed over."""

    seq: str  # decimal text
    recorded_at: str  # broker's append time, UTC; texts compare as times
    settlement_id: str  # the shop's id
    lines: tuple[AskedLine, ...]  # as in the entry
    event_id: str = ""  # of the settlement event
    pii_digest: str | None = None  # of its personal data; None: it has none


decode_asked = msgspec.json.Decoder(AskedEntry).decode
"""Canonical bytes of an entry -> what the question asks of it. Raises msgspec.MsgspecError."""


class Question:
    """One question to many entries."""

    def __init__(self, asked: AskedFilter) -> None:
        self._accounts, self._settlements = frozenset(asked.accounts), frozenset(asked.settlements)

    @property
    def is_narrow(self) -> bool:
        """Whether it asks for less than everything: then the entries that match stand in a member of their own."""
        return bool(self._accounts or self._settlements)

    def matches(self, settlement_id: str, accounts: Sequence[str]) -> bool:
        """Whether an entry with this settlement and these accounts is asked for."""
        if not self.is_narrow or settlement_id in self._settlements:
            return True
        return not self._accounts.isdisjoint(accounts)


class MatchedLines:
    """The member with the entries that match, compared in order of sequence."""

    def __init__(self, member: bytes) -> None:
        self._lines = member.split(LF)
        self._at = 0
        self.fault: str | None = "is not ended by LF" if member and self._lines[-1] else None

    def take(self, entry: bytes) -> bool:
        """The next entry of the batches that matches; False at the first that does not stand there."""
        if self.fault is None and (self._at >= len(self._lines) - 1 or self._lines[self._at] != entry):
            self.fault = "this entry matches, and is not the next one that stands there"
            return False
        self._at += 1
        return True

    def finish(self) -> None:
        """After the last entry."""
        if self.fault is None and self._at != len(self._lines) - 1:
            self.fault = "an entry stands there that the window has not, or that does not match"
