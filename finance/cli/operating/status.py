"""`finance status`: the whole route on one page."""

from __future__ import annotations

import time

import click
from rich.console import Group, RenderableType
from rich.live import Live

from finance.cli.common import emit, json_option, load_settings, load_topology_of, stdout_console, table, utc
from finance.cli.terminal import one_line
from finance.settings import clock
from finance.wiring.status import PersonalStatus, ShardStatus, Status, StatusReader
from ledger_core.books.rule_versions import FIRST_RULES, NEWEST_RULES, VERSIONS
from ledger_core.posting.store_port import ShardHalt

EXIT_FINDINGS, EXIT_UNAVAILABLE = 1, 4


@click.command()
@click.option("--watch", is_flag=True, help="Refresh every second, until interrupted.")
@json_option
def command(watch: bool, as_json: bool) -> None:
    """Heads, lag, proofs, archive, audit chain, personal data, the halt flag, and how this database came to be.

    Lag is what waits in the settlements topic, in records and as the age of the oldest; `-` is not known. Personal data
    whose event was not posted wait: nobody has work to do. Reads DATABASE_URL_API and KAFKA_BROKERS. Exits 4 when Kafka
    cannot be asked; the database's part is shown all the same. Exits 1 when a shard's topic is not the one it grew
    from: its poster refuses it.

    \b
    Examples:
      finance status
      finance status --watch
      finance status --json
    """
    if watch and as_json:
        raise click.UsageError("--watch is for people: call --json again and again instead")
    settings = load_settings()
    reader = StatusReader(settings, load_topology_of(settings))
    try:
        if watch:
            _watch(reader)
            return
        status = reader.read(clock.utc_now())
    finally:
        reader.close()
    emit(as_json, as_object(status), lambda console: console.print(_words(status)))
    if status.kafka is not None:
        raise click.exceptions.Exit(EXIT_UNAVAILABLE)
    if status.topic_faults:
        raise click.exceptions.Exit(EXIT_FINDINGS)


def _watch(reader: StatusReader) -> None:
    with Live(console=stdout_console(), auto_refresh=False) as live:
        while True:
            live.update(_words(reader.read(clock.utc_now())), refresh=True)
            time.sleep(1)


def as_object(status: Status) -> dict[str, object]:
    """The status as JSON; hashes as lower-case hex, times as RFC 3339."""
    control = status.control
    return {
        "ok": status.kafka is None and not status.topic_faults,
        "finished": status.finished,
        "halt": {
            "halted": control.halted,
            "reason": control.reason,
            "actor_id": control.actor_id,
            "changed_at": None if control.changed_at is None else utc(control.changed_at),
        },
        "epoch": {
            "epoch_no": status.epoch.epoch_no,
            "epoch_id": status.epoch.epoch_id,
            "kind": status.epoch.kind,
            "began_at": utc(status.epoch.began_at),
            "actor_id": status.epoch.actor_id,
            "reason": status.epoch.reason,
        },
        "shards": [_shard_object(shard) for shard in status.shards],
        "audit": {
            "seq": status.audit.seq,
            "head_hash": status.audit.head_hash,
            "waiting_intents": status.audit.waiting_intents,
            "published_seq": status.audit.published_seq,
        },
        "personal": _personal_object(status.personal),
        "kafka": status.kafka,
    }


def _personal_object(personal: PersonalStatus) -> dict[str, object]:
    progress = personal.progress
    partitions = enumerate(zip(personal.high_watermarks, personal.lags, strict=True))
    return {
        "finished": personal.finished,
        "waiting": progress.waiting,
        "refused": progress.refused,
        "to_compare": progress.to_compare,
        "to_forget": progress.to_forget,
        "chain_read": progress.chain_read,
        "partitions": [
            {
                "partition": number,
                "next_offset": progress.cursors.get(number, 0),
                "high_watermark": high,
                "lag_records": lag,
            }
            for number, (high, lag) in partitions
        ],
    }


def _shard_object(shard: ShardStatus) -> dict[str, object]:
    told: dict[str, object] = {
        "shard": shard.shard,
        "finished": shard.finished,
        "high_watermark": shard.high_watermark,
        "lag_records": shard.lag_records,
        "lag_seconds": None if shard.lag_seconds is None else round(shard.lag_seconds, 3),
        "opened": shard.progress is not None,
        "topic_fault": shard.topic_fault,
        "halt": None if shard.halt is None else _halt_object(shard.halt),
    }
    progress = shard.progress
    if progress is not None:
        told |= {
            "next_offset": progress.next_offset,
            "relayed_offset": progress.relayed_offset,
            "seq": progress.seq,
            "head_hash": progress.head_hash.hex() if progress.head_hash else None,
            "posted": progress.seq,
            "duplicates": progress.duplicates,
            "rejected": progress.rejected,
            "closed_ranges": progress.closed_ranges,
            "proved_ranges": progress.proved_ranges,
            "proved_seq": progress.proved_seq,
            "proved_at": utc(progress.proved_at) if progress.proved_at else None,
            "archived_ranges": progress.archived_ranges,
            "archived_seq": progress.archived_seq,
            "archived_at": utc(progress.archived_at) if progress.archived_at else None,
            "retain_until": utc(progress.retain_until) if progress.retain_until else None,
            "manifests": progress.manifests,
            "rules": progress.rules,
        }
    return told


