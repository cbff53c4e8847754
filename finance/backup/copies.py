"""The places that hold the backups, read as one: what one place lost or altered comes from another, and is healed.

Guarantees: what `read` returns has the digest it was asked for, or it raises, naming the file and what each place said.
A file is stored in every place, or the failure is told.
Does not: know what the files mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from finance.backup.manifest import digest_of
from ledger_core.errors import Refused


class Place(Protocol):
    """One store of files. Every method may raise Unavailable."""

    @property
    def name(self) -> str: ...

    def put(self, key: str, data: bytes) -> None:
        """Store or replace: whole and durable, or not at all."""
        ...

    def get(self, key: str) -> bytes:
        """Raises KeyError when there is none."""
        ...

    def sizes(self, prefix: str) -> dict[str, int]:
        """Every key below a prefix that ends with a slash, with its size in bytes."""
        ...

    def delete(self, key: str) -> None: ...


class Copies:
    """`places[0]` is the place; the others are further copies of it. `on_healed` is told (key, place)."""

    def __init__(self, places: Sequence[Place], on_healed: Callable[[str, str], None] = lambda _key, _place: None):
        self._places = tuple(places)
        self._on_healed = on_healed

    @property
    def name(self) -> str:
        return self._places[0].name

    def put(self, key: str, data: bytes) -> None:
        for place in self._places:
            place.put(key, data)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Every key that any place holds."""
        return {key: size for place in reversed(self._places) for key, size in place.sizes(prefix).items()}

    def delete(self, key: str) -> None:
        for place in self._places:
            place.delete(key)

    def read(self, key: str, sha256: str) -> bytes:
        """The bytes with that digest, healing every place that does not hold them. Raises Refused when none does."""
        return self.read_if(key, lambda data: None if digest_of(data) == sha256 else "was altered")

    def read_if(self, key: str, fault: Callable[[bytes], str | None]) -> bytes:
        """The first copy in which `fault` finds none; the places before it are healed with it."""
        said: list[tuple[Place, str]] = []
        for place in self._places:
            try:
                data = place.get(key)
            except KeyError:
                said.append((place, "is missing"))
                continue
            found = fault(data)
            if found is None:
                for bad, _ in said:
                    bad.put(key, data)
                    self._on_healed(key, bad.name)
                return data
            said.append((place, found))
        told = "; ".join(f"{what} in {place.name}" for place, what in said)
        raise Refused(
            f"backup file {key} {told}",
            remedy="name a second place that still has it with --also, or restore from another backup",
        )
