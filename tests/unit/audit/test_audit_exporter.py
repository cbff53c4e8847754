"""What the exporter refuses: a chain at odds with itself halts posting, a registry at odds with the chain does not."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
import hashlib
from collections.abc import Sequence

import pytest

from consumers.archive.lock_terms import LockTerms
from consumers.audit.exporter import AuditExporter, ExportSettings
from consumers.metrics import NullMetrics
from ledger_core.archive.pinned_object import lock_end
from ledger_core.audit.events import AuditEvent
from ledger_core.audit.export import AuditExport, ExportRange
from ledger_core.errors import Corrupt, Refused
from ledger_core.ports import AuditIntent
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.validity import Interval, Validity
from tests.simulator.archive import MemoryBucket
from tests.support.archive_factory import Key
from tests.support.audit_factory import CREATED_AT, audit_events

KEY = Key("ed25519")
(SIGNER,) = KEY.registry.signers
REGISTRIES = {
    "lost": SignerRegistry(Key("ed25519", "another").registry.signers),
    "retired too early": SignerRegistry((dataclasses.replace(SIGNER, retired_at=CREATED_AT - dt.timedelta(1)),)),
    "revoked too early": SignerRegistry((dataclasses.replace(SIGNER, validity=Validity(audit=Interval(1, 2))),)),
}


@dataclasses.dataclass
class Rows:
    chain: Sequence[AuditEvent]
    recorded: list[AuditExport] = dataclasses.field(default_factory=list)
    closed: ExportRange | None = None
    clock: dt.datetime = CREATED_AT
    decisions: dict[str, dt.datetime] = dataclasses.field(default_factory=dict)

    def decided_at(self, object_key: str) -> dt.datetime | None:
        return self.decisions.get(object_key)

    def open_range(self) -> ExportRange | None:
        return None if self.recorded else self.closed

    def due(self, events_max: int, idle_seconds: float) -> ExportRange | None:
        return None if self.recorded else ExportRange(1, 1, len(self.chain))

    def close_range(self, due: ExportRange) -> ExportRange | None:
        self.closed = due if due.last_seq <= len(self.chain) else None
        return self.closed

    def events(self, first_seq: int, last_seq: int) -> list[AuditEvent]:
        return list(self.chain[first_seq - 1 : last_seq])

    def record(self, export: AuditExport, intent: AuditIntent) -> bool:
        self.recorded.append(export)
        return True


def exporter(rows: Rows, bucket: MemoryBucket, registry: SignerRegistry) -> AuditExporter:
    settings = ExportSettings(env="dev", events_max=10, idle_seconds=0)
    locks = LockTerms(rows, 1, clock=lambda: rows.clock)
    return AuditExporter(
        rows,
        bucket,
        registry,
        settings,
        locks,
        monotonic=lambda: 0.0,
        new_trace_id=lambda: "ab" * 16,
        metrics=NullMetrics(),
    )


def test_a_sound_chain_is_stored_once() -> None:
    rows, bucket = Rows(audit_events(KEY)), MemoryBucket()
    made = exporter(rows, bucket, KEY.registry)
    assert made.step()
    assert not made.step()
    assert [export.pinned.object_key for export in rows.recorded] == list(bucket.held)


def test_what_stands_in_the_archive_is_exported_again_at_the_same_cut_once_it_is_published() -> None:
    """A database put back to before its export: it would cut elsewhere, and two exports would overlap."""
    chain, bucket = audit_events(KEY, 6), MemoryBucket()
    exporter(Rows(chain[:4]), bucket, KEY.registry).step()
    for known, exported in ((chain[:3], 0), (chain, 1)):
        rows = Rows(known)
        assert exporter(rows, bucket, KEY.registry).step() is bool(exported)
        assert len(rows.recorded) == exported
        assert len(bucket.held) == 1


@pytest.mark.parametrize("years", [-10, 100])
def test_events_of_a_wrong_clock_wait_for_a_decision(years: int) -> None:
    """The database's clock was wrong when they were written: no lock is counted from that."""
    right = CREATED_AT.replace(year=CREATED_AT.year - years)
    rows, bucket = Rows(audit_events(KEY), clock=right), MemoryBucket()
    with pytest.raises(Refused, match="finance archive lock dev/audit/seqs-") as refused:
        exporter(rows, bucket, KEY.registry).step()
    assert (rows.recorded, bucket.held) == ([], {})
    rows.decisions[refused.value.remedy.split(" ")[-3]] = right
    exporter(rows, bucket, KEY.registry).step()
    assert rows.recorded[0].pinned.retain_until == lock_end(right, 1)


def test_the_same_lines_from_another_zlib_are_taken_as_they_stand() -> None:
    """A crash after the PUT, and the next try on a machine whose zlib writes other bytes."""
    bucket, before, rows = MemoryBucket(), Rows(audit_events(KEY)), Rows(audit_events(KEY))
    exporter(before, bucket, KEY.registry).step()
    (key, (stored, data)) = bucket.held.popitem()
    other = gzip.compress(gzip.decompress(data), compresslevel=1, mtime=0)
    assert other != data
    bucket.held[key] = (dataclasses.replace(stored, sha256=hashlib.sha256(other).hexdigest()), other)
    exporter(rows, bucket, KEY.registry).step()
    assert bucket.held[key][1] == other
    (export,) = rows.recorded
    assert export.pinned.stored_sha256 == hashlib.sha256(other).hexdigest()
    assert export.pinned.sha256 == before.recorded[0].pinned.sha256


def test_other_lines_under_the_name_are_corrupt_and_stay() -> None:
    bucket, rows = MemoryBucket(), Rows(audit_events(KEY))
    exporter(Rows(audit_events(KEY)), bucket, KEY.registry).step()
    (key, (stored, _)) = bucket.held.popitem()
    other = gzip.compress(b"{}\n")
    bucket.held[key] = (stored, other)
    with pytest.raises(Corrupt, match=key):
        exporter(rows, bucket, KEY.registry).step()
    assert (rows.recorded, bucket.held[key][1]) == ([], other)


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES)
def test_a_registry_at_odds_with_the_chain_is_refused_and_nothing_is_stored(registry: SignerRegistry) -> None:
    rows, bucket = Rows(audit_events(KEY)), MemoryBucket()
    with pytest.raises(Refused, match=r"cannot be exported.*(registry|retired|counts)"):
        exporter(rows, bucket, registry).step()
    assert (rows.recorded, bucket.held) == ([], {})


def test_an_altered_event_is_corrupt_and_nothing_is_stored() -> None:
    events = audit_events(KEY)
    events[2] = dataclasses.replace(events[2], payload={**events[2].payload, "range_no": "7"})
    rows, bucket = Rows(events), MemoryBucket()
    with pytest.raises(Corrupt, match="cannot be exported"):
        exporter(rows, bucket, KEY.registry).step()
    assert (rows.recorded, bucket.held) == ([], {})
