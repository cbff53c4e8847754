"""Rebuilding in a test: an archive in a folder, the command's own function, and every row of two ledgers compared."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from finance.recovery.rebuild import RebuildRequest, Rebuilt, rebuild
from finance.settings.deployment import Settings
from ledger_core.findings import Report
from ledger_core.postgres.verify.ledger_reader import open_ledger_reader
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.oracle import verify_ledger
from producers.storage.archive_file import FileArchiveStore
from tests.support.archive_factory import ENV, MemoryStore
from tests.support.posting_runs import TABLES

NOT_ARCHIVED: Mapping[str, tuple[str, ...]] = {"verdicts": ("detail",)}
REBUILT_TABLES: Mapping[str, str] = {
    **{name: columns for name, columns in TABLES.items() if name != "dead_letters"},
    "ranges": (
        "shard, range_no, first_seq, last_seq, first_offset, next_offset, payload, hash, checkpoint_text, tree, "
        "verdict_tree, head_hash"
    ),
    "proofs": "shard, range_no, proof_id, proof",
    "checkpoints": "shard, next_offset, tree_size, note",
    "archive_objects": (
        "shard, range_no, object_key, version_id, sha256, size_bytes, stored_sha256, stored_size_bytes, mode, "
        "retain_until, stored_at"
    ),
    "manifests": "shard, manifest_no, payload, hash, manifest, object_key, version_id",
}


def write_folder(store: MemoryStore, folder: Path) -> Path:
    """A copy of the archive, version ids and locks kept."""
    copy = FileArchiveStore(folder)
    for versions in store.objects.values():
        copy.add_copy(*versions[0])
    return folder


def request(dsn: str, registry: SignerRegistry, *addresses: Path | str, **changes: Any) -> RebuildRequest:
    fields: dict[str, Any] = {
        "addresses": tuple(map(str, addresses)),
        "env": ENV,
        "registry": registry,
        "dsn": dsn,
        "shards": (),
        "topology": None,
        "actor_id": "operator:alice",
        "workers_max": 1,
    }
    return RebuildRequest(**{**fields, **changes})


def run(
    dsn: str,
    registry: SignerRegistry,
    *addresses: Path | str,
    environ: Mapping[str, str] | None = None,
    **changes: Any,
) -> Rebuilt:
    """`finance rebuild`, in this process."""
    settings = Settings.from_env(environ or {"FINANCE_STACK": "none"}, Path("/nonexistent"))
    return rebuild(request(dsn, registry, *addresses, **changes), settings, lambda _what, _total: _silent())


@contextlib.contextmanager
def _silent() -> Iterator[Any]:
    yield lambda _count: None


def rows(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row that a rebuild writes, without the columns that hold a wall clock or stand in no archive."""
    found = {}
    with psycopg.connect(dsn) as connection:
        for table, columns in REBUILT_TABLES.items():
            wanted = [name for name in columns.split(", ") if name not in NOT_ARCHIVED.get(table, ())]
            found[table] = connection.execute(
                f"SELECT {', '.join(wanted)} FROM {table} ORDER BY 1, 2, 3".encode()
            ).fetchall()
    return found


def check(dsn: str, registry: SignerRegistry) -> Report:
    """The oracle on a rebuilt ledger."""
    with open_ledger_reader(dsn) as reader:
        report = verify_ledger(reader, registry)
    assert report.sound, report.findings[:5]
    return report


def utc(year: int) -> dt.datetime:
    return dt.datetime(year, 1, 1, tzinfo=dt.UTC)
