"""A drill from its first question to its place on the audit chain.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. CHECK settings and folder, SWEEP what killed drills left (`finance.recovery.drill.leftovers`)
  2. READ: pin the key, the live ledger's heads      nothing is made; a guard that says no is Refused
  3. TRY each way, in a place of its own             what stops it is a finding; a crash leaves places to sweep
  4. SIGN the report, verify it, WRITE JSON and page findings are signed like their absence
  5. RECORD the intent `drill.completed`             the commit point: on record, with the report's digests

Guarantees: no report without a verified signature; no event without a report on disk. Killed before the end there is
neither, and a drill is run again from its beginning.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from finance.recovery.backup.assembly import tools_of
from finance.recovery.drill.keys import drill_keys
from finance.recovery.drill.leftovers import living, sweep_here
from finance.recovery.drill.live import read_live
from finance.recovery.drill.page import page_of
from finance.recovery.drill.report import (
    DrillPayload,
    DrillReport,
    Way,
    WayResult,
    assemble_report,
    parse_report,
    verify_report,
)
from finance.recovery.drill.scratch import scratch_server
from finance.recovery.drill.ways import Counting, DrillScene, drill_archive, drill_pitr, drill_topic
from finance.settings import clock
from finance.settings.deployment import STATE_FOLDER, Settings
from finance.settings.tls_database import database_tls_files
from finance.wiring.signers import open_signer
from ledger_core.errors import Refused
from ledger_core.postgres.recovery.drills import complete_drill
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import SignerRegistry
from ledger_core.times import format_time
from producers.storage.whole_file import replace_file
from schemas.topology.model import Topology

RESTORED_FROM_COPIES: Final = ("archive", "topic")
RESTORE_VARIABLES: Final = ("BACKUP_PLACE", "BACKUP_IDENTITY_FILE")


@dataclass(frozen=True, slots=True)
class Drilled:
    """The report, and where it lies."""

    report: DrillReport
    json_path: Path  # the signed report
    page_path: Path  # the same for people, HTML
    sha256: str  # hex, of the file at `json_path`


def run_drill(
    settings: Settings,
    topology: Topology,
    registry: SignerRegistry,
    ways: Sequence[Way],
    folder: Path,
    *,
    actor_id: str,
    counting: Counting,
    tell: Callable[[str], None],
    into: str | None = None,
) -> Drilled:
    """Try every way of `ways`; `tell` is called with what is done beside that. Raises Refused and Unavailable before
    the first of them, or for the live ledger."""
    started = clock.utc_now()
    drill_id = f"{started:%Y%m%dT%H%M%SZ}-{clock.new_suffix()}"
    # 1. CHECK. Before hours of work. A crash up to here left nothing; one of before is swept away.
    _check_settings(settings, ways)
    _check_folder(folder)
    for path in sweep_here(Path(STATE_FOLDER)):
        tell(f"{path}, left by a drill that was killed: removed")
    # 2. READ. The key, and what the ways are compared with, before the first of them; a crash forgets it.
    with _signer(settings, topology, registry) as signer, living(drill_id, Path(STATE_FOLDER)), ExitStack() as undo:
        scene = DrillScene(settings, topology, registry, read_live(settings), drill_id, actor_id, counting)
        server = ""
        if any(way in RESTORED_FROM_COPIES for way in ways):
            secure = database_tls_files(scene.live_url) is not None
            server = undo.enter_context(scratch_server(into, drill_id, tell, secure=secure))
        runs: dict[Way, Callable[[], WayResult]] = {
            "archive": lambda: drill_archive(scene, server),
            "topic": lambda: drill_topic(scene, server),
            "pitr": lambda: drill_pitr(scene),
            "keys": lambda: drill_keys(scene, signer),
        }
        # 3. TRY. A crash here leaves no report: databases and folders of its own, which the next drill sweeps away.
        results = tuple(runs[way]() for way in ways)
        # 4. SIGN. A crash before it is written leaves no report; after: one that is not on record yet.
        data = _signed(scene, signer, results, started)
    drilled = _write(data, folder)
    # 5. RECORD. A crash before the COMMIT: the drill is run again; after: the chain will hold the report's digests.
    complete_drill(settings.database_url("api"), _payload(drilled), actor_id=actor_id, trace_id=clock.new_trace_id())
    return drilled


@contextmanager
def _signer(settings: Settings, topology: Topology, registry: SignerRegistry) -> Iterator[PinnedSigner]:
    signer = open_signer(settings, topology, registry, signs=["drill"])
    try:
        signer.pin()  # before hours of work, not after them
        yield signer
    finally:
        signer.close()


def _check_settings(settings: Settings, ways: Sequence[Way]) -> None:
    """Refuse, with all that is missing at once, before hours of work: a way that finds it out would be a finding."""
    asked: dict[Way, Callable[[], object]] = {
        "archive": lambda: settings.archive("auditor"),
        "topic": lambda: settings.kafka_brokers,
        "pitr": lambda: [*map(settings.needed, RESTORE_VARIABLES), tools_of(settings).path("postgres")],
        "keys": lambda: settings.archive("auditor"),
    }
    missing: dict[str, str] = {}
    for way in ways:
        try:
            asked[way]()
        except Refused as error:
            missing.setdefault(f"{error.message} ({way})", error.remedy)
    if missing:
        raise Refused("; ".join(missing), remedy="; ".join(dict.fromkeys(missing.values())))


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise Refused(f"{folder} cannot be written to ({error})", remedy="name another folder with --report") from error


def _signed(scene: DrillScene, signer: PinnedSigner, results: tuple[WayResult, ...], started: dt.datetime) -> bytes:
    payload = DrillPayload(
        version=1,
        service="finance",
        statement="drill",
        env=scene.settings.env,
        drill_id=scene.drill_id,
        actor_id=scene.actor_id,
        started_at=format_time(started),
        ts=format_time(clock.utc_now()),
        ways=results,
        sound=all(result.sound for result in results),
        signer_kid=signer.kid,
        alg=signer.algorithm,
    )
    data = assemble_report(payload, signer.sign_digest(payload.digest()))
    checked = verify_report(data, scene.registry)
    if not checked.sound:
        raise Refused(f"the report does not verify: {checked.findings[0]}", remedy="nothing was written: report this")
    return data


def _write(data: bytes, folder: Path) -> Drilled:
    """The page first: whoever finds the JSON finds both."""
    report = parse_report(data)
    sha256 = hashlib.sha256(data + b"\n").hexdigest()
    json_path, page_path = (folder / f"drill-{report.drill_id}.{kind}" for kind in ("json", "html"))
    for path, content in ((page_path, page_of(report, json_path.name, sha256).encode()), (json_path, data + b"\n")):
        replace_file(path, content)
    return Drilled(report, json_path, page_path, sha256)


def _payload(drilled: Drilled) -> dict[str, object]:
    """What stands on the audit chain: the digests, and enough to see an outcome without the report."""
    report = drilled.report
    ways: list[object] = [
        {
            "way": way.way,
            "sound": way.sound,
            "findings": str(len(way.findings) + int(way.findings_beyond_max)),
            "restore_milliseconds": str(way.restore_milliseconds),
            "behind_entries": str(sum(int(shard.behind_entries) for shard in way.shards)),
        }
        for way in report.ways
    ]
    return {
        "drill_id": report.drill_id,
        "sound": report.sound,
        "report_hash": report.hash,
        "report_sha256": drilled.sha256,
        "signer": report.signer_kid,
        "ways": ways,
    }
