"""Where the audit chain can be read: the database, the topic, the archive, or a file of JSON lines (gzip or plain).

Guarantees: each is read in order, in bounded memory, writing nothing. Raises Unavailable and Refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from finance.settings.deployment import Settings
from finance.wiring.kafka import open_partition, open_watermarks
from ledger_core.audit.events import AuditEvent
from ledger_core.audit.sources import ended_lines, events_of_lines, exported_events, once
from ledger_core.errors import Refused
from ledger_core.findings import Collector
from ledger_core.postgres.verify.ledger_reader import open_ledger_reader
from schemas.read_file import FileLines
from schemas.topology.model import Topology

ChainSource = Literal["db", "topic", "s3", "file"]
PARTITION = 0
READ_MAX = 2000


def chain_events(
    source: ChainSource, settings: Settings, topology: Topology | None, found: Collector, path: Path | None = None
) -> Iterator[AuditEvent]:
    """The events of one source, in its own order. `topology` is needed for the topic alone. Raises Refused when the
    source is not named well enough.
    """
    if source == "file":
        if path is None:
            raise Refused("no file is named", remedy="name one with --file")
        return _of_file(path, found)
    if source == "s3":
        from finance.wiring.services import open_archive

        return once(exported_events(open_archive(settings), settings.env, found), found)
    if source == "topic":
        if topology is None:
            raise Refused("the topology is not known", remedy="set FINANCE_TOPOLOGY")
        return once(events_of_lines(topic_lines(settings, topology.topics["audit"].name), found), found)
    return _of_database(settings)


def _of_database(settings: Settings) -> Iterator[AuditEvent]:
    with open_ledger_reader(settings.database_url("auditor")) as reader:
        yield from reader.audit_events()


def topic_lines(settings: Settings, topic: str) -> Iterator[bytes]:
    """The values of the audit topic from its beginning to its present end, repeats and all. Raises Unavailable,
    Refused."""
    watermarks = open_watermarks(settings, "auditor")
    try:
        low, high = watermarks.bounds(topic, PARTITION)
    finally:
        watermarks.close()
    if low == high:
        return
    reader = open_partition(settings, topic, PARTITION, low, high, append_times=False, name="auditor")
    try:
        while records := reader.read(READ_MAX):
            for record in records:
                yield record.value or b""
    finally:
        reader.close()


def _of_file(path: Path, found: Collector) -> Iterator[AuditEvent]:
    yield from events_of_lines(ended_lines(FileLines(path), found), found)
