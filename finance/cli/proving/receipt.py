"""`finance receipt`: one entry, or what became of one record, with its proof: a file that verifies on its own."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import click
import orjson
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings
from finance.cli.proving.trusted import registry_of
from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.proving.receipt_reader import ReceiptReader
from ledger_core.postgres.session import session
from ledger_core.proving.checkpoint import Checkpoint
from ledger_core.proving.receipt import Leaf, receipt_of
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.oracle import verify_receipt

WAIT_SECONDS = 10.0
WAIT_SECONDS_MAX = 600.0
ASK_AGAIN_SECONDS = 0.1
ALTERED = "`finance verify ledger` says what was altered; nothing was written"


@click.command()
@click.argument("event_id", required=False)
@click.option("--shard", type=click.IntRange(0), help="With --seq or --offset: the shard.")
@click.option("--seq", type=click.IntRange(1), help="With --shard: the entry's place in the chain, from 1.")
@click.option("--offset", type=click.IntRange(0), help="With --shard: the record's offset in the settlements topic.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(0, WAIT_SECONDS_MAX),
    default=WAIT_SECONDS,
    show_default=True,
    help="Seconds to wait for the next checkpoint.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the receipt here, not to stdout.")
@click.option(
    "--entry-out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the leaf's bytes here: of one that is too long, whoever verifies needs them.",
)
@json_option
def command(
    event_id: str | None,
    shard: int | None,
    seq: int | None,
    offset: int | None,
    wait_seconds: float,
    out: Path | None,
    entry_out: Path | None,
    as_json: bool,
) -> None:
    """The receipt of an entry, or of a record that was a duplicate or was rejected.

    An EVENT_ID gives the receipt of its entry, or of the verdict that it got for ever. What finance.outcomes says of a
    record is the other reference: --shard and --seq of what was posted, --shard and --offset of any record.

    A receipt is verified before it is handed out, and again by anybody with signers.json: `finance verify receipt`.
    What was posted a moment ago waits for the next checkpoint, about a second. Reads DATABASE_URL_API and
    FINANCE_SIGNERS.

    \b
    Examples:
      finance receipt 0199f2c4-1b7a-8e2d-9f00-3a5b6c7d8e9f --out receipt.json
      finance receipt --shard 0 --seq 17
      finance receipt --shard 0 --offset 1041 --wait 30 --json
    """
    by_place = (seq is not None, offset is not None)
    if (event_id is not None) == any(by_place) or all(by_place) or (shard is not None) != any(by_place):
        raise click.UsageError("name an EVENT_ID, or --shard with --seq or with --offset")
    settings = load_settings()
    registry = registry_of(None, settings)
    until = time.monotonic() + wait_seconds
    with session(settings.database_url("api"), application_name="finance receipt", read_only=True) as connection:
        reader = ReceiptReader(connection)
        leaf = _leaf(reader, event_id, shard, seq, offset)
        data = _made(reader, registry, leaf, _checkpoint(reader, leaf, until))
    if out is not None:
        out.write_bytes(data + b"\n")
    if entry_out is not None:
        entry_out.write_bytes(leaf.data)
    said = orjson.loads(data)

    def words(console: Console) -> None:
        if out is None:
            click.echo(data)
            return
        console.print(f"receipt of {_named(leaf)}: {len(data) + 1:,} bytes in {out}")
        short = "" if "leaf" in said else f" --entry {entry_out or 'FILE'}"
        console.print(f"check it: finance verify receipt {out} --signers {settings.signers_path}{short}")

    emit(as_json, {"ok": True, "out": None if out is None else str(out), "receipt": said}, words)


def _leaf(reader: ReceiptReader, event_id: str | None, shard: int | None, seq: int | None, offset: int | None) -> Leaf:
    if event_id is not None:
        try:
            found = reader.by_event(str(uuid.UUID(event_id)))
        except ValueError:
            raise click.BadParameter(f"{event_id!r} is not a UUID", param_hint="EVENT_ID") from None
        remedy = "it may not be posted yet; a record without an event id is found by --shard and --offset"
        what = f"event {event_id} has neither an entry nor a verdict"
    else:
        found = reader.by_seq(shard or 0, seq) if seq is not None else reader.by_offset(shard or 0, offset or 0)
        what = f"shard {shard} has nothing at {f'seq {seq}' if seq is not None else f'offset {offset}'}"
        remedy = "`finance status` says how far posting is"
    if found is None:
        raise Refused(what, remedy=remedy)
    return found


def _checkpoint(reader: ReceiptReader, leaf: Leaf, until: float) -> Checkpoint:
    """Waits for one, bounded."""
    while (kept := reader.over(leaf)) is None:
        if time.monotonic() >= until:
            raise Unavailable(
                "prover",
                f"no checkpoint covers {_named(leaf)} yet: the newest one of shard {leaf.shard} ends at offset "
                f"{reader.signed_to(leaf.shard)} (see `finance status`; --wait waits longer)",
            )
        time.sleep(ASK_AGAIN_SECONDS)
    return kept


def _made(reader: ReceiptReader, registry: SignerRegistry, leaf: Leaf, kept: Checkpoint) -> bytes:
    """Verified before anybody sees it."""
    try:
        path = reader.path(leaf, kept)
        data = receipt_of(kept.note, registry, leaf.tree, leaf.index, leaf.data, path).to_bytes()
    except ValueError as error:
        raise Refused(
            f"no receipt can be made of {_named(leaf)}: {error}",
            remedy="after a rebuild wait for the prover, which makes tiles again; else ask `finance verify ledger`",
        ) from error
    for finding in verify_receipt(data, registry, entry=leaf.data).report.findings:
        raise Refused(f"the receipt of {_named(leaf)} is not sound: {finding}", remedy=ALTERED)
    return data


def _named(leaf: Leaf) -> str:
    if leaf.tree == "entries":
        return f"entry {leaf.index + 1} of shard {leaf.shard}"
    return f"the verdict at offset {leaf.offset} of shard {leaf.shard}"
