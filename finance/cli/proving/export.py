"""`finance export`: what auditors take away."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from finance.cli.common import (
    EndMoment,
    Moment,
    counting,
    emit,
    for_the_chain,
    json_option,
    load_settings,
    load_topology_of,
    operator,
)
from finance.cli.findings import tell
from finance.cli.proving.export_tiles import tiles
from finance.settings import clock
from finance.settings.deployment import Settings
from ledger_core.archive.names import bundle_key
from ledger_core.archive.pinned_object import lock_end
from ledger_core.bundle.statement import Bundle, BundleFilter, parse_bundle
from ledger_core.errors import Refused
from ledger_core.findings import Report
from ledger_core.postgres.personal.disclosures import Disclosure
from ledger_core.times import format_time, parse_time
from schemas.read_file import OBJECT_BYTES_MAX, read_file
from schemas.topology.model import Topology

if TYPE_CHECKING:
    from finance.cli.proving.bundle_making import BundleTerms
    from finance.cli.proving.bundle_openings import OpeningsFile


@click.group()
def command() -> None:
    """Write what somebody takes away, to be checked without us.

    \b
    Example:
      finance export auditor --from 2025-11-01 --to 2025-11-30 --out november.zip
    """


command.add_command(tiles)


@command.command()
@click.option("--from", "since", type=Moment(), required=True, help="First moment of recorded_at (a day or a time).")
@click.option("--to", "until", type=EndMoment(), required=True, help="Last day of recorded_at, or a time (excluded).")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The .zip to write.")
@click.option("--shard", "shards", type=click.IntRange(min=0), multiple=True, help="This shard alone (repeatable).")
@click.option("--account", "accounts", multiple=True, help="List the entries of this account (repeatable).")
@click.option("--settlement", "settlements", multiple=True, help="List the entries of this settlement (repeatable).")
@click.option("--pii", type=click.Choice(["include", "exclude"]), default="exclude", help="Show personal data, or not.")
@click.option("--pii-field", "fields", multiple=True, help="With --pii include: this pair alone (repeatable).")
@click.option("--reason", default="", callback=for_the_chain, help="Why personal data are shown.")
@click.option("--store", is_flag=True, help="Store the file under lock in the archive, too.")
@json_option
def auditor(
    since: dt.datetime,
    until: dt.datetime,
    out: Path,
    shards: tuple[int, ...],
    accounts: tuple[str, ...],
    settlements: tuple[str, ...],
    pii: str,
    fields: tuple[str, ...],
    reason: str,
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

    With --pii include the file shows the personal data that the keeper still has of the entries that were asked for,
    each pair under the digest in its entry; with --pii-field, these pairs alone. That is your decision on record before
    the first row is read (personal.disclosed: window, pairs and --reason; auditor.exported names it). Such a file is
    never stored under lock: what is locked cannot be forgotten.

    Reads S3_AUDIT_*, FINANCE_SIGNERS, DATABASE_URL_API (events, personal data), and the key variables as
    `finance prove`.

    \b
    Examples:
      finance export auditor --from 2025-11-01 --to 2025-11-30 --out november.zip
      finance export auditor --from 2025-11-01 --to 2025-11-30 --account revenue:fees --out fees.zip
      finance export auditor --from 2025-11-01 --to 2025-11-30 --settlement st_1 --out case7.zip
        --pii include --pii-field country --reason "tax audit, case 7"
      finance export auditor --from 2025-11-01T00:00:00Z --to 2025-11-01T06:00:00Z --out night.zip --json
    """
    if since >= until:
        raise click.UsageError("--to is not after --from")
    shown = _shown(since, until, fields, reason, is_shown=pii == "include", is_stored=store)
    settings, started = load_settings(), clock.utc_now()
    asked = BundleFilter(
        accounts=tuple(sorted(set(accounts))),
        settlements=tuple(sorted(set(settlements))),
        shards=tuple(sorted(set(shards))),
    )
    report, told = _export(settings, asked, shown, out, since=since, until=until, store=store)
    seconds = (clock.utc_now() - started).total_seconds()
    if not report.sound:
        tell(report, seconds, as_json, lambda console: console.print("nothing was written"))
    emit(as_json, {"ok": True, **told}, partial(_words, told, settings.signers_path))


