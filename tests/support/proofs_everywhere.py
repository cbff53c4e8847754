"""The proofs of a ledger wherever they stand: id and hash, from the database, the audit topic and the archive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import psycopg

from finance.settings.deployment import Settings
from finance.wiring import services
from finance.wiring.audit_chain import chain_events
from ledger_core.archive.lines import batch_lines
from ledger_core.archive.manifest import parse_manifest
from ledger_core.archive.names import batches_folder, manifests_folder
from ledger_core.audit.events import AuditEvent
from ledger_core.findings import Collector
from ledger_core.proof_ids import of_range
from ledger_core.proving.range_proof import parse_proof
from schemas.topology.load import load_topology

ROOT = Path(__file__).parents[2]

Proofs = set[tuple[str, str]]


def proofs_in_database(url: str) -> Proofs:
    with psycopg.connect(url, autocommit=True) as connection:
        found = [parse_proof(data) for (data,) in connection.execute("SELECT proof FROM proofs")]
    return {(proof.proof_id, proof.hash) for proof in found}


def proofs_announced(events: Iterable[AuditEvent], env: str) -> Proofs:
    """Of closed ranges and of published proofs."""
    found = set()
    for event in events:
        told = {name: str(value) for name, value in event.payload.items()}
        if event.event_type == "journal.posted":
            found.add((of_range(env, int(told["shard"]), int(told["range_no"])), told["proof_hash"]))
        elif event.event_type == "proof.published":
            found.add((told["proof_id"], told["proof_hash"]))
    return found


def proofs_everywhere(environ: Mapping[str, str]) -> Proofs:
    """Every version of every object counts."""
    settings = Settings.from_env(environ, ROOT)
    topology = load_topology(settings.topology_path, topic_prefix=settings.topic_prefix)
    found = proofs_in_database(settings.owner_database_url())
    found |= proofs_announced(chain_events("topic", settings, topology, Collector()), settings.env)
    archive = services.open_archive(settings)
    for stored in archive.versions(manifests_folder(settings.env)):
        listed = parse_manifest(archive.get(stored.key, stored.version_id)).object.range
        found.add((listed.proof_id, listed.proof_hash))
    for stored in archive.versions(batches_folder(settings.env)):
        last = parse_proof(list(batch_lines(archive.get(stored.key, stored.version_id)))[-1])
        found.add((last.proof_id, last.hash))
    return found
