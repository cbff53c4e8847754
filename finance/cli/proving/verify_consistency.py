"""`finance verify consistency`: whether the ledger only went on from a checkpoint that was kept; again and again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from finance.cli.common import json_option, load_settings
from finance.cli.findings import tell
from finance.cli.proving.trusted import registry_of, signers_option
from finance.settings.deployment import Settings
from ledger_core.errors import Unavailable
from ledger_core.postgres.proving.receipt_reader import ReceiptReader
from ledger_core.postgres.session import session
from ledger_core.proving import checkpoint
from ledger_core.proving.tiles import TreeName
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.oracle import ConsistencyCheck, verify_consistency_of
from producers.storage.whole_file import replace_file
from schemas.read_file import STATEMENT_BYTES_MAX, read_file


class _Proofs:
    """From the tiles that the prover keeps."""

    def __init__(self, reader: ReceiptReader, shard: int) -> None:
        self._reader = reader
        self._shard = shard

    def consistency(self, tree: TreeName, old_size: int, size: int) -> Sequence[bytes]:
        return self._reader.tree(self._shard, tree, size).consistency_proof(old_size)


@click.command()
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--keep", is_flag=True, help="When sound, write the newest checkpoint over OLD.")
@click.option(
    "--every", "every_seconds", type=click.FloatRange(0.1, 86_400), help="Go on: compare so often, until findings."
)
@signers_option
@json_option
def consistency(old: Path, keep: bool, every_seconds: float | None, signers: Path | None, as_json: bool) -> None:
    """That the ledger only went on from a checkpoint you kept: nothing rewritten, dropped, reordered or put back.

    OLD is a signed note, as in a receipt's `checkpoint`. It is compared with the newest one of that shard, both trees
    by consistency proofs. Even who has the database and the key cannot change what you kept: so keep it elsewhere. With
    --keep the newest one takes its place; with --every too, this is a monitor. Reads DATABASE_URL_AUDITOR and
    FINANCE_SIGNERS.

    \b
    Examples:
      finance verify consistency kept.note
      finance verify consistency kept.note --keep --every 60
    """
    settings = load_settings()
    registry = registry_of(signers, settings)
    while True:
        started = time.perf_counter()
        check = _check(settings, registry, old)
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


def _check(settings: Settings, registry: SignerRegistry, old: Path) -> ConsistencyCheck:
    note = read_file(old, STATEMENT_BYTES_MAX)
    shard = _shard_of(note)
    url = settings.database_url("auditor")
    with session(url, application_name="finance verify consistency", read_only=True) as connection:
        reader = ReceiptReader(connection)
        newest = reader.newest(shard) if shard is not None else None
        try:
            return verify_consistency_of(note, newest, _Proofs(reader, shard or 0), registry, place=str(old))
        except Unavailable as error:
            raise Unavailable(error.what, f"{error.detail}; nothing was compared") from error


def _shard_of(note: bytes) -> int | None:
    """The shard that a note names; None where it is not a checkpoint, which is a finding then."""
    try:
        text = checkpoint.parse(note).origin.rpartition("/")[2]
    except ValueError:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