def _words(told: Mapping[str, Any], signers: Path, console: Console) -> None:
    """The result, for people."""
    console.print(f"{told['out']}: {told['entries_in_window']:,} entries of the window, {told['size_bytes']:,} bytes")
    if told["entries_matching"] != told["entries_in_window"]:
        console.print(f"{told['entries_matching']:,} of them match")
    if "openings" in told:
        console.print(f"personal data of {told['openings']} entries are in it, by decision {told['disclosure_no']}")
    if "object_key" in told:
        console.print(f"stored as {told['object_key']}, version {told['version_id']}, until {told['retain_until']}")
    console.print(f"sha256 {told['sha256']}, signed by {told['signer']}")
    console.print(f"check it: finance verify bundle {told['out']} --signers {signers}")


def _shown(
    since: dt.datetime, until: dt.datetime, fields: tuple[str, ...], reason: str, *, is_shown: bool, is_stored: bool
) -> Disclosure | None:
    """Which personal data are to be shown; None: none. Raises UsageError."""
    if is_shown and is_stored:
        raise click.UsageError("--store locks the file for years, and personal data must be forgotten when asked for")
    if is_shown and not reason:
        raise click.UsageError("--pii include wants a --reason, for the audit chain")
    if not is_shown and (fields or reason):
        raise click.UsageError("--pii-field and --reason go with --pii include")
    return Disclosure(since, until, tuple(sorted(set(fields))), reason) if is_shown else None


def _export(
    settings: Settings,
    asked: BundleFilter,
    shown: Disclosure | None,
    out: Path,
    *,
    since: dt.datetime,
    until: dt.datetime,
    store: bool,
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
        disclosed, openings = _openings(dsn, shown, folder, actor_id)
        with counting("reading objects", "objects", None) as advance:
            # 1, 2. READ, TAKE. A crash leaves what was read; the next run goes on with it.
            maker = BundleMaker(KeptReader(open_archive(settings), folder, advance), registry, terms, openings)
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
    stored |= disclosed if openings is None else {**disclosed, "openings": str(openings.count)}
    # 5. RECORD. A crash behind the COMMIT leaves an event for bytes that the next run makes again.
    record_bundle(dsn, _event(statement, sha256, stored), actor_id=actor_id, trace_id=clock.new_trace_id())
    size_bytes = whole.stat().st_size
    # 6. RENAME. From here on the file stands.
    whole.replace(out)
    shutil.rmtree(folder)
    return checked, {**stored, **_told(statement), "out": str(out), "sha256": sha256, "size_bytes": size_bytes}


def _told(statement: Bundle) -> dict[str, object]:
    """What a command says of the statement."""
    return {
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


def _openings(
    dsn: str, shown: Disclosure | None, folder: Path, actor_id: str
) -> tuple[dict[str, object], OpeningsFile | None]:
    """The decision to show personal data, put on record, and the file that they go to."""
    from finance.cli.proving.bundle_openings import OpeningsFile
    from ledger_core.postgres.personal.disclosures import disclose, shown_pairs

    if shown is None:
        return {}, None
    number = disclose(dsn, shown, actor_id=actor_id, trace_id=clock.new_trace_id())
    return {"disclosure_no": str(number)}, OpeningsFile(folder / "openings.jsonl", partial(shown_pairs, dsn, number))


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
        **{name: text for name, text in stored.items() if name in ("object_key", "disclosure_no", "openings")},
    }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{folder} cannot be made ({error})", remedy="name another file with --out") from error