def _halt_object(halt: ShardHalt) -> dict[str, object]:
    return {"kind": halt.kind, "offset": halt.at_offset, "reason": halt.detail, "halted_at": utc(halt.halted_at)}


def _words(status: Status) -> RenderableType:
    control, audit = status.control, status.audit
    lines: list[RenderableType] = ["posting   goes on"]
    if control.halted and control.changed_at is not None:
        lines = [one_line(f"posting   HALTED since {utc(control.changed_at)} by {control.actor_id}: {control.reason}")]
    lines += [
        f"shard {halt.shard}   HALTED alone since {utc(halt.halted_at)}: {one_line(halt.detail)} "
        "(RUNBOOK, section 13 E)"
        for halt in (shard.halt for shard in status.shards)
        if halt is not None
    ]
    epoch = status.epoch
    lines.append(f"epoch     {epoch.epoch_no}, {epoch.kind} since {utc(epoch.began_at)}: {one_line(epoch.reason)}")
    lines += _rules_words(status)
    if status.kafka is not None:
        lines.append(f"kafka     does not answer: {one_line(status.kafka)}")
    lines += [f"topic     {one_line(fault)}" for fault in status.topic_faults]
    lines.append(
        f"audit     seq {audit.seq:,}, published {audit.published_seq:,}, waiting {audit.waiting_intents:,}"
        + (f", head {audit.head_hash[:16]}…" if audit.head_hash else "")
    )
    lines.append(f"personal  {_personal_words(status.personal)}")
    numbers = ("shard", "lag", "lag s", "posted", "dup", "rejected", "relayed", "proved", "archived", "ranges")
    rows = [_row(shard) for shard in status.shards]
    lines.append(table((*numbers, "head", "retained until"), rows, right=numbers))
    lines.append("everything published so far has gone the whole route" if status.finished else "work is on its way")
    return Group(*lines)


def _personal_words(personal: PersonalStatus) -> str:
    """What the keeper has done, and what is left for it to do."""
    progress, lags = personal.progress, [lag for lag in personal.lags if lag is not None]
    lag = f"{sum(lags):,}" if len(lags) == len(personal.lags) else "-"
    words = [f"lag {lag}, {progress.waiting:,} wait for their event, {progress.refused:,} refused"]
    words += ["some to be compared with their entries"] * progress.to_compare
    words += [f"{progress.to_forget:,} to be forgotten"] * (progress.to_forget > 0)
    words += ["erasures of the chain to be read"] * (not progress.chain_read)
    return ", ".join(words)


def _rules_words(status: Status) -> list[str]:
    """Which posting rules are in force, where they are not the first ones."""
    found = [(it.shard, it.progress.rules) for it in status.shards if it.progress and it.progress.rules > FIRST_RULES]
    known = "", f": this version knows rules {FIRST_RULES} to {NEWEST_RULES} (RUNBOOK, section 17)"
    return [f"shard {shard}   rules {rules} are in force{known[rules not in VERSIONS]}" for shard, rules in found]


def _row(shard: ShardStatus) -> tuple[str, ...]:
    lag = "-" if shard.lag_records is None else f"{shard.lag_records:,}"
    age = "-" if shard.lag_seconds is None else f"{shard.lag_seconds:,.1f}"
    progress = shard.progress
    if progress is None:
        return (str(shard.shard), lag, age, *("-",) * 9)
    ranges = f"{progress.closed_ranges}/{progress.proved_ranges}/{progress.archived_ranges}"
    return (
        str(shard.shard),
        lag,
        age,
        f"{progress.seq:,}",
        f"{progress.duplicates:,}",
        f"{progress.rejected:,}",
        "all" if progress.relayed_offset == progress.next_offset else f"{progress.relayed_offset:,}",
        f"{progress.proved_seq:,}",
        f"{progress.archived_seq:,}",
        ranges,
        f"{progress.head_hash.hex()[:16]}…" if progress.head_hash else "genesis",
        utc(progress.retain_until) if progress.retain_until else "-",
    )
