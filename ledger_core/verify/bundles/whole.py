"""Checking an auditor's bundle, from its bytes and a registry to trust alone (docs/formats/bundle.md).

Guarantees: the file has the one spelling of a bundle's ZIP; bundle.json is signed, and names every other member with
its digest and size, and nothing else is inside; each shard is checked as in the archive (`shard`); the audit
exports are a stretch of the signed chain; the keys it brings along are those of the registry. Findings name member,
line's sequence and field. A member is read when it is needed, and dropped.
Does not: trust the bundle's own signers.json, or a key of its own.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ledger_core.archive import bundle_names
from ledger_core.archive.lines import batch_lines
from ledger_core.archive.names import export_key
from ledger_core.audit.events import AuditEvent
from ledger_core.bundle.statement import Bundle, parse_bundle
from ledger_core.bundle.zip_form import ZipMember, read_members
from ledger_core.findings import Collector, Report
from ledger_core.signing.counting import RecordedPlace
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.audit import AuditCheck, AuditLines
from ledger_core.verify.bundles.openings import OpeningsCheck
from ledger_core.verify.bundles.shard import ShardCheck
from ledger_core.verify.recorded import recorded
from ledger_core.verify.statements import check_signature

STATEMENT_BYTES_MAX = 256 * 2**20
EVENT_TYPE = "auditor.exported"

ReadAt = Callable[[int, int], bytes]  # (at, count) -> so many bytes of the file, from that place on


@dataclass(slots=True)
class BundleFileReader:
    """The members of a bundle by name, read from a file that is open."""

    read_at: ReadAt
    members: Mapping[str, ZipMember]
    _kept: tuple[str, bytes] = field(default=("", b""))

    def read(self, name: str) -> bytes:
        """The member's bytes. Raises KeyError, and ValueError where their CRC is another one."""
        if self._kept[0] == name:
            return self._kept[1]
        member = self.members[name]
        data = self.read_at(member.data_at, member.size_bytes)
        self._kept = (name, data)
        return data


def check_bundle(
    read_at: ReadAt, size_bytes: int, registry: SignerRegistry, *, audit_lines: AuditLines | None = None
) -> Report:
    """Check a bundle of that size. `audit_lines`: the audit chain as JSON lines, from its first event, which must hold
    the statement's hash; without it no bundle of a revoked key counts."""
    found = Collector()
    try:
        listed = read_members(read_at, size_bytes)
    except ValueError as error:
        found.add("bundle.zip", f"not the ZIP file of a bundle: {error}")
        return found.report()
    reader = BundleFileReader(read_at, {member.name: member for member in listed})
    bundle = _statement(reader, registry, audit_lines, found)
    if bundle is None:
        return found.report()
    _check_files(reader, bundle, found)
    _check_signers(reader, registry, found)
    expected = set(bundle_names.ALWAYS)
    openings = _openings(reader, bundle, expected, found)
    for said in bundle.shards:
        check = ShardCheck(reader.read, bundle, said, registry, found, openings)
        check.run()
        expected |= check.expected
    found.shard = found.place = None
    openings.finish()
    _check_audit(reader, registry, found)
    audit = {name for name in reader.members if name.startswith(bundle_names.AUDIT_FOLDER)}
    for name in sorted(expected - set(reader.members)):
        found.add("bundle.missing", "the member is missing", field="files", place=name)
    for name in sorted(set(reader.members) - expected - audit):
        found.add("bundle.member", "the statement's shards have no such member", field="files", place=name)
    return found.report()


def _openings(reader: BundleFileReader, bundle: Bundle, expected: set[str], found: Collector) -> OpeningsCheck:
    """The check of the personal data, where the statement says that there are some."""
    if bundle.pii_included:
        expected.add(bundle_names.OPENINGS)
    is_there = bundle.pii_included and bundle_names.OPENINGS in reader.members
    return OpeningsCheck(reader.read(bundle_names.OPENINGS) if is_there else None, found)


