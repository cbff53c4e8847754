"""The report of a drill: what was restored from where, how far behind, how fast, and what was found; signed. Pure.

Guarantees: canonical JSON, one signature over `hash` by a key of the registry, like every signed statement here; a
report that says it is sound while it names a finding cannot be built. Times are UTC, durations in milliseconds.
Does not: say that a ledger is sound for ever: it says what was looked at, and when.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Final, Literal

import msgspec

from ledger_core.findings import Collector, Finding, Report
from ledger_core.ports import Algorithm
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import decode_signature, encode_signature
from ledger_core.signing.statements import (
    Decimal,
    Hash,
    Name,
    ShardNo,
    Timestamp,
    decode_statement,
    encode_statement,
    statement_hash,
)
from ledger_core.times import parse_time
from ledger_core.verify.statements import check_signature

Way = Literal["archive", "topic", "pitr", "keys"]
WAYS: Final[tuple[Way, ...]] = ("archive", "topic", "pitr", "keys")
TEXT_CHARS_MAX: Final = 1000

Line = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)]
DrillId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\Z")]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the signed statement."""


class Step(_Part, frozen=True, kw_only=True):
    """One step and its wall time. `restore` steps make a usable ledger, `check` steps prove it. `done` in `unit`."""

    name: Line
    phase: Literal["restore", "check"]
    milliseconds: Decimal
    done: Decimal
    unit: Line


class ShardResult(_Part, frozen=True, kw_only=True):
    """Where a restored shard ends, and where the live one stood when the drill began. `root` is the newest proved."""

    shard: ShardNo
    seq: Decimal
    next_offset: Decimal
    head_hash: Hash | None
    root: Hash | None
    root_size: Decimal
    live_seq: Decimal
    live_next_offset: Decimal
    behind_entries: Decimal
    behind_offsets: Decimal
    behind_milliseconds: Decimal | None  # between the newest entries' recorded_at; None: nothing came back


class AuditResult(_Part, frozen=True, kw_only=True):
    """Where the restored audit chain ends, and what was published when the drill began."""

    seq: Decimal
    live_seq: Decimal


class Sums(_Part, frozen=True, kw_only=True):
    """The restored trial balance in one currency, minor units."""

    currency: Line
    debits: Decimal
    credits: Decimal


class KeyResult(_Part, frozen=True, kw_only=True):
    """One key of the registry, and how many signed statements of each copy name it."""

    signer_kid: Name
    alg: Algorithm
    deployed_at: Timestamp | None
    retired_at: Timestamp | None
    statements: dict[str, Decimal]
    signs_now: bool


class DrillFinding(_Part, frozen=True, kw_only=True):
    """As `ledger_core.findings.Finding`."""

    code: Line
    message: Line
    shard: ShardNo | None
    seq: Decimal | None
    field: Line | None
    place: Line | None


class WayResult(_Part, frozen=True, kw_only=True):
    """One way back, tried. `counts` say what was looked at."""

    way: Way
    sources: tuple[Line, ...]
    steps: tuple[Step, ...]
    shards: tuple[ShardResult, ...]
    audit: AuditResult | None
    balances: tuple[Sums, ...]
    keys: tuple[KeyResult, ...]
    counts: dict[str, Decimal]
    findings: tuple[DrillFinding, ...]
    findings_beyond_max: Decimal
    sound: bool

    def __post_init__(self) -> None:
        if self.sound == bool(self.findings):
            raise ValueError("a way is sound exactly when nothing was found")

    @property
    def restore_milliseconds(self) -> int:
        """RTO: from nothing to a ledger that can be looked at."""
        return sum(int(step.milliseconds) for step in self.steps if step.phase == "restore")

    @property
    def check_milliseconds(self) -> int:
        return sum(int(step.milliseconds) for step in self.steps if step.phase == "check")


class DrillPayload(_Part, frozen=True, kw_only=True):
    """Everything that is signed."""

    version: Literal[1]
    service: Literal["finance"]
    statement: Literal["drill"]  # so that no signature of another statement can be taken for this one's
    env: Name
    drill_id: DrillId
    actor_id: Line
    started_at: Timestamp
    ts: Timestamp  # the end
    ways: Annotated[tuple[WayResult, ...], msgspec.Meta(min_length=1)]
    sound: bool
    signer_kid: Name
    alg: Algorithm

    def __post_init__(self) -> None:
        parse_time(self.started_at)
        parse_time(self.ts)
        if self.sound != all(way.sound for way in self.ways):
            raise ValueError("a drill is sound exactly when each of its ways is")

    def digest(self) -> bytes:
        """SHA256 of the canonical payload: what is signed."""
        return statement_hash(encode_statement(DrillPayload(**_fields(self))), None)


class DrillReport(DrillPayload, frozen=True, kw_only=True):
    """A payload with its hash and signature."""

    hash: Hash
    signature: str

    def __post_init__(self) -> None:
        DrillPayload.__post_init__(self)
        if self.digest().hex() != self.hash:
            raise ValueError("hash is not that of the payload")
        decode_signature(self.signature)


_decoder = msgspec.json.Decoder(DrillReport)


def parse_report(data: bytes) -> DrillReport:
    """Canonical bytes (one LF at the end is allowed) -> struct. Raises ValueError."""
    return decode_statement(data.removesuffix(b"\n"), _decoder)


def assemble_report(payload: DrillPayload, signature: bytes) -> bytes:
    """The caller has verified the signature over `digest()`."""
    signed = encode_signature(signature)
    return encode_statement(DrillReport(**_fields(payload), hash=payload.digest().hex(), signature=signed))


def verify_report(data: bytes, registry: SignerRegistry, *, place: str | None = None) -> Report:
    """One report on its own: form, recomputed hash, signer, signature. What it found is not a finding of this."""
    found = Collector(place=place)
    found.count("drill_reports")
    try:
        report = parse_report(data)
    except ValueError as error:
        found.add("drill.form", f"not the report of a drill: {error}")
        return found.report()
    check_signature(report, registry, found, "drill", (), chained=False)
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


def _fields(payload: DrillPayload) -> dict[str, Any]:
    return {name: getattr(payload, name) for name in DrillPayload.__struct_fields__}
