"""`finance entry show`: one journal entry, with its link in the chain and the proof that covers it."""

from __future__ import annotations

import datetime as dt
import uuid

import click
import orjson
from rich.console import Console

from finance.cli.common import EndMoment, Moment, emit, json_option, load_settings, utc
from ledger_core.chain import link
from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.reading import queries
from ledger_core.postgres.reading.queries import RecordedRejection, StoredEntry
from ledger_core.postgres.session import Session, session

ENTRIES_MAX = 100


@click.group()
def command() -> None:
    """Show one journal entry.

    \b
    Example:
      finance entry show 0199f2c4-1b7a-8e2d-9f00-3a5b6c7d8e9f
    """


@command.command()
@click.argument("event_id", required=False)
@click.option("--shard", type=click.IntRange(0), help="With --seq: the place in a shard's chain.")
@click.option("--seq", type=click.IntRange(1), help="With --shard: the place in the chain, from 1.")
@click.option(
    "--settlement", "settlement_id", metavar="ID", help="All entries of a settlement, recorded in --from --to."
)
@click.option("--from", "since", type=Moment(), help="With --settlement: first moment of recorded_at.")
@click.option(
    "--to", "until", type=EndMoment(), help="With --settlement: last day of recorded_at, or a time (not included)."
)
@json_option
def show(
    event_id: str | None,
    shard: int | None,
    seq: int | None,
    settlement_id: str | None,
    since: dt.datetime | None,
    until: dt.datetime | None,
    as_json: bool,
) -> None:
    """Show an entry by event id, by --shard and --seq, or those of a --settlement within a window.

    A settlement id has no index, because that would slow every posting as the ledger grows: so name the window of
    recorded_at to read through. The chain link is computed again: exit 1 when it does not fit, or nothing is found.
    Reads DATABASE_URL_API.

    \b
    Examples:
      finance entry show 0199f2c4-1b7a-8e2d-9f00-3a5b6c7d8e9f
      finance entry show --shard 0 --seq 17 --json
      finance entry show --settlement st_1 --from 2025-11-01 --to 2025-11-01
    """
    by_place = shard is not None or seq is not None
    if [event_id is not None, by_place, settlement_id is not None].count(True) != 1:
        raise click.UsageError("name an EVENT_ID, or --shard and --seq, or --settlement")
    rejection: RecordedRejection | None = None
    with session(load_settings().database_url("api"), application_name="finance entry", read_only=True) as connection:
        if event_id is not None:
            wanted = _uuid(event_id)
            entry = queries.entry_by_event_id(connection, wanted)
            rejection = None if entry else queries.rejection_of_event_id(connection, wanted)
            found = [entry] if entry else []
        elif by_place:
            if shard is None or seq is None:
                raise click.UsageError("--shard and --seq belong together")
            entry = queries.entry_by_seq(connection, shard, seq)
            found = [entry] if entry else []
        else:
            found = _of_settlement(connection, settlement_id or "", since, until)
        told = [_object(connection, entry) for entry in found]
    _emit(told, rejection, as_json)


def _of_settlement(
    connection: Session, settlement_id: str, since: dt.datetime | None, until: dt.datetime | None
) -> list[StoredEntry]:
    if since is None or until is None or since >= until:
        raise Refused(
            "a settlement id has no index, and no window to search was named",
            remedy="add --from and --to (recorded_at), or show the entry by its event id",
        )
    try:
        return queries.entries_of_settlement(connection, settlement_id, since=since, until=until, limit=ENTRIES_MAX)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--settlement") from None
    except Unavailable as error:
        raise Unavailable(error.what, f"{error.detail} (narrow --from and --to if the window is large)") from error


def _object(connection: Session, entry: StoredEntry) -> dict[str, object]:
    sound = link(entry.body, entry.prev_hash) == entry.entry_hash and (entry.seq == 1) == (entry.prev_hash is None)
    proof = queries.proof_of_seq(connection, entry.shard, entry.seq)
    range_no, proof_id, object_key = proof or (None, None, None)
    return {
        "shard": entry.shard,
        "seq": str(entry.seq),
        "entry_hash": entry.entry_hash.hex(),
        "prev_hash": entry.prev_hash.hex() if entry.prev_hash else None,
        "link_sound": sound,
        "recorded_at": utc(entry.recorded_at),
        "range_no": range_no,
        "proof_id": proof_id,
        "archive_object": object_key,
        "entry": orjson.loads(entry.body),
    }


def _emit(told: list[dict[str, object]], rejection: RecordedRejection | None, as_json: bool) -> None:
    sound = bool(told) and all(entry["link_sound"] for entry in told)

    def words(console: Console) -> None:
        for entry in told:
            console.print(f"shard {entry['shard']}  seq {entry['seq']}  recorded {entry['recorded_at']}")
            console.print(
                f"hash  {entry['entry_hash']}  ({'fits' if entry['link_sound'] else 'DOES NOT FIT'} the chain)"
            )
            console.print(f"prev  {entry['prev_hash'] or 'genesis'}")
            console.print(f"proof {entry['proof_id'] or 'none yet'}  archive {entry['archive_object'] or 'not yet'}")
            console.print(orjson.dumps(entry["entry"], option=orjson.OPT_INDENT_2).decode())
        if rejection is not None:
            console.print(
                f"not posted: rejected for ever as {rejection.reason} (shard {rejection.shard}, offset "
                f"{rejection.source_offset}): {rejection.detail}"
            )
        elif not told:
            console.print("no such entry")

    result: dict[str, object] = {"ok": sound, "entries": told}
    if rejection is not None:
        result["rejected"] = {
            "reason": rejection.reason,
            "detail": rejection.detail,
            "shard": rejection.shard,
            "offset": str(rejection.source_offset),
        }
    emit(as_json, result, words)
    if not sound:
        raise click.exceptions.Exit(1)


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a UUID", param_hint="EVENT_ID") from None
