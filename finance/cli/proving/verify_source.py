"""`finance verify source`: reads the settlements topic again, beside the archive."""

from __future__ import annotations

import time
from pathlib import Path

import click

from finance.cli.common import counting, json_option, load_settings, load_topology_of
from finance.cli.findings import tell
from finance.cli.proving.trusted import registry_of, signers_option


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="An archive's copy, not S3.",
)
@click.option("--shard", "shards", type=click.IntRange(0), multiple=True, help="Only this shard; may be repeated.")
@signers_option
@json_option
def source(folder: Path | None, shards: tuple[int, ...], signers: Path | None, as_json: bool) -> None:
    """The settlements topic, record by record, beside the archive: was anything dropped, added, changed or moved?

    Each entry and each verdict commits to its record: offset, key, value, the broker's time. A record that the topic no
    longer holds is source.dropped; one where the archive says that there was none, source.added; another key, value or
    time, source.changed; and a verdict that the posting rules do not give to the record, source.verdict. Each names
    topic, partition and offset. What lies behind the newest archived range is not compared yet.

    Reads KAFKA_BROKERS as the auditor, S3_AUDIT_*, FINANCE_ENV and FINANCE_SIGNERS; no database. Whether a repeat was
    one, and the whole ledger made again, is what `finance replay` says.

    \b
    Examples:
      finance verify source
      finance verify source --shard 0 --json
      finance verify source --dir archive/ --signers signers.json
    """
    from finance.wiring import services
    from finance.wiring.source_check import check_source_of

    settings, started = load_settings(), time.perf_counter()
    registry = registry_of(signers, settings)
    archive = services.open_archive_folder(folder) if folder else services.open_archive(settings)
    topology = load_topology_of(settings)
    with counting("reading records", "records", None) as advance:
        report = check_source_of(settings, topology, registry, archive, settings.env, shards, advance)
    tell(report, time.perf_counter() - started, as_json, lambda _console: None)
