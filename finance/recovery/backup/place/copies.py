"""The places that hold the backups, read as one: what one place lost or altered comes from another, and is healed.

Guarantees: what `read` returns has the digest it was asked for, or it raises, naming the file and what each place said.
A file is stored in every place, or the failure is reported. What heals it and cannot (a place that is read-only) is
reported, and stops nothing .
Does not: know what the files mean, but for which of them will soon be replaced (`finance.recovery.backup.place.keys`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from finance.recovery.backup.place.keys import is_passing
from finance.recovery.backup.place.manifest import digest_of
from ledger_core.errors import Refused, Unavailable


class BackupStore(Protocol):
    """One store of files. Every method may raise Unavailable."""

    @property
    def name(self) -> str: ...

    def put(self, key: str, data: bytes, *, passing: bool) -> None:
        """Store or replace: whole and durable, or not at all. What is `passing` will soon be replaced or deleted."""
        ...

    def forms(self, key: str) -> Iterator[bytes]:
        """What is stored under the key, then what it was written over or hidden by, where a place keeps that."""
        ...

    def sizes(self, prefix: str) -> dict[str, int]:
        """Every key below a prefix that ends with a slash (or all), with its size in bytes."""
        ...

    def delete(self, key: str) -> bool:
        """False: a lock holds it, and it stays."""
        ...


class Copies:
    """`places[0]` is the place; the others are further copies of it."""

    def __init__(self, places: Sequence[BackupStore]) -> None:
        self._places = tuple(places)
        self.healed: list[str] = []  # `<key> in <place>`
        self.not_healed: list[str] = []  # `<key> in <place>: <why>`

    @property
    def name(self) -> str:
        return self._places[0].name

    def put(self, key: str, data: bytes) -> None:
        for place in self._places:
            place.put(key, data, passing=is_passing(key))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Every key that any place holds."""
        return {key: size for place in reversed(self._places) for key, size in place.sizes(prefix).items()}

    def delete(self, key: str) -> bool:
        """False: a lock holds it in some place."""
        gone = [place.delete(key) for place in self._places]  # from each of them, whatever one says
        return all(gone)

    def read(self, key: str, sha256: str) -> bytes:
        """The bytes with that digest; the places before the one that holds them are healed. Raises Refused when none
        does, Unavailable."""
        return self.read_if(key, digest_fault(sha256))

    def read_if(self, key: str, fault: Callable[[bytes], str | None], *, everywhere: bool = False) -> bytes:
        """The first copy in which `fault` finds none; the places before it, or all, are healed with it. Raises Refused
        when every copy has a fault, and Unavailable when a place does not answer.
        """
        sound: bytes | None = None
        said: list[tuple[BackupStore, str]] = []
        away: Unavailable | None = None
        for place in self._places:
            if sound is not None and not everywhere:
                break
            try:
                found, told = _first_sound(place, key, fault)
            except Unavailable as error:
                away, found, told = error, None, error.detail
            sound = found if sound is None else sound
            if told is not None:
                said.append((place, told))
        if sound is None:
            if away is not None:
                raise away
            told_all = "; ".join(f"{told} in {place.name}" for place, told in said)
            raise Refused(
                f"backup file {key} {told_all}",
                remedy="name a second place that still has it with --also, or restore from another backup",
            )
        for place, _ in said:
            self._heal(place, key, sound)
        return sound

    def check(self, files: Iterable[tuple[str, str]], advance: Callable[[int], None], *, everywhere: bool) -> list[str]:
        """Read every (key, digest), in every place or as `read` does, healing what can be; what stays missing or
        altered, in words."""
        faults = []
        for key, sha256 in files:
            try:
                advance(len(self.read_if(key, digest_fault(sha256), everywhere=everywhere)))
            except Refused as error:
                faults.append(error.message)
        return faults

    def _heal(self, place: BackupStore, key: str, data: bytes) -> None:
        try:
            place.put(key, data, passing=is_passing(key))
        except (Unavailable, Refused) as error:
            self.not_healed.append(f"{key} in {place.name}: {error}")
        else:
            self.healed.append(f"{key} in {place.name}")


def digest_fault(sha256: str) -> Callable[[bytes], str | None]:
    """What is wrong with bytes that have another digest; None for those that have it."""
    return lambda data: None if digest_of(data) == sha256 else "was altered"


def _first_sound(place: BackupStore, key: str, fault: Callable[[bytes], str | None]) -> tuple[bytes | None, str | None]:
    """The newest sound form in a place, and what is wrong with the newest one."""
    told: str | None = None
    for data in place.forms(key):
        found = fault(data)
        if found is None:
            return data, told
        told = told or found
    return None, told or "is missing"
