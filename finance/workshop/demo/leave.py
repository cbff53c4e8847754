"""What the demo leaves in its folder: one proved range as a stranger would receive it, and the means to check it.

Guarantees: the files are the bytes that were signed and stored: proof and checkpoint from the proof tables, the batch
from S3 by its version, the audit events from the Kafka topic. Nothing of an earlier run stays in the folder.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from consumers.kafka.group_source import KafkaSource
from finance.wiring import services
from finance.workshop.demo.ledger import DemoLedger
from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.session import session
from ledger_core.proving.range_proof import parse_proof
from ledger_core.signing.registry import SignerRegistry

PROOF, BATCH, MANIFEST = "proof.json", "batch.jsonl.gz", "manifest.json"
CHECKPOINT, SIGNERS, AUDIT, KEYS = "checkpoint.txt", "signers.json", "audit_events.jsonl", "keys"
OURS = (
    PROOF,
    BATCH,
    MANIFEST,
    CHECKPOINT,
    SIGNERS,
    AUDIT,
    KEYS,
    "CHECK.sh",
    "work",
    f"forged-{BATCH}",
    f"forged-{PROOF}",
    "bundle.zip",
    "bundle.zip.part",
    "forged-bundle.zip",
)
AUDIT_READ_SECONDS_MAX = 30.0

FIRST_RANGE = """
SELECT p.proof, m.manifest, c.note, a.object_key, a.version_id
  FROM ranges r JOIN proofs p USING (shard, range_no)
  JOIN archive_objects a USING (shard, range_no)
  JOIN manifests m ON m.shard = r.shard AND m.manifest_no = r.range_no
  JOIN checkpoints c ON c.shard = r.shard AND c.next_offset = r.next_offset
 WHERE r.last_seq >= r.first_seq ORDER BY r.shard, r.range_no LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Left:
    """Where the files are, and who signed the proof in them."""

    folder: Path
    signer_kid: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class Handed:
    """One proved range and the audit chain, byte for byte."""

    proof: bytes
    manifest: bytes
    checkpoint: bytes
    batch: bytes
    audit_events: list[bytes]


def prepare(folder: Path) -> None:
    """Empty the folder of what an earlier run left. Raises Refused when it holds anything else."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in folder.iterdir()}
    if names and (PROOF not in names or not names <= set(OURS)):  # the proof is written first: it is our mark
        strange = ", ".join(sorted(names - set(OURS)) or sorted(names))
        raise Refused(f"{folder}/ holds {strange}, and not from a demo", remedy="name another folder with --out")
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def leave(ledger: DemoLedger, folder: Path) -> Left:
    """Write the files of the first range that holds entries. Raises Unavailable, Refused."""
    with session(ledger.settings.database_url("api"), application_name="finance demo", read_only=True) as connection:
        row = connection.execute(FIRST_RANGE).fetchone()
    if row is None:
        raise Refused("no range was proved and archived", remedy="read the log of the run")
    proof, manifest, note, key, version_id = row
    batch = services.open_archive(ledger.settings).get(key, version_id)
    handed = Handed(bytes(proof), bytes(manifest), bytes(note), batch, _audit_topic(ledger))
    return write(folder, handed, SignerRegistry.from_json(ledger.settings.signers_path.read_bytes()))


def write(folder: Path, handed: Handed, registry: SignerRegistry) -> Left:
    """Write the files into an empty folder; JSON and notes end with LF."""
    (folder / PROOF).write_bytes(handed.proof + b"\n")
    (folder / MANIFEST).write_bytes(handed.manifest + b"\n")
    (folder / CHECKPOINT).write_bytes(handed.checkpoint)
    (folder / BATCH).write_bytes(handed.batch)
    (folder / AUDIT).write_bytes(b"".join(event + b"\n" for event in handed.audit_events))
    (folder / SIGNERS).write_bytes(registry.to_json())
    (folder / KEYS).mkdir()
    for signer in registry.signers:
        (folder / KEYS / f"{signer.kid}.pem").write_text(signer.public_pem, encoding="ascii")
    parsed = parse_proof(handed.proof)
    return Left(folder, parsed.signer_kid, parsed.alg)


def _audit_topic(ledger: DemoLedger) -> list[bytes]:
    """Every value of the audit topic, read as Kernel reads it."""
    topic = ledger.topology.topics["audit"].name
    source = KafkaSource(
        ledger.settings.kafka_brokers,
        topic,
        "finance-demo",
        lambda _partition: 0,
        lambda _partition: None,
        ledger.settings.kafka_options("kernel"),
    )
    values: list[bytes] = []
    next_offset = 0
    deadline = time.monotonic() + AUDIT_READ_SECONDS_MAX
    try:
        while time.monotonic() < deadline:
            for _, records in source.poll(1000, 0.2):
                values += [record.value for record in records if record.value is not None]
                next_offset = records[-1].offset + 1
            if values and source.waiting(0, next_offset) == 0:
                return values
    finally:
        source.close()
    raise Unavailable("kafka", f"{topic} gave {len(values)} events and no end in {AUDIT_READ_SECONDS_MAX:.0f} s")
