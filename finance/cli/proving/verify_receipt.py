"""`finance verify receipt`: receipts, offline. What was signed, and which leaf of it the path proves."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from finance.cli.common import json_option
from finance.cli.findings import tell
from finance.cli.proving.trusted import registry_of, signers_option
from ledger_core.findings import Collector
from ledger_core.verify.oracle import ReceiptCheck, verify_receipt
from schemas.read_file import STATEMENT_BYTES_MAX, read_file


@click.command()
@click.argument(
    "files", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True, metavar="FILE..."
)
@click.option(
    "--entry",
    "entry_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The entry's bytes, of one receipt from which they were left out (over 4,096 bytes).",
)
@signers_option
@json_option
def receipt(files: tuple[Path, ...], entry_file: Path | None, signers: Path | None, as_json: bool) -> None:
    """Receipts: that the entry, or the verdict of a record, stands in the ledger that was signed. Needs no network.

    Root and size come from the receipt's checkpoint, once a key of the registry that counts has signed it: the keys
    that stand in the receipt are not trusted. An entry that is too long for a receipt is named by its hash alone: give
    its bytes with --entry, or the answer is about the hash (`leaves_unchecked`).

    \b
    Examples:
      finance verify receipt receipt.json --signers signers.json
      finance verify receipt receipts/*.json --json
      finance verify receipt receipt.json --entry entry.json
    """
    if entry_file is not None and len(files) > 1:
        raise click.UsageError("--entry belongs to one receipt")
    registry = registry_of(signers)
    entry = None if entry_file is None else read_file(entry_file, STATEMENT_BYTES_MAX)
    started = time.perf_counter()
    found, checks = Collector(), list[tuple[Path, ReceiptCheck]]()
    for file in files:
        check = verify_receipt(read_file(file, STATEMENT_BYTES_MAX), registry, place=str(file), entry=entry)
        found.take(check.report)
        checks.append((file, check))

    def words(console: Console) -> None:
        for file, check in checks:
            if check.report.sound:
                console.print(f"{file}: {_sentence(check.says)}", soft_wrap=True)

    told = [{"file": str(file), "ok": check.report.sound, "says": check.says} for file, check in checks]
    tell(found.report(), time.perf_counter() - started, as_json, words, receipts=told)


def _sentence(says: dict[str, str]) -> str:
    ledger = f"{says['origin']}, as signed at {int(says['size']):,} entries"
    if "leaf_hash" in says:
        return f"leaf {says['leaf_hash']} is number {says['index']} of the {says['tree']} of {ledger}"
    if says["tree"] == "entries":
        what = f"{says['event_type']} {says['settlement_id']}, event {says['event_id']}, of {says['recorded_at']}"
        return f"entry {says['seq']} of {ledger}: {what}"
    event = f", event {says['event_id']}" if "event_id" in says else ""
    return f"offset {says['offset']} of {ledger}: {says['verdict']} ({says['reason']}){event}"
