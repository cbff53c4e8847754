"""The report of a drill: what was restored from where, how far behind, how fast, and what was found; signed. Pure.

Guarantees: canonical JSON, one signature over `hash` by a key of the registry, like every signed statement here; a
report that says it is sound while it names a finding cannot be built. Times are UTC, durations in milliseconds.
Does not: say that a ledger is sound for ever, only what was checked, and when. Its place in the record is the event
of the audit chain that holds its hash.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, ClassVar, Final, Literal

import msgspec

from ledger_core.findings import Collector, Finding, Report
from ledger_core.ports import Algorithm
from ledger_core.postgres.recovery.drills import EVENT_TYPE
from ledger_core.signing.counting import RecordedPlace
from ledger_core.signing.purposes import Purpose
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.statements import (
    Decimal,
    Hash,
    Name,
    Payload,
    ShardNo,
    StatementPart,
    Timestamp,
    assemble,
    check_signed,
    decode_statement,
)
from ledger_core.times import parse_time
from ledger_core.verify.audit import AuditLines
from ledger_core.verify.recorded import recorded
from ledger_core.verify.statements import check_signature

Way = Literal["archive", "topic", "pitr", "keys"]
WAYS: Final[tuple[Way, ...]] = ("archive", "topic", "pitr", "keys")
TEXT_CHARS_MAX: Final = 1000

Line = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)]
DrillId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\Z")]


class Step(StatementPart, frozen=True, kw_only=True):
    """One step and its wall time. `restore` steps make a usable ledger, `check` steps prove it. `done` in `unit`."""

    name: Line  # of the step, for people
    phase: Literal["restore", "check"]  # what it is for
    milliseconds: Decimal  # wall time
    done: Decimal  # how much it did, in unit
    unit: Line  # such as entries or bytes


class DrillShardResult(StatementPart, frozen=True, kw_only=True):
    """Where a restored shard ends, and where the live one stood when the drill began. `root` is the newest proved."""

    shard: ShardNo  # number of the shard, from 0
    seq: Decimal  # last restored entry, inclusive; 0 when there is none
    next_offset: Decimal  # one after the last restored settlements offset
    head_hash: Hash | None  # entry hash at seq; None when there is none
    root: Hash | None  # of the newest proved tree that came back; None without a proof
    root_size: Decimal  # entries in that tree
    live_seq: Decimal  # last entry of the live shard when the drill began, inclusive
    live_next_offset: Decimal  # one after its last settlements offset
    behind_entries: Decimal  # live_seq - seq
    behind_offsets: Decimal  # live_next_offset - next_offset
    behind_milliseconds: Decimal | None  # between the newest entries' recorded_at; None: nothing came back


class AuditResult(StatementPart, frozen=True, kw_only=True):
    """Where the restored audit chain ends, and what was published when the drill began."""

    seq: Decimal  # last restored event, inclusive
    live_seq: Decimal  # last published event when the drill began, inclusive


class Sums(StatementPart, frozen=True, kw_only=True):
    """The restored trial balance in one currency, minor units."""

    currency: Line  # ISO 4217
    debits: Decimal  # minor units
    credits: Decimal  # minor units


class KeyResult(StatementPart, frozen=True, kw_only=True):
    """One key of the registry, and how many signed statements of each copy name it."""

    signer_kid: Name  # of the registry
    alg: Algorithm  # as registered
    deployed_at: Timestamp | None  # as registered, UTC
    retired_at: Timestamp | None  # as registered, UTC; None while it signs
    statements: dict[str, Decimal]  # by name of the copy: how many it holds that name this key
    signs_now: bool  # whether its key service signed when it was asked


class DrillFinding(StatementPart, frozen=True, kw_only=True):
    """As `ledger_core.findings.Finding`."""

    code: Line  # of the oracle, such as ledger.chain
    message: Line  # for people
    shard: ShardNo | None  # None: of no shard
    seq: Decimal | None  # entry; None: of no entry
    field: Line | None  # of the entry or statement
    place: Line | None  # object, file or table


class WayResult(StatementPart, frozen=True, kw_only=True):
    """One way back, tried. `counts` say what was checked. Raises ValueError when it is sound with a finding, or unsound
    without one.
    """

    way: Way  # which way back
    sources: tuple[Line, ...]  # where it was restored from
    steps: tuple[Step, ...]  # in order
    shards: tuple[DrillShardResult, ...]  # in order of number
    audit: AuditResult | None  # None where this way brings no audit chain back
    balances: tuple[Sums, ...]  # in order of currency
    keys: tuple[KeyResult, ...]  # of the way `keys` alone
    counts: dict[str, Decimal]  # by name: what was checked
    findings: tuple[DrillFinding, ...]  # the first of them
    findings_beyond_max: Decimal  # how many more there are
    sound: bool  # true exactly when nothing was found

    def __post_init__(self) -> None:
        if self.sound == bool(self.findings):
            raise ValueError("a way is sound exactly when nothing was found")

    @property
    def restore_milliseconds(self) -> int:
        """RTO: from nothing to a ledger that can be read."""
        return sum(int(step.milliseconds) for step in self.steps if step.phase == "restore")

    @property
    def check_milliseconds(self) -> int:
        return sum(int(step.milliseconds) for step in self.steps if step.phase == "check")


class DrillPayload(Payload, frozen=True, kw_only=True):
    """Everything that is signed. Raises ValueError when it is sound and one of its ways is not."""

    said_as: ClassVar[Purpose] = "drill"

    version: Literal[1]  # of this format
    service: Literal["finance"]  # always ours
    statement: Literal["drill"]  # so that no signature of another statement can be taken for this one's
    env: Name  # environment, such as prod
    drill_id: DrillId  # when it began (UTC, to the second) and 8 hex digits
    actor_id: Line  # who ran it
    started_at: Timestamp  # UTC
    ts: Timestamp  # the end
    ways: Annotated[tuple[WayResult, ...], msgspec.Meta(min_length=1)]  # in the order they were tried
    sound: bool  # true exactly when each way is

    def __post_init__(self) -> None:
        parse_time(self.started_at)
        parse_time(self.ts)
        if self.sound != all(way.sound for way in self.ways):
            raise ValueError("a drill is sound exactly when each of its ways is")


class DrillReport(DrillPayload, frozen=True, kw_only=True):
    """A payload with its hash and signature."""

    hash: Hash  # of the payload; recomputed when parsed
    signature: str  # base64, by signer_kid over the 32 bytes of hash

    def __post_init__(self) -> None:
        DrillPayload.__post_init__(self)
        check_signed(self)


_decoder = msgspec.json.Decoder(DrillReport)


def parse_report(data: bytes) -> DrillReport:
    """Canonical bytes (one LF at the end is allowed) -> struct. Raises ValueError."""
    return decode_statement(data.removesuffix(b"\n"), _decoder)


def assemble_report(payload: DrillPayload, signature: bytes) -> bytes:
    """The caller has verified the signature over `digest()`."""
    return assemble(payload, DrillReport, signature)


def verify_report(
    data: bytes, registry: SignerRegistry, *, place: str | None = None, audit_lines: AuditLines | None = None
) -> Report:
    """One report on its own: form, recomputed hash, signer, signature. What it found is not a finding of this.

    `audit_lines`: the audit chain as JSON lines, from its first event, which must hold the report's hash; without it no
    report counts whose key was revoked.
    """
    found = Collector(place=place)
    found.count("drill_reports")
    try:
        report = parse_report(data)
    except ValueError as error:
        found.add("drill.form", f"not the report of a drill: {error}")
        return found.report()
    places: tuple[RecordedPlace, ...] = ()
    if audit_lines is not None:
        places = recorded(report.hash, {EVENT_TYPE: "report_hash"}, audit_lines, registry, found, "drill")
    check_signature(report, registry, found, "drill", beside=places)
    return found.report()


def finding_of(finding: Finding) -> DrillFinding:
    """A finding as it is signed."""
    return DrillFinding(
        code=line(finding.code),
        message=line(finding.message),
        shard=finding.shard,
        seq=None if finding.seq is None else str(max(0, finding.seq)),
        field=None if finding.field is None else line(finding.field),
        place=None if finding.place is None else line(finding.place),
    )


def line(text: str) -> str:
    """One line of plain text in NFC, cut at its limit: what was met in a damaged object must not break the report."""
    plain = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", text))
    return plain[:TEXT_CHARS_MAX]
