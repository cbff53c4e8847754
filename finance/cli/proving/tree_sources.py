"""Where commands read a shard's trees from: the database that has them in tiles, or the archive alone.

Guarantees: both give the newest signed checkpoint and the tiles behind it by the same two questions. The archive's
reader keeps what it read from one opening to the next; the database is asked in a session for each opening.
Does not: verify anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import click

from finance.settings.deployment import Settings
from ledger_core.archive.archived_trees import ArchivedTrees
from ledger_core.errors import Refused
from ledger_core.postgres.proving.receipt_reader import ReceiptReader
from ledger_core.postgres.session import session
from ledger_core.proving.tiles import ReadTile, TreeName

archive_option = click.option(
    "--archive",
    metavar="ADDRESS",
    help="Read from this archive alone (s3://bucket[/prefix], or a folder with a copy). Default: the database.",
)


class TreeSource(Protocol):
    """The trees of one shard. What is read may raise ValueError where something is missing, Unavailable, Refused."""

    def newest(self) -> bytes | None: ...

    def reader(self, tree: TreeName) -> ReadTile: ...


OpenTrees = Callable[[], AbstractContextManager[TreeSource]]


class _DatabaseTrees:
    def __init__(self, reader: ReceiptReader, shard: int) -> None:
        self._reader = reader
        self._shard = shard

    def newest(self) -> bytes | None:
        return self._reader.newest(self._shard)

    def reader(self, tree: TreeName) -> ReadTile:
        return self._reader.tiles(self._shard, tree)


def trees_of(settings: Settings, archive: str | None, env: str, shard: int, *, what: str) -> OpenTrees:
    """How to open the trees of a shard; `what` names the database session. Raises Refused."""
    if archive is not None:
        from finance.wiring.archive_source import open_source

        kept = ArchivedTrees(open_source(archive, settings), env, shard)
        return lambda: nullcontext(kept)
    url = settings.database_url("auditor")

    @contextmanager
    def opened() -> Iterator[TreeSource]:
        with session(url, application_name=what, read_only=True) as connection:
            yield _DatabaseTrees(ReceiptReader(connection), shard)

    return opened


def newest_of(trees: TreeSource) -> bytes | None:
    """The newest checkpoint. Raises Refused where the archive has something else for a manifest."""
    try:
        return trees.newest()
    except ValueError as error:
        raise Refused(
            f"the archive cannot be read: {error}", remedy="`finance verify archive` says what was altered"
        ) from error
