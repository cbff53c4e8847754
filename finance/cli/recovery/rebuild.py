"""`finance rebuild`: the ledger from its archive and the public keys alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from finance.cli.addresses import DatabaseAddress
from finance.cli.common import counting, emit, json_option, load_settings, load_topology_of, operator, table
from finance.cli.proving.trusted import registry_of, signers_option

if TYPE_CHECKING:
    from finance.recovery.rebuild import Rebuilt
    from finance.recovery.rebuild_worker import Advance

ASK = "run it where the key service of the MACs may be asked (KMS_REGION, `kms:VerifyMac`)"
MEND = "name a second copy with --also, or mend the archive"
REMEDIES = {
    "dead_letter_originals": "originals of rejected records: --fill-from-topic has them while the topic does",
    "verdict_details": "words beside a verdict, for people: the outcomes published them, and nothing proves them",
    "pii": "entries' personal data, never archived: the keeper reads them anew while the side topic has them",
}


@click.command()
@click.option(
    "--from", "address", required=True, help="The archive: s3://bucket; or a copy: s3://bucket/prefix, a folder."
)
@click.option("--also", "seconds", multiple=True, help="A second copy; heals what is missing or altered in the first.")
@click.option(
    "--into", "dsn", type=DatabaseAddress(), help="The database: empty, or a true prefix. Default: DATABASE_URL."
)
@click.option("--env", "env", help="The environment in the archive. Default: FINANCE_ENV.")
@click.option("--shard", "shards", type=click.IntRange(0), multiple=True, help="Only this shard; may be repeated.")
@click.option("--without-topic", is_flag=True, help="Do not ask Kafka what is published: publish everything again.")
@click.option("--fill-from-topic", is_flag=True, help="Then put back dead letters from the topic.")
@click.option("--locks-ended", is_flag=True, help="The retention of the whole archive has really ended.")
@click.option("--workers", type=click.IntRange(1, 64), help="Shards put back at once. Default: one a core.")
@signers_option
@json_option
def command(
    address: str,
    seconds: tuple[str, ...],
    dsn: str | None,
    env: str | None,
    shards: tuple[int, ...],
    without_topic: bool,
    fill_from_topic: bool,
    locks_ended: bool,
    workers: int | None,
    signers: Path | None,
    as_json: bool,
) -> None:
    """Rebuild the ledger from its archive: every signature, hash, digest, version and lock is verified on the way.

    Writes range by range, each in one transaction, into an empty database (which it migrates) or one that is a true
    prefix of the archive, such as a restored one; anything else is refused before anything is written. Run it again
    after an interruption: it goes on. Exit 1: something is not sound, and is named; nothing beyond the last good range
    of its shard was written. Reads S3_AUDIT_*, and KAFKA_BROKERS where they are set.

    \b
    Examples:
      finance rebuild --from s3://finance-audit --signers signers.json --into postgresql://owner@host/ledger
      finance rebuild --from s3://finance-audit --also copy/ --signers signers.json --json
    """
    from finance.recovery.rebuild import RebuildRequest, rebuild

    settings = load_settings()
    asks = not without_topic and bool(settings.values.get("KAFKA_BROKERS"))
    request = RebuildRequest(
        addresses=(address, *seconds),
        env=env or settings.env,
        registry=registry_of(signers, settings),
        dsn=dsn or settings.owner_database_url(),
        shards=shards,
        topology=load_topology_of(settings) if asks else None,
        actor_id=operator(settings),
        fill_from_topic=fill_from_topic,
        locks_may_have_ended=locks_ended,
        workers_max=workers,
    )
    began = time.perf_counter()

    @contextmanager
    def bar(description: str, total: int | None) -> Iterator[Advance]:
        with counting(description, "entries" if total else "records", total) as advance:
            yield advance

    rebuilt = rebuild(request, settings, bar)
    _tell(rebuilt, time.perf_counter() - began, as_json)
    if not rebuilt.sound:
        raise click.exceptions.Exit(1)


def _tell(rebuilt: Rebuilt, seconds: float, as_json: bool) -> None:
    written = sum(result.entries_written for result in rebuilt.shards)
    rate = round(written / seconds) if seconds > 0 else 0
    result = {
        "ok": rebuilt.sound,
        "shards": [
            {
                "shard": item.shard,
                "ranges_held": item.ranges_held,
                "ranges_written": item.ranges_written,
                "entries_written": item.entries_written,
                "seq": None if item.head is None else str(item.head.seq),
                "next_offset": None if item.head is None else str(item.head.next_offset),
                "head_hash": None if item.head is None else item.head.head_hash,
                "relayed_offset": None if item.head is None else str(item.head.relayed_offset),
                "findings": [finding.to_json() for finding in item.report.findings],
                "healed": list(item.healed),
            }
            for item in rebuilt.shards
        ],
        "strays": list(rebuilt.strays),
        "migrated": rebuilt.migrated,
        "epoch_no": rebuilt.epoch_no,
        "filled": None if rebuilt.filled is None else asdict(rebuilt.filled),
        "not_held": rebuilt.not_held,
        "entries_written": written,
        "seconds": round(seconds, 3),
        "entries_per_second": rate,
    }

    def words(console: Console) -> None:
        rows = [
            (r.shard, f"{r.ranges_held:,}", f"{r.ranges_written:,}", f"{r.entries_written:,}", *_head(r.head))
            for r in rebuilt.shards
        ]
        columns = ("shard", "ranges already there", "written", "entries written", "seq", "next offset", "head")
        console.print(table(columns, rows, right=columns[:-1]))
        console.print(f"{written:,} entries in {seconds:.1f} s, {rate:,} entries/s; epoch {rebuilt.epoch_no}")
        for item in rebuilt.shards:
            for place in item.healed:
                console.print(f"healed from the second source: {place}")
        if rebuilt.filled is not None:
            found = rebuilt.filled
            console.print(f"from the topic: {found.dead_letter_originals:,} originals of dead letters")
        for name, count in rebuilt.not_held.items():
            if count:
                console.print(f"not in the archive: {count:,} {REMEDIES[name]}")
        for told in rebuilt.strays:
            console.print(told)
        for item in rebuilt.shards:
            for finding in item.report.findings:
                console.print(str(finding))
        if rebuilt.sound and not written:
            console.print("the database has all that the archive has")
        elif rebuilt.sound:
            console.print("next: finance verify ledger, finance audit restore, start the poster, then the others")
        else:
            console.print(f"stopped behind the last good range; {_remedy(rebuilt)}")

    emit(as_json, result, words)


def _remedy(rebuilt: Rebuilt) -> str:
    codes = {finding.code for item in rebuilt.shards for finding in item.report.findings}
    return ASK if codes == {"proof.mac"} else MEND


def _head(head: object) -> tuple[str, str, str]:
    from ledger_core.posting.plans import ShardHead

    if not isinstance(head, ShardHead):
        return "", "", ""
    return f"{head.seq:,}", f"{head.next_offset:,}", head.head_hash.hex()[:16] if head.head_hash else ""
