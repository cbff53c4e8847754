"""`finance settlement show` and `finance order show`: the whole story, from the read side."""

from __future__ import annotations

from pathlib import Path

import click

from finance.cli.reading.shown import Column, Shown, asked, known_at_option, output_options, show
from ledger_core.books.event_rules import is_name
from ledger_core.findings import Report
from ledger_core.postgres.reading.projection_entries import By
from ledger_core.postgres.reading.stories import Story, story_of
from ledger_core.reading.reversals import ReversalEntry, check_reversals
from ledger_core.reading.tokens import position_token
from ledger_core.times import format_time

COLUMNS = (
    Column("known_at", "time"), Column("occurred_at", "time"), Column("event_type"), Column("account"),
    Column("debit", "amount"), Column("credit", "amount"), Column("currency"),
    Column("settlement_id", in_tables=False), Column("order_id", in_tables=False),
    Column("reference", in_tables=False), Column("shard", "number"), Column("seq", "count"),
    Column("event_id", in_tables=False), Column("reverses", in_tables=False),
)  # fmt: skip


@click.group()
def settlement() -> None:
    """What became of a settlement.

    \b
    Example:
      finance settlement show st_1
    """


@click.group()
def order() -> None:
    """What became of an order.

    \b
    Example:
      finance order show order_1
    """


@settlement.command("show")
@click.argument("settlement_id")
@click.option("--reference", "by_reference", is_flag=True, help="The name is the provider's reference of the payment.")
@known_at_option
@output_options
def show_settlement(
    settlement_id: str, by_reference: bool, known_at: str | int | None, form: str, out: Path | None, as_json: bool
) -> None:
    """The whole story of a settlement: its entries, what they come to, and records that posted nothing.

    Reversals are checked: a refund beyond what came is a finding (docs/ACCOUNTS.md). Exit 1 when there is a finding, or
    nothing is known of it. Reads DATABASE_URL_READING.

    \b
    Examples:
      finance settlement show st_1
      finance settlement show pi_3Nk2 --reference --json
      finance settlement show st_1 --as-known-at 2025-11-30
    """
    by = By.REFERENCE if by_reference else By.SETTLEMENT
    _tell(by, settlement_id, "SETTLEMENT_ID", known_at, form, out, as_json)


@order.command("show")
@click.argument("order_id")
@known_at_option
@output_options
def show_order(order_id: str, known_at: str | int | None, form: str, out: Path | None, as_json: bool) -> None:
    """All entries of an order, whatever settlement they belong to, and what they come to.

    Reversals are checked, as of a settlement. Exit 1 when there is a finding, or nothing is known of it.
    Reads DATABASE_URL_READING.

    \b
    Examples:
      finance order show order_1
      finance order show order_1 --format csv
    """
    _tell(By.ORDER, order_id, "ORDER_ID", known_at, form, out, as_json)


def _tell(by: By, name: str, hint: str, known_at: str | int | None, form: str, out: Path | None, as_json: bool) -> None:
    if not is_name(name):
        raise click.BadParameter(f"{name!r} cannot be the name of one", param_hint=hint)
    with asked() as it:
        position = it.position(known_at)
        story = story_of(it, by, name, position)
        known_us = it.reach.known_until_us
    rows = [
        (
            format_time(entry.known_at), format_time(entry.occurred_at), entry.event_type, leg.account,
            leg.amount_minor if leg.amount_minor > 0 else None, -leg.amount_minor if leg.amount_minor < 0 else None,
            leg.currency, entry.settlement_id, entry.order_id, entry.reference, entry.shard, entry.seq,
            entry.event_id, entry.reverses,
        )
        for entry, legs in story.entries
        for leg in legs
    ]  # fmt: skip
    told = Shown("lines", COLUMNS, rows, position_token(position), known_us, ok=story.found)
    checked = _reversals(by, name, story)
    told.more = {**_more(story), "findings": [finding.to_json() for finding in checked.findings]}
    told.notes = [*_notes(story, told), *(f"finding {finding}" for finding in checked.findings)]
    told.ok = story.found and checked.sound
    show(told, form, out, as_json)
    if not told.ok:
        raise click.exceptions.Exit(1)


def _reversals(by: By, name: str, story: Story) -> Report:
    """Whether more was taken back than came (docs/ACCOUNTS.md). Not of a part of the entries: what a reversal takes
    back may be among the others."""
    whole = by in (By.SETTLEMENT, By.ORDER) and not story.more
    entries = story.entries if whole else ()
    return check_reversals(
        (
            ReversalEntry(
                it.shard,
                it.seq,
                it.event_id,
                it.reverses,
                [(leg.account, leg.currency, leg.amount_minor) for leg in legs],
            )
            for it, legs in entries
        ),
        f"{by.value.removesuffix('_id')} {name}",
    )


def _more(story: Story) -> dict[str, object]:
    net = [{"account": it.account, "currency": it.currency, "amount_minor": str(it.amount_minor)} for it in story.net]
    attempts = [
        {
            "shard": it.shard, "offset": str(it.source_offset), "event_id": it.event_id, "verdict": it.verdict,
            "reason": it.reason,
        }
        for it in story.attempts
    ]  # fmt: skip
    links = [
        {
            "shard": shard, "seq": str(seq), "range_no": str(link.range_no), "proof_hash": link.proof_hash.hex(),
            "proof_id": link.proof_id, "archive_object": link.object_key, "version_id": link.version_id,
        }
        for (shard, seq), link in sorted(story.links.items())
    ]  # fmt: skip
    attempts_from = {str(shard): str(offset) for shard, offset in story.attempts_from.items()}
    return {
        "links": links, "net": net, "attempts": attempts, "attempts_from": attempts_from,
        "reversed_by": story.reversed_by, "more": story.more,
    }  # fmt: skip


def _notes(story: Story, told: Shown) -> list[str]:
    forgotten = [
        f"records of shard {shard} before offset {offset} that posted nothing are not known here: the ledger has them "
        "(`finance projection rebuild` takes them over)"
        for shard, offset in sorted(story.attempts_from.items())
    ]
    if not story.found:
        return ["nothing is known of it: neither an entry nor a record that posted nothing", *forgotten]
    said = [
        f"shard {it.shard} seq {it.seq}: event {it.event_id}, settlement {it.settlement_id}, order {it.order_id}"
        + (f", {it.provider} {it.reference}" if it.reference else "")
        for it, _ in story.entries
    ]
    said += [
        f"it comes to  {it.account}  {'debit' if it.amount_minor > 0 else 'credit'} "
        f"{told.major(abs(it.amount_minor), it.currency)} {it.currency}"
        for it in story.net
    ]
    if story.entries and not story.net:
        said.append("it comes to nothing: what came went again")
    said += [
        f"shard {shard} seq {seq}: proof {link.proof_id or 'not published yet'}, archive {link.object_key or 'not yet'}"
        for (shard, seq), link in sorted(story.links.items())
    ]
    said += [f"event {one} was taken back by event {other}" for one, other in sorted(story.reversed_by.items())]
    said += [
        f"posted nothing: {it.verdict} {it.reason} (shard {it.shard}, offset {it.source_offset}, event {it.event_id})"
        for it in story.attempts
    ]
    if story.more:
        said.append("only the first of its entries and attempts are shown")
    return said + forgotten
