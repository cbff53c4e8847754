"""Checkpoints: the signed head of a shard's record, as C2SP tlog-checkpoint in a C2SP signed note
(`ledger_core.signing.notes`). Two extension lines say where the record begins and ends, and give the tree of the
verdict lines: so the text commits to what became of each offset of `[first_offset, next_offset)`.

Guarantees: `parse_and_verify` returns a checkpoint only when at least one key of the registry signed the text, and
every key of the registry that stands on the note signed it well and counts at its size; unknown keys are ignored, as
the specification says. It does not compare checkpoints with each other: see `tree.verify_consistency`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ledger_core.decimals import is_decimal
from ledger_core.hashes import parse_base64_hash
from ledger_core.signing import notes
from ledger_core.signing.counting import Claim, ShardPlace, SignatureFault, faults
from ledger_core.signing.notes import NoteSignature
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import BadSignature
from ledger_core.tree import CompactRange


@dataclass(frozen=True, slots=True)
class RecordHead:
    """What the extension lines say: `size + verdict_count = next_offset - first_offset`, each offset once."""

    first_offset: int  # settlements offset where the shard's record begins, inclusive
    next_offset: int  # settlements offset where it ends, exclusive
    verdict_count: int  # leaves in the tree of verdict lines
    verdict_root: bytes  # its Merkle root, 32 bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of one shard's record. `text` are the signed bytes, LF at the end."""

    origin: str  # name of the log: one a shard
    size: int  # leaves in the tree: entries 1..size
    root: bytes  # Merkle root, 32 bytes
    record: RecordHead  # what the extension lines say
    text: bytes
    signatures: tuple[NoteSignature, ...]  # one a key; none verified here
    note: bytes  # the whole note, signatures included


def origin_of(domain: str, env: str, shard: int) -> str:
    """The log's name for ever: `<domain>/finance/<env>/ledger/<shard>`."""
    return f"{domain}/finance/{env}/ledger/{shard}"


def note_text(origin: str, size: int, root: bytes, extensions: Sequence[str] = ()) -> bytes:
    """The text to sign (C2SP tlog-checkpoint): origin, decimal size, base64 root, extension lines; each ended by LF.
    Raises ValueError for what no checkpoint can say.
    """
    if not origin or size < 0 or len(root) != 32:
        raise ValueError("a checkpoint has an origin, a size from 0 and a root of 32 bytes")
    lines = [origin, str(size), base64.b64encode(root).decode("ascii"), *extensions]
    if any(not line or not line.isprintable() for line in lines):
        raise ValueError("a checkpoint line is printable and not empty")
    return ("\n".join(lines) + "\n").encode("utf-8")


def record_text(origin: str, first_offset: int, entries: CompactRange, verdicts: CompactRange) -> bytes:
    """The text to sign for a shard's record: its entries' tree, its verdict lines' tree, and the offset (of the
    settlements partition) where it begins. Raises ValueError for what no checkpoint can say."""
    if first_offset < 0:
        raise ValueError(f"a record begins at an offset from 0, not at {first_offset}")
    next_offset = first_offset + entries.size + verdicts.size
    root = base64.b64encode(verdicts.root()).decode("ascii")
    lines = (f"record {first_offset} {next_offset}", f"verdicts {verdicts.size} {root}")
    return note_text(origin, entries.size, entries.root(), lines)


def parse(note: bytes) -> Checkpoint:
    """Read a signed note without verifying it. Raises ValueError when it is not the checkpoint of a shard's record in
    its one spelling.
    """
    text, signatures = notes.split(note)
    origin, size, root, record = parse_record_text(text)
    return Checkpoint(origin, size, root, record, text, signatures, note)


def same_text(one: bytes, other: bytes) -> bool:
    """Whether two notes sign the same text, whichever keys did. A note that is not a checkpoint is equal to itself
    alone.
    """
    if one == other:
        return True
    try:
        return parse(one).text == parse(other).text
    except ValueError:
        return False