def _statement(
    reader: BundleFileReader, registry: SignerRegistry, audit_lines: AuditLines | None, found: Collector
) -> Bundle | None:
    found.place = bundle_names.STATEMENT
    try:
        if reader.members[bundle_names.STATEMENT].size_bytes > STATEMENT_BYTES_MAX:
            raise ValueError(f"it has more than {STATEMENT_BYTES_MAX:,} bytes")
        bundle = parse_bundle(reader.read(bundle_names.STATEMENT))
    except KeyError:
        found.add("bundle.missing", "the member is missing", field="files")
        return None
    except ValueError as error:
        found.add("bundle.form", f"not the statement of a bundle: {error}", field="data")
        return None
    found.count("bundles")
    places: tuple[RecordedPlace, ...] = ()
    if audit_lines is not None:
        places = recorded(bundle.hash, {EVENT_TYPE: "bundle_hash"}, audit_lines, registry, found, "bundle")
    check_signature(bundle, registry, found, "bundle", beside=places, is_alone=True)
    found.place = None
    return bundle


def _check_files(reader: BundleFileReader, bundle: Bundle, found: Collector) -> None:
    """Every member but the statement is named by it, once, with its digest; and SHA256SUMS says the same."""
    digests: dict[str, str] = {}
    said = {file.path: file for file in bundle.files}
    for name in sorted((set(reader.members) | set(said)) - {bundle_names.STATEMENT}):
        found.place = name
        if name not in reader.members:
            found.add("bundle.missing", "the statement names this member, and it is not there", field="files")
            continue
        data = reader.read(name)
        digests[name] = hashlib.sha256(data).hexdigest()
        found.count("members")
        if zlib.crc32(data) != reader.members[name].crc32:
            found.add("bundle.digest", "the CRC in its header is not that of its bytes", field="crc32")
        if name not in said:
            found.add("bundle.unlisted", "the statement does not name this member", field="files")
        elif said[name].sha256 != digests[name]:
            message = f"SHA-256 is {digests[name]}, the statement says {said[name].sha256}"
            found.add("bundle.digest", message, field="sha256")
        elif said[name].size_bytes != str(len(data)):
            message = f"has {len(data)} bytes, the statement says {said[name].size_bytes}"
            found.add("bundle.digest", message, field="size_bytes")
    statement = reader.members[bundle_names.STATEMENT]
    if zlib.crc32(reader.read(bundle_names.STATEMENT)) != statement.crc32:
        message = "the CRC in its header is not that of its bytes"
        found.add("bundle.digest", message, field="crc32", place=bundle_names.STATEMENT)
    found.place = bundle_names.SUMS
    if bundle_names.SUMS in reader.members and reader.read(bundle_names.SUMS) != bundle_names.sums_of(digests):
        found.add("bundle.sums", "is not the list of the members' digests in its one spelling", field="sha256")
    found.place = None


def _check_signers(reader: BundleFileReader, registry: SignerRegistry, found: Collector) -> None:
    """The keys that the bundle brings along are the ones that the reader trusts, as far as both name them."""
    found.place = bundle_names.SIGNERS
    try:
        brought = SignerRegistry.from_json(reader.read(bundle_names.SIGNERS))
    except KeyError:
        return
    except ValueError as error:
        found.add("bundle.signers", f"not a signer registry: {error}", field="signers")
        return
    for signer in brought.signers:
        known = registry.find(signer.kid)
        if known is not None and known.public_key != signer.public_key:
            found.add("bundle.signers", f"{signer.kid} is another key in the trusted registry", field="public_key_pem")
    found.place = None


def _check_audit(reader: BundleFileReader, registry: SignerRegistry, found: Collector) -> None:
    """The exports in order of name are one stretch of the chain; what came before the first is not known."""
    check: AuditCheck | None = None
    for name in sorted(it for it in reader.members if it.startswith(bundle_names.AUDIT_FOLDER)):
        trial, first = Collector(), 0
        try:
            for event in _events(reader.read(name)):
                if check is None:
                    check = AuditCheck(registry, trial, event.seq - 1, event.prev_hash)
                    if event.seq == 1:
                        check.hash = None
                check.found, first = trial, first or event.seq
                check.take(event)
        except ValueError as error:
            trial.add("audit.object", str(error), field="data")
        last = 0 if check is None else check.seq
        if name != bundle_names.audit_member(export_key("", first, last)):
            trial.add("audit.object", f"holds events {first}..{last}, its name says otherwise", field="seq")
        for finding in trial.report().findings:
            found.add(finding.code, finding.message, seq=finding.seq, field=finding.field, place=name)
        for counted, number in trial.report().counts.items():
            found.count("audit_events" if counted == "events" else counted, number)
    found.place = None


def _events(data: bytes) -> Iterator[AuditEvent]:
    for line in batch_lines(data):
        yield AuditEvent.from_json(line)
