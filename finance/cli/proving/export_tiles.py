"""`finance export tiles`: a shard's trees as a static log (C2SP tlog-tiles), for the tools of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from finance.cli.common import emit, json_option, load_settings
from finance.cli.proving.tree_sources import TreeSource, archive_option, newest_of, trees_of
from finance.cli.proving.trusted import registry_of, signers_option
from ledger_core.errors import Refused
from ledger_core.proving import checkpoint
from ledger_core.proving.checkpoint import Checkpoint
from ledger_core.proving.tile_checks import TilesUp
from ledger_core.proving.tiles import TILE_HASHES, TreeName, tile_path
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import BadSignature
from ledger_core.tree import HASH_BYTES
from producers.storage.whole_file import replace_file
from schemas.read_file import STATEMENT_BYTES_MAX, read_file

CHECKPOINT = "checkpoint"


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--shard", type=click.IntRange(min=0), required=True, help="Whose trees.")
@archive_option
@signers_option
@json_option
def tiles(folder: Path, shard: int, archive: str | None, signers: Path | None, as_json: bool) -> None:
    """A shard's newest checkpoint and the tiles of its trees, in the layout of C2SP tlog-tiles: other people's tools
    for transparency logs read it, from any web server.

    DIR gets `checkpoint` and `tile/...`, the tree of the entries; below `verdicts/` stand the tiles of the verdict
    lines, whose size and root are a line of the checkpoint. Every tile is checked against the signed roots, and
    `checkpoint` is written last: so a DIR that is written to again and again is a log that grows. Reads
    DATABASE_URL_AUDITOR or, with --archive, the archive, and FINANCE_SIGNERS.

    \b
    Examples:
      finance export tiles log/ --shard 0
      finance export tiles log/ --shard 0 --archive s3://finance-audit
    """
    settings = load_settings()
    registry = registry_of(signers, settings)
    with trees_of(settings, archive, settings.env, shard, what="finance export tiles")() as trees:
        head = _newest(trees, registry, shard)
        _continues(folder, head)
        try:
            written = _write(folder, trees, "entries", head.size, head.root)
            record = head.record
            written += _write(folder / "verdicts", trees, "verdicts", record.verdict_count, record.verdict_root)
        except ValueError as error:
            raise Refused(
                f"the tiles of shard {shard} are not those of its checkpoint: {error}",
                remedy="after a rebuild wait for the prover, which makes tiles again; else ask `finance verify ledger`",
            ) from error
    replace_file(folder / CHECKPOINT, head.note)
    told = {"origin": head.origin, "size": str(head.size), "verdicts": str(record.verdict_count), "tiles": written}
    emit(
        as_json,
        {"ok": True, **told},
        lambda console: console.print(f"{folder}: {head.origin}, {head.size:,} entries, {written:,} tiles"),
    )


def _newest(trees: TreeSource, registry: SignerRegistry, shard: int) -> Checkpoint:
    note = newest_of(trees)
    if note is None:
        raise Refused(
            f"shard {shard} has no checkpoint yet", remedy="`finance status` says how far the prover (or archiver) is"
        )
    try:
        return checkpoint.parse_and_verify(note, registry)[0]
    except (ValueError, BadSignature) as error:
        raise Refused(
            f"the newest checkpoint of shard {shard} does not count: {error}",
            remedy="name the registry with its key (--signers); else `finance verify ledger` says what was altered",
        ) from error


def _continues(folder: Path, head: Checkpoint) -> None:
    """Refuse a folder with another log, or with more of this one."""
    try:
        before = checkpoint.parse(read_file(folder / CHECKPOINT, STATEMENT_BYTES_MAX))
    except FileNotFoundError:
        return
    except ValueError as error:
        raise Refused(f"{folder / CHECKPOINT} is not a checkpoint: {error}", remedy="name another folder") from error
    if before.origin != head.origin or before.record.next_offset > head.record.next_offset:
        raise Refused(
            f"{folder} has {before.origin} up to offset {before.record.next_offset}, which is not continued by "
            f"{head.origin} up to {head.record.next_offset}",
            remedy="name another folder; `finance verify consistency` says whether a ledger lost something",
        )


def _write(folder: Path, trees: TreeSource, tree: TreeName, size: int, root: bytes) -> int:
    """Every tile of one tree. Raises ValueError where they do not lead to the root."""
    count = 0
    for path, hashes in _tiles(trees, tree, size, root):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, hashes)
        count += 1
    return count


def _tiles(trees: TreeSource, tree: TreeName, size: int, root: bytes) -> Iterator[tuple[str, bytes]]:
    up = TilesUp(trees.reader(tree))
    for tile in up.full(size):
        yield tile_path(tile.level, tile.number), tile.hashes
    for tile in up.edges(size, root):
        width = len(tile.hashes) // HASH_BYTES
        assert width < TILE_HASHES  # noqa: S101  # a full one is not an edge
        yield tile_path(tile.level, tile.number, width), tile.hashes