def parse_text(text: bytes) -> tuple[str, int, bytes, tuple[str, ...]]:
    """Origin, size, root and extension lines of a note's text, LF at the end. Raises ValueError when it is not a
    checkpoint.
    """
    whole = text.decode("utf-8")  # UnicodeDecodeError is a ValueError
    notes.check_characters(whole)
    lines = whole.removesuffix("\n").split("\n")
    if not whole.endswith("\n") or len(lines) < 3 or not all(lines):
        raise ValueError("a checkpoint has origin, size and root lines, and no empty line")
    origin, size_text, root_text, *extensions = lines
    if not is_decimal(size_text):
        raise ValueError(f"{size_text[:40]!r} is not a tree size")
    return origin, int(size_text), parse_base64_hash(root_text), tuple(extensions)


def parse_record_text(text: bytes) -> tuple[str, int, bytes, RecordHead]:
    """Origin, size, root and record of the text that `record_text` made. Raises ValueError when it is another one."""
    origin, size, root, extensions = parse_text(text)
    return origin, size, root, _record_head(size, extensions)


def parse_and_verify(
    note: bytes, registry: SignerRegistry, *, origin: str | None = None
) -> tuple[Checkpoint, RegisteredSigner]:
    """The checkpoint and the first known signer of a note; with `origin`, of that log only.

    Raises BadSignature when no known key signed it, or a known key's signature does not count; ValueError when it is
    malformed.
    """
    checkpoint = parse(note)
    if origin is not None and checkpoint.origin != origin:
        raise ValueError(f"the checkpoint is of {checkpoint.origin!r}, not of {origin!r}")
    for fault in faults_of(checkpoint, registry):
        raise BadSignature(fault.message)
    return checkpoint, notes.known_lines(checkpoint.signatures, registry)[0][1]


def faults_of(
    checkpoint: Checkpoint, registry: SignerRegistry, *, is_alone: bool = False
) -> tuple[SignatureFault, ...]:
    """Why the note does not count, every reason: each key of the registry that stands on it must have signed it, and
    count at its size. One that no key of the registry signed has no signature.

    `is_alone`: nothing later is at hand that holds it. Then a revoked key counts only beside one that does by itself.
    """
    lines = notes.known_lines(checkpoint.signatures, registry)
    if not lines:
        return (SignatureFault("signature", "no key of the registry signed this checkpoint"),)
    claims = [_claim(checkpoint, line, signer, is_alone=is_alone) for line, signer in lines]
    told = [faults(claim, registry) for claim in claims]
    if is_alone and not all(told):
        told = [faults(replace(claim, is_alone=False), registry) for claim in claims]
    return tuple(fault for each in told for fault in each)


def _claim(checkpoint: Checkpoint, line: NoteSignature, signer: RegisteredSigner, *, is_alone: bool) -> Claim:
    shard = checkpoint.origin.rpartition("/")[2]
    return Claim(
        kid=signer.kid,
        purpose="checkpoint",
        signature=line.signature,
        signed=checkpoint.text,
        is_text=True,
        places=(ShardPlace(int(shard), checkpoint.size),) if shard.isascii() and shard.isdigit() else (),
        is_alone=is_alone,
    )


def _record_head(size: int, extensions: Sequence[str]) -> RecordHead:
    words = [line.split(" ") for line in extensions]
    if [(line[0], len(line)) for line in words] != [("record", 3), ("verdicts", 3)]:
        raise ValueError("after its root a checkpoint has the lines `record` and `verdicts`, and no others")
    (_, first, following), (_, count, root_text) = words
    for text in (first, following, count):
        if not is_decimal(text):
            raise ValueError(f"{text[:40]!r} is not an offset or a count")
    if size + int(count) != int(following) - int(first):
        raise ValueError(f"{size} entries and {count} verdicts are not the offsets {first} to {following}")
    return RecordHead(int(first), int(following), int(count), parse_base64_hash(root_text))
