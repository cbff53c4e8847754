"""A place of backups in memory, for what is decided from what a place holds; the real ones pass one contract."""

from __future__ import annotations

from collections.abc import Iterator


class MemoryPlace:
    """Its files lie open: tests take away, exchange and alter them."""

    def __init__(self, name: str, files: dict[str, bytes] | None = None) -> None:
        self.name = name
        self.files = {} if files is None else files

    def put(self, key: str, data: bytes, *, passing: bool) -> None:
        self.files[key] = data

    def forms(self, key: str) -> Iterator[bytes]:
        yield from [self.files[key]] if key in self.files else []

    def sizes(self, prefix: str) -> dict[str, int]:
        return {key: len(data) for key, data in self.files.items() if key.startswith(prefix)}

    def delete(self, key: str) -> bool:
        return self.files.pop(key, None) is not None
