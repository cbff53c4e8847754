"""`finance verify consistency`: whether the ledger only went on from a checkpoint that was kept; again and again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from finance.cli.common import json_option, load_settings
from finance.cli.findings import tell
from finance.cli.proving.tree_sources import OpenTrees, TreeSource, archive_option, newest_of, trees_of
from finance.cli.proving.trusted import registry_of, signers_option
from finance.settings.deployment import Settings
from ledger_core.errors import Unavailable
from ledger_core.proving import checkpoint
from ledger_core.proving.tiles import TiledTree, TreeName
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.oracle import ConsistencyCheck, verify_consistency_of
from producers.storage.whole_file import replace_file
from schemas.read_file import STATEMENT_BYTES_MAX, read_file


class _Proofs:
    """From the tiles of the source that the newest checkpoint came from."""

    def __init__(self, trees: TreeSource) -> None:
        self._trees = trees

    def consistency(self, tree: TreeName, old_size: int, size: int) -> Sequence[bytes]:
        return TiledTree(size, self._trees.reader(tree)).consistency_proof(old_size)


@click.command()
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--keep", is_flag=True, help="When sound, write the newest checkpoint over OLD.")
@click.option(
    "--every", "every_seconds", type=click.FloatRange(0.1, 86_400), help="Go on: compare so often, until findings."
)
@archive_option
@signers_option
@json_option
def consistency(
    old: Path, keep: bool, every_seconds: float | None, archive: str | None, signers: Path | None, as_json: bool
) -> None:
    """That the ledger only went on from a checkpoint you kept: nothing rewritten, dropped, reordered or put back.

    OLD is a signed note, as in a receipt's `checkpoint`. It is compared with the newest one of that shard, both trees
    by consistency proofs. Even who has the database and the key cannot change what you kept: so keep it elsewhere. With
    --keep the newest one takes its place; with --every too, this is a monitor: what does not answer is asked again.

    Reads FINANCE_SIGNERS and DATABASE_URL_AUDITOR or, with --archive, neither database nor key: the archive has the
    checkpoint of each range, so a newer one that you kept compares once its range is archived.

    \b
    Examples:
      finance verify consistency kept.note
      finance verify consistency kept.note --archive s3://finance-audit
      finance verify consistency kept.note --keep --every 60
    """
    settings = load_settings()
    registry = registry_of(signers, settings)
    opened: dict[str, OpenTrees] = {}  # by origin: what was read of an archive is kept
    while True:
        started = time.perf_counter()
        try:
            check = _check(settings, registry, old, archive, opened)
        except Unavailable as error:
            if every_seconds is None:
                raise
            click.echo(f"not compared: {error}", err=True)
            time.sleep(every_seconds)
            continue
        if keep and check.report.sound and check.new is not None and check.new != check.old:
            replace_file(old, check.new.note)
        if every_seconds is None or not check.report.sound:
            break
        size = "" if check.new is None else f"size {check.new.size}, offset {check.new.record.next_offset}"
        click.echo(f"consistent: {size}", err=True)
        time.sleep(every_seconds)

    def words(console: Console) -> None:
        if check.old is not None and check.new is not None:
            was, now = (f"{it.size:,} entries, offset {it.record.next_offset}" for it in (check.old, check.new))
            console.print(f"{check.old.origin}: {was}; now {now}")

    kept = keep and check.report.sound
    tell(check.report, time.perf_counter() - started, as_json, words, kept=kept)


def _check(
    settings: Settings, registry: SignerRegistry, old: Path, archive: str | None, opened: dict[str, OpenTrees]
) -> ConsistencyCheck:
    note = read_file(old, STATEMENT_BYTES_MAX)
    place = _place_of(note)
    if place is None:  # which is the finding
        return verify_consistency_of(note, None, None, registry, place=str(old))
    origin, env, shard = place
    if origin not in opened:
        opened[origin] = trees_of(settings, archive, env, shard, what="finance verify consistency")
    with opened[origin]() as trees:
        newest = newest_of(trees)
        try:
            return verify_consistency_of(note, newest, _Proofs(trees), registry, place=str(old))
        except Unavailable as error:
            raise Unavailable(error.what, f"{error.detail}; nothing was compared") from error


def _place_of(note: bytes) -> tuple[str, str, int] | None:
    """Origin, environment and shard that a note names; None where it is not the checkpoint of a shard."""
    try:
        origin = checkpoint.parse(note).origin
    except ValueError:
        return None
    words = origin.rsplit("/", 4)
    if len(words) < 5 or (words[1], words[3]) != ("finance", "ledger"):
        return None
    text = words[4]
    return (origin, words[2], int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else None
