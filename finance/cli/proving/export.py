"""`finance export`: what auditors take away."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from finance.cli.common import EndMoment, Moment, counting, emit, json_option, load_settings, load_topology_of, operator
from finance.cli.findings import tell
from finance.settings import clock
from finance.settings.deployment import Settings
from ledger_core.archive.names import bundle_key
from ledger_core.archive.pinned_object import lock_end
from ledger_core.bundle.statement import Bundle, BundleFilter, parse_bundle
from ledger_core.errors import Refused
from ledger_core.findings import Report
from ledger_core.times import format_time, parse_time
from schemas.read_file import OBJECT_BYTES_MAX, read_file
from schemas.topology.model import Topology

if TYPE_CHECKING:
    from finance.cli.proving.bundle_making import BundleTerms


@click.group()
def command() -> None:
    """Write what somebody takes away, to be checked without us.

    \b
    Example:
      finance export auditor --from 2025-11-01 --to 2025-11-30 --out november.zip
    """


@command.command()
@click.option("--from", "since", type=Moment(), required=True, help="First moment of recorded_at (a day or a time).")
@click.option("--to", "until", type=EndMoment(), required=True, help="Last day of recorded_at, or a time (excluded).")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The .zip to write.")
@click.option("--shard", "shards", type=click.IntRange(min=0), multiple=True, help="This shard alone (repeatable).")
@click.option("--account", "accounts", multiple=True, help="List the entries of this account (repeatable).")
@click.option("--settlement", "settlements", multiple=True, help="List the entries of this settlement (repeatable).")
@click.option("--store", is_flag=True, help="Store the file under lock in the archive, too.")
@json_option
def auditor(
    since: dt.datetime,
    until: dt.datetime,
    out: Path,
    shards: tuple[int, ...],
    accounts: tuple[str, ...],
    settlements: tuple[str, ...],
    store: bool,
    as_json: bool,
) -> None:
    """One .zip for an auditor: the batches of a stretch of time, whole, with proofs, manifests, checkpoints, the audit
    chain's exports, the public keys, a page for people, verify.html and verify.sh; signed, and an audit event.

    The archive is read and checked from its beginning; where it is not sound nothing is written (exit 1). The same
    window over the same archive gives the same bytes, while key and registry stay. What was read is kept in OUT.part
    until the file is whole: a second run goes on from there.

    With --account or --settlement the entries that match any of them are listed in a member of their own. The batches
    stay whole, since they prove that no entry is left out of that list: other accounts are in them, too. --store wants
    credentials that may write, as the archiver's may.

    Reads S3_AUDIT_*, FINANCE_SIGNERS, DATABASE_URL_API (the event), and the key variables as `finance prove`.

    \b
    Examples:
      finance export auditor --from 2025-11-01 --to 2025-11-30 --out november.zip
      finance export auditor --from 2025-11-01 --to 2025-11-30 --account revenue:fees --out fees.zip
      finance export auditor --from 2025-11-01T00:00:00Z --to 2025-11-01T06:00:00Z --out night.zip --json
    """
    if since >= until:
        raise click.UsageError("--to is not after --from")
    settings, started = load_settings(), clock.utc_now()
    asked = BundleFilter(
        accounts=tuple(sorted(set(accounts))),
        settlements=tuple(sorted(set(settlements))),
        shards=tuple(sorted(set(shards))),
    )
    report, told = _export(settings, since, until, asked, out, store=store)
    seconds = (clock.utc_now() - started).total_seconds()
    if not report.sound:
        tell(report, seconds, as_json, lambda console: console.print("nothing was written"))

    def words(console: Console) -> None:
        console.print(f"{out}: {told['entries_in_window']:,} entries of the window, {told['size_bytes']:,} bytes")
        if asked.accounts or asked.settlements:
            console.print(f"{told['entries_matching']:,} of them match")
        if store:
            console.print(f"stored as {told['object_key']}, version {told['version_id']}, until {told['retain_until']}")
        console.print(f"sha256 {told['sha256']}, signed by {told['signer']}")
        console.print(f"check it: finance verify bundle {out} --signers {settings.signers_path}")

    emit(as_json, {"ok": True, **told}, words)


def _export(
    settings: Settings, since: dt.datetime, until: dt.datetime, asked: BundleFilter, out: Path, *, store: bool
) -> tuple[Report, dict[str, object]]:
    from finance.cli.proving.bundle_file import verify_file, write_zip
    from finance.cli.proving.bundle_making import BundleMaker
    from finance.cli.proving.bundle_ranges import KeptReader
    from finance.wiring.mac_keys import trusted_registry
    from finance.wiring.services import open_archive
    from finance.wiring.signers import open_signer
    from ledger_core.postgres.audit.bundles import record_bundle

    topology, registry = load_topology_of(settings), trusted_registry(settings)
    actor_id, dsn = operator(settings), settings.database_url("api")
    folder = out.with_name(out.name + ".part")
    _make_folder(folder)
    signer = open_signer(settings, topology, registry, signs=["bundle"])
    try:
        signer.pin()  # before an hour of reading, not after it
        terms = _terms(settings, topology, since, until, asked)
        with counting("reading objects", "objects", None) as advance:
            # 1, 2. READ, TAKE. A crash leaves what was read; the next run goes on with it.
            maker = BundleMaker(KeptReader(open_archive(settings), folder, advance), registry, terms)
            maker.gather()
        if len(maker.found):
            return maker.found.report(), {}
        # 3. SIGN. A crash leaves no trace; the next run signs the same bytes.
        signed = maker.sign(signer)
    finally:
        signer.close()
    # 4. WRITE. A crash leaves a part of a file that nobody takes for a bundle.
    statement, whole = parse_bundle(signed), folder / "bundle.zip"
    sha256 = write_zip(whole, maker.contents)
    checked = verify_file(whole, registry)
    if not checked.sound:
        return checked, {}
    stored = _store(settings, topology, statement, whole) if store else {}
    # 5. RECORD. A crash behind the COMMIT leaves an event for bytes that the next run makes again.
    record_bundle(dsn, _event(statement, sha256, stored), actor_id=actor_id, trace_id=clock.new_trace_id())
    size_bytes = whole.stat().st_size
    # 6. RENAME. From here on the file stands.
    whole.replace(out)
    shutil.rmtree(folder)
    return checked, {
        **stored,
        "out": str(out),
        "sha256": sha256,
        "size_bytes": size_bytes,
        "hash": statement.hash,
        "signer": statement.signer_kid,
        "entries_in_window": sum(int(part.num_in_window) for part in statement.shards),
        "entries_matching": sum(int(part.num_matching) for part in statement.shards),
        "shards": len(statement.shards),
    }


def _terms(
    settings: Settings, topology: Topology, since: dt.datetime, until: dt.datetime, asked: BundleFilter
) -> BundleTerms:
    """What is asked for, and of which ledger. Raises Refused."""
    from finance.cli.proving.bundle_making import BundleTerms

    shards = topology.topics["settlements"].partitions
    if asked.shards and asked.shards[-1] >= shards:
        raise Refused(f"there is no shard {asked.shards[-1]}", remedy=f"the ledger has the shards 0 to {shards - 1}")
    policy = topology.stores["archive"].pii_policy_version
    return BundleTerms(settings.env, format_time(since), format_time(until), asked, shards, policy)


def _store(settings: Settings, topology: Topology, statement: Bundle, path: Path) -> dict[str, object]:
    """Put the file under lock. The same file again is success."""
    from finance.wiring.services import open_archive

    spec, size_bytes = topology.stores["archive"], path.stat().st_size
    if size_bytes > OBJECT_BYTES_MAX:
        raise Refused(
            f"the file has {size_bytes:,} bytes, and an object at most {OBJECT_BYTES_MAX:,}",
            remedy="ask for a shorter time, or for one --shard at a time",
        )
    until = lock_end(parse_time(statement.ts), spec.retention_days)
    archive = open_archive(settings, spec.retention_mode, name="archiver")
    key = bundle_key(settings.env, statement.hash)
    stored = archive.put(key, read_file(path, OBJECT_BYTES_MAX), retain_until=until, metadata={"service": "finance"})
    return {"object_key": key, "version_id": stored.version_id, "retain_until": format_time(until)}


def _event(statement: Bundle, sha256: str, stored: Mapping[str, object]) -> dict[str, object]:
    """What stands on the audit chain."""
    asked = statement.filter
    return {
        "from_ts": statement.from_ts,
        "to_ts": statement.to_ts,
        "filter": {
            "accounts": list(asked.accounts),
            "settlements": list(asked.settlements),
            "shards": list(asked.shards),
        },
        "pii_included": statement.pii_included,
        "bundle_hash": statement.hash,
        "bundle_sha256": sha256,
        "signer": statement.signer_kid,
        **{name: text for name, text in stored.items() if name == "object_key"},
    }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{folder} cannot be made ({error})", remedy="name another file with --out") from error
